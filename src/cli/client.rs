//! `wsman client`: the calls of a daemon as commands for people and for scripts.

use clap::Subcommand;

use connect::Connection;
use transport::Target;

use super::exit::Failure;
use super::output::{Format, Formats, Output};

mod backups;
pub(crate) mod bus_tail;
mod call;
mod changes;
mod cluster;
pub(crate) mod connect;
mod content;
mod control;
mod describe;
pub(crate) mod encode;
mod explain;
pub(crate) mod follow;
mod http;
mod keys;
mod list;
pub(in crate::cli) mod request;
mod session;
mod start;
mod stop;
pub mod transport;
mod wait;
mod watch;
pub(in crate::cli) mod words;

/// Arguments of `wsman client`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,

    /// Output format.
    #[arg(short, long, value_parser = Formats::All, default_value = "table", global = true)]
    output: Format,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Starts a workspace.
    Start(Box<start::Args>),
    /// Stops workspaces.
    Stop(stop::Args),
    /// Lists workspaces.
    List(list::Args),
    /// Describes one workspace.
    Describe(describe::Args),
    /// Lists what was saved of a workspace, or of an owner.
    Backups(backups::Args),
    /// Explains the state of one workspace, and what happens next.
    Explain(explain::Args),
    /// Prints the current workspaces, then every change.
    Watch(watch::Args),
    /// Prints messages of the bus, through an exclusive queue.
    BusTail(bus_tail::Args),
    /// Lists the workspace classes of the cluster.
    Cluster,
    #[command(flatten)]
    Control(control::Verb),
    /// Starts, watches and stops sessions: gangs of pods on pools of machines.
    Session(session::Args),
    /// Makes any unary call, in JSON.
    Call(call::Args),
}

pub async fn run(args: Args) -> Result<(), Failure> {
    let mut out = Output::stdout(args.output);
    if let Verb::BusTail(tail) = args.verb {
        return Box::pin(bus_tail::run(tail, &args.target, &mut out)).await;
    }
    let connection = Connection::open(&args.target)?;
    match args.verb {
        Verb::Start(args) => Box::pin(start::run(*args, &connection, &mut out)).await,
        Verb::Stop(args) => Box::pin(stop::run(args, &connection, &mut out)).await,
        Verb::List(args) => Box::pin(list::run(args, &connection, &mut out)).await,
        Verb::Describe(args) => Box::pin(describe::run(args, &connection, &mut out)).await,
        Verb::Backups(args) => Box::pin(backups::run(args, &connection, &mut out)).await,
        Verb::Explain(args) => Box::pin(explain::run(args, &connection, &mut out)).await,
        Verb::Watch(args) => Box::pin(watch::run(args, &connection, &mut out)).await,
        // It connects to no server: see above.
        Verb::BusTail(_) => Ok(()),
        Verb::Cluster => Box::pin(cluster::run(&connection, &mut out)).await,
        Verb::Session(args) => Box::pin(session::run(args, &connection, &mut out)).await,
        Verb::Call(args) => Box::pin(call::run(args, &connection, &mut out)).await,
        Verb::Control(verb) => Box::pin(control::run(verb, &connection, &mut out)).await,
    }
}
