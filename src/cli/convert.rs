//! `wsman convert`: turns files of other programs into what starts sessions.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;

use super::client::request;
use super::exit::Failure;
use super::input;
use super::output::{Format, Output};
use crate::proto::named;
use crate::sessions::loadtest;

/// Arguments of `wsman convert`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// Turns LoadTests (e2etest.grpc.io/v1) into StartSessionRequests for `client session run`.
    Loadtest(Loadtest),
}

/// Arguments of `wsman convert loadtest`.
#[derive(Debug, clap::Args)]
struct Loadtest {
    /// YAML file of LoadTests, or JSON objects; "-" is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Form of the output.
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Form,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Form {
    /// An object per line.
    Json,
    /// Documents.
    Yaml,
}

/// Prints all requests, or every fault of all files.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let From::Loadtest(args) = &args.from;
    let tests: Vec<Value> = request::documents(&args.file, "")?;
    let (mut requests, mut faults) = (Vec::new(), Vec::new());
    for (at, test) in tests.iter().enumerate() {
        let place = match tests.len() {
            1 => String::new(),
            _ => format!("document {}: ", at + 1),
        };
        match loadtest::convert(test) {
            Ok(request) => requests.push(request),
            Err(found) => {
                let line = |fault| format!("{place}{fault}");
                let found = found.iter().map(|f| format!("{}: {}", f.field, f.why));
                faults.extend(found.map(line));
            }
        }
    }
    if !faults.is_empty() {
        let message = format!("{}: cannot be converted", input::name(&args.file));
        return Err(Failure::usage(message).details(faults));
    }
    let mut out = Output::stdout(match args.output {
        Form::Json => Format::Json,
        Form::Yaml => Format::Yaml,
    });
    for request in &requests {
        out.record(&named::encode(
            "wsman.sessions.v1.StartSessionRequest",
            request,
        ))?;
    }
    Ok(())
}
