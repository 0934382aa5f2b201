//! `wsman client session`: the calls of sessions as commands.

mod changes;
mod describe;
mod follow;
mod list;
mod logs;
mod pools;
mod run;
mod start;
mod stop;
mod watch;
mod words;

use clap::Subcommand;

use super::connect::Connection;
use crate::cli::exit::Failure;
use crate::cli::output::Output;

/// Arguments of `client session`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Starts a session.
    Start(start::Args),
    /// Lists sessions.
    List(list::Args),
    /// Describes one session: where it stands, its components, its result.
    Describe(describe::Args),
    /// Prints the current sessions, then every change.
    Watch(watch::Args),
    /// Prints the logs of the components of a session.
    Logs(logs::Args),
    /// Stops sessions.
    Stop(stop::Args),
    /// Starts all sessions of files, waits for their ends, and reports them.
    Run(run::Args),
    /// Lists the pools of machines.
    Pools,
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    match args.verb {
        Verb::Start(args) => Box::pin(start::run(args, connection, out)).await,
        Verb::List(args) => Box::pin(list::run(args, connection, out)).await,
        Verb::Describe(args) => Box::pin(describe::run(args, connection, out)).await,
        Verb::Watch(args) => Box::pin(watch::run(args, connection, out)).await,
        Verb::Logs(args) => Box::pin(logs::run(args, connection, out)).await,
        Verb::Stop(args) => Box::pin(stop::run(args, connection, out)).await,
        Verb::Run(args) => Box::pin(run::run(args, connection, out)).await,
        Verb::Pools => Box::pin(pools::run(connection, out)).await,
    }
}
