//! `watch`: the current workspaces, then a line for every change, without a gap.

use jiff::Timestamp;
use serde_json::json;

use super::connect::Connection;
use super::follow::{Event, Follow};
use super::list::Selection;
use super::wait::report_cut;
use super::{changes, encode, words};
use crate::cli::alive;
use crate::cli::exit::{Exit, Failure, note};
use crate::cli::output::{Output, Piece};
use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};

/// Arguments of `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the workspace, which may not be started yet [default: all].
    id: Option<String>,

    #[command(flatten)]
    selection: Selection,

    /// End with 0 when a workspace that is watched is in this phase.
    #[arg(long, value_name = "PHASE", value_parser = words::parse_phase)]
    until: Option<WorkspacePhase>,

    /// Do not print the current workspaces.
    #[arg(long)]
    no_initial: bool,

    /// End with 3 if there is no workspace with this id.
    #[arg(long, requires = "id")]
    strict: bool,

    /// End with 6 when the stream is lost.
    #[arg(long)]
    no_reconnect: bool,

    /// Print owner tokens (JSON and YAML).
    #[arg(long)]
    show_token: bool,
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut follow = Follow::open(connection, args.selection.filter(), args.id.as_slice()).await?;
    let mut seen = 0_usize;
    loop {
        let what = || match (&args.id, seen) {
            (Some(id), 0) => format!("waiting for {id} to be started"),
            (Some(id), _) => format!("waiting for changes of {id}"),
            (None, _) => "waiting for changes".to_owned(),
        };
        let event = alive::during(what, follow.next()).await?;
        match event {
            Event::Cut(error) if args.no_reconnect => {
                return Err(cut(error.map(Failure::from)));
            }
            ref other => report_cut(other),
        }
        match event {
            Event::Initial(now) => {
                seen += 1;
                if !args.no_initial {
                    print(&now, None, &args, out)?;
                }
                if is_goal(&args, &now) {
                    return Ok(());
                }
            }
            Event::Update { now, before } => {
                seen += 1;
                print(&now, before.as_deref(), &args, out)?;
                if is_goal(&args, &now) {
                    return Ok(());
                }
                is_reachable(&args, &now)?;
            }
            Event::Gone(mut last) => {
                note(&format!("{} went while the stream was cut", last.id));
                last.set_phase(WorkspacePhase::Stopped);
                if is_goal(&args, &last) {
                    return Ok(());
                }
                is_reachable(&args, &last)?;
            }
            Event::Complete if seen == 0 => absent(&args)?,
            Event::Complete | Event::Cut(_) | Event::Resumed => {}
        }
    }
}

/// The watched workspace does not exist: its name is wrong, or it is not started yet.
fn absent(args: &Args) -> Result<(), Failure> {
    match &args.id {
        Some(id) if args.strict => Err(Failure::new(
            Exit::NotFound,
            format!("no such workspace: {id}"),
        )),
        Some(id) => {
            note(&format!(
                "there is no workspace {id} yet; waiting for it (--strict does not)"
            ));
            Ok(())
        }
        None => Ok(()),
    }
}

fn is_goal(args: &Args, status: &WorkspaceStatus) -> bool {
    args.until.is_some_and(|phase| phase == status.phase())
}

/// A workspace that stopped reaches no other phase; of many, others may.
fn is_reachable(args: &Args, status: &WorkspaceStatus) -> Result<(), Failure> {
    match args.until {
        Some(phase) if args.id.is_some() && status.phase() == WorkspacePhase::Stopped => {
            let message = format!(
                "{} stopped before it was {}",
                status.id,
                phase.as_str_name()
            );
            Err(Failure::new(Exit::Failed, message))
        }
        _ => Ok(()),
    }
}

fn cut(error: Option<Failure>) -> Failure {
    // For a watch, every error that ends the stream means that it is unavailable.
    match error {
        Some(error) => {
            Failure::new(Exit::Unavailable, error.message().to_owned()).context("stream lost")
        }
        None => Failure::new(Exit::Unavailable, "stream ended by the server"),
    }
}

fn print(
    now: &WorkspaceStatus,
    before: Option<&WorkspaceStatus>,
    args: &Args,
    out: &mut Output,
) -> Result<(), Failure> {
    if !out.is_for_people() {
        let status = encode::status(now, args.show_token);
        return out.record(&json!({ "status": status }));
    }
    out.line([
        Piece::from(format!("{}  ", words::rfc3339(Timestamp::now()))),
        Piece::from(format!("{:36}  ", now.id)),
        words::phase_piece(now, 12),
        Piece::from(format!("  {:10}  ", format!("v{}", now.status_version))),
        Piece::from(changes::between(before, now)),
    ])
}
