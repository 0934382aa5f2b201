//! The command line: one file per verb. Only this code prints, exits and reads files.

mod alive;
pub mod client;
pub mod config;
mod confirm;
mod convert;
mod escape;
pub mod exit;
pub mod explain;
mod generate;
mod input;
mod manifests;
mod manual;
pub mod output;
mod reload;
pub mod render;
pub mod replay;
pub mod run;
pub mod simulate;
pub mod testdata;
pub mod validate_config;
pub mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use exit::{Failure, Style};

/// Runs workspaces as raw Kubernetes pods.
#[derive(Debug, Parser)]
#[command(name = "wsman", version = VERSION, about, infer_subcommands = false)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the daemon.
    Run(run::Args),
    /// Checks a configuration and prints every problem.
    ValidateConfig(validate_config::Args),
    /// Calls a running daemon: start, list, watch, stop and the rest.
    Client(Box<client::Args>),
    /// Explains a pod: its status, why, and what happens next.
    Explain(explain::Args),
    /// Prints the objects that a start request creates.
    Render(render::Args),
    /// Replays an event trace log, and fails at the first result that differs.
    Replay(replay::Args),
    /// Turns an event trace log into anonymous cases under testdata/.
    Testdata(testdata::Args),
    /// Turns files of other programs into what starts sessions.
    Convert(convert::Args),
    /// Prints JSON Schemas, or the Kubernetes manifests of a deployment.
    Generate(generate::Args),
    /// Simulates nodes and a kubelet against any API server, or serves an embedded one.
    Simulate(simulate::Args),
    /// Watches a deployment and checks the guarantees on its updates.
    Verify(Box<verify::Args>),
    /// Prints a completion script for a shell.
    Completions(manual::Completions),
    /// Prints the manual page, or writes a page per command into a folder.
    Man(manual::Man),
}

/// The version, its commit, and the protocol.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("WSMAN_COMMIT"),
    "; protocol wsman.WorkspaceManager)"
);

/// Runs the verb in the process's arguments.
pub fn main() -> ExitCode {
    let style = Style::of_arguments(std::env::args_os().skip(1));
    let verb = match Args::try_parse() {
        Ok(args) => args.verb,
        Err(error) => return misused(&error, style),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::new(exit::Exit::Failed, format!("cannot start: {error}"));
            return exit::report(Err(failure), style);
        }
    };
    let result = runtime.block_on(async {
        match verb {
            Verb::Run(args) => Box::pin(run::run(args)).await,
            Verb::ValidateConfig(args) => validate_config::run(&args),
            Verb::Client(args) => Box::pin(client::run(*args)).await,
            Verb::Explain(args) => explain::run(&args, &mut std::io::stdout().lock()),
            Verb::Render(args) => render::run(&args),
            Verb::Replay(args) => replay::run(&args, &mut std::io::stdout().lock()),
            Verb::Testdata(args) => testdata::run(&args, &mut std::io::stdout().lock()),
            Verb::Convert(args) => convert::run(&args),
            Verb::Generate(args) => generate::run(&args),
            Verb::Simulate(args) => Box::pin(simulate::run(args)).await,
            Verb::Verify(args) => Box::pin(verify::run(*args)).await,
            Verb::Completions(args) => manual::completions(&args, Args::command()),
            Verb::Man(args) => manual::man(&args, Args::command()),
        }
    });
    // Work in the background, such as a name lookup, does not delay the exit.
    runtime.shutdown_background();
    exit::report(result, style)
}

/// Prints help, if it is requested, or what is wrong with the arguments.
fn misused(error: &clap::Error, style: Style) -> ExitCode {
    if style == Style::Json && error.use_stderr() {
        let text = error.render().to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = lines.next().unwrap_or_default();
        let failure = Failure::usage(message.trim_start_matches("error: "));
        return exit::report(
            Err(failure.details(lines.map(str::to_owned).collect())),
            style,
        );
    }
    // A closed pipe is no error.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Ends the process at once, on the second signal.
#[expect(clippy::exit, reason = "that is what was asked for")]
fn exit_now(exit: exit::Exit) -> ! {
    std::process::exit(exit as i32)
}
