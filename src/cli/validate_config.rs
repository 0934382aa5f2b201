//! `wsman validate-config`: prints every problem of a configuration.

use std::io::Write;
use std::path::PathBuf;

use super::config::{self, Content};
use super::exit::{self, Failure};
use crate::config::{Severity, reference};

/// Options of `wsman validate-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file; "-" for stdin.
    #[arg(long, value_name = "FILE", required_unless_present = "keys")]
    config: Option<PathBuf>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// Print what every key means, as Markdown, and check nothing.
    #[arg(long, conflicts_with_all = ["config", "output"])]
    keys: bool,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Output {
    /// A line for each problem on stderr.
    Text,
    /// A JSON list of {path, file?, message, severity} on stdout.
    Json,
}

/// Prints whether a configuration is valid.
///
/// # Errors
/// Every problem with its path; exit code 2. Warnings are not errors.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let Some(path) = &args.config else {
        return Ok(out.write_all(reference().as_bytes())?);
    };
    let content = Content::read(path);
    let (_, problems) = content.check();
    let invalid = problems.iter().any(|p| p.severity == Severity::Error);
    match args.output {
        Output::Json => {
            let text = serde_json::to_string_pretty(&problems).map_err(anyhow::Error::from)?;
            writeln!(out, "{text}")?;
            if invalid {
                return Err(Failure::usage(format!(
                    "{} is not valid",
                    config::name(path)
                )));
            }
        }
        Output::Text => {
            let warnings = problems.iter().filter(|p| p.severity == Severity::Warning);
            warnings.for_each(|warning| exit::note(&format!("warning: {warning}")));
            if invalid {
                return Err(content.refuse(&problems));
            }
            writeln!(out, "{} is valid", config::name(path))?;
        }
    }
    Ok(())
}
