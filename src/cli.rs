//! The command line: one file per verb. The only code that prints, exits or reads files.

pub mod client;
pub mod config;
pub mod exit;
pub mod explain;
pub mod output;
mod reload;
pub mod render;
pub mod run;
pub mod simulate;
pub mod validate_config;
pub mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use exit::Failure;

/// Runs workspaces as raw Kubernetes pods.
#[derive(Debug, Parser)]
#[command(name = "wsman", version, about, infer_subcommands = false)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the daemon.
    Run(run::Args),
    /// Checks a configuration and prints everything that is wrong with it.
    ValidateConfig(validate_config::Args),
    /// Talks to a running daemon: start, list, watch, stop and the rest.
    Client(Box<client::Args>),
    /// Explains a pod: its status, why, and what happens next.
    Explain(explain::Args),
    /// Shows the objects that a start request would make.
    Render(render::Args),
    /// Simulates nodes and a kubelet against any API server, or serves an embedded one.
    Simulate(simulate::Args),
    /// Follows a deployment and checks that its updates keep the guarantees.
    Verify(verify::Args),
}

/// Runs the verb that the process's arguments name.
pub fn main() -> ExitCode {
    let verb = Args::parse().verb;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return exit::report(Err(Failure::new(
                exit::Exit::Failed,
                format!("cannot start: {error}"),
            )));
        }
    };
    let result = runtime.block_on(async {
        match verb {
            Verb::Run(args) => Box::pin(run::run(args)).await,
            Verb::ValidateConfig(args) => validate_config::run(&args),
            Verb::Client(args) => Box::pin(client::run(*args)).await,
            Verb::Explain(args) => explain::run(&args, &mut std::io::stdout().lock()),
            Verb::Render(args) => render::run(&args),
            Verb::Simulate(args) => Box::pin(simulate::run(args)).await,
            Verb::Verify(args) => Box::pin(verify::run(args)).await,
        }
    });
    // Whatever still runs in the background, such as a name lookup, does not hold up the end.
    runtime.shutdown_background();
    exit::report(result)
}

/// Ends the process without waiting for anything: somebody has asked twice.
#[expect(clippy::exit, reason = "that is what was asked for")]
fn exit_now(exit: exit::Exit) -> ! {
    std::process::exit(exit as i32)
}
