//! `watch`: what there is, then a line for every change, without a gap between the two.

use jiff::Zoned;

use super::connect::Connection;
use super::encode::Encoded;
use super::follow::{Event, Follow};
use super::list::Selection;
use super::wait::report_cut;
use super::words;
use crate::cli::exit::{Exit, Failure, note};
use crate::cli::output::{Output, Piece};
use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};

/// Arguments of `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the workspace [default: all].
    id: Option<String>,

    #[command(flatten)]
    selection: Selection,

    /// End with 0 when a workspace that is watched is in this phase.
    #[arg(long, value_name = "PHASE", value_parser = phase)]
    until: Option<WorkspacePhase>,

    /// Do not print what is there at the beginning.
    #[arg(long)]
    no_initial: bool,

    /// End with 6 when the stream is cut.
    #[arg(long)]
    no_reconnect: bool,

    /// Print owner tokens (JSON and YAML).
    #[arg(long)]
    show_token: bool,
}

/// Runs the verb.
pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut follow = Follow::open(connection, args.selection.filter(), args.id.as_slice()).await?;
    loop {
        let event = follow.next().await?;
        match event {
            Event::Cut(error) if args.no_reconnect => {
                return Err(cut(error.map(Failure::from)));
            }
            ref other => report_cut(other),
        }
        match event {
            Event::Initial(now) => {
                if !args.no_initial {
                    print(&now, None, &args, out)?;
                }
                if is_goal(&args, &now) {
                    return Ok(());
                }
            }
            Event::Update { now, before } => {
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
            Event::Complete | Event::Cut(_) | Event::Resumed => {}
        }
    }
}

fn is_goal(args: &Args, status: &WorkspaceStatus) -> bool {
    args.until.is_some_and(|phase| phase == status.phase())
}

/// One workspace that stopped will never be in another phase; of many, others still may.
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
    // Whatever cut it, the watch is what became unavailable.
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
        return out.record(&Encoded::new(now.clone(), args.show_token));
    }
    out.line([
        Piece::from(Zoned::now().strftime("%H:%M:%S  ").to_string()),
        Piece::from(format!("{:36}  ", now.id)),
        words::phase_piece(now, 12),
        Piece::from(format!("  {:10}  ", format!("v{}", now.status_version))),
        Piece::from(changes(now, before)),
    ])
}

/// The message if it is new, and every condition that is.
fn changes(now: &WorkspaceStatus, before: Option<&WorkspaceStatus>) -> String {
    let old = before.map(words::conditions).unwrap_or_default();
    let new = words::conditions(now);
    let mut parts = Vec::new();
    if !now.message.is_empty() && before.is_none_or(|before| before.message != now.message) {
        parts.push(now.message.clone());
    }
    parts.extend(
        new.iter()
            .filter(|entry| !old.contains(entry))
            .map(|(name, value)| format!("{name}={value}")),
    );
    let cleared = old
        .iter()
        .filter(|(name, _)| new.iter().all(|(other, _)| other != name));
    parts.extend(cleared.map(|(name, _)| format!("{name} cleared")));
    parts.join("; ")
}

fn phase(text: &str) -> Result<WorkspacePhase, String> {
    WorkspacePhase::from_str_name(&text.to_ascii_uppercase()).ok_or_else(|| {
        "must be PENDING, CREATING, INITIALIZING, RUNNING, INTERRUPTED, STOPPING or STOPPED"
            .to_owned()
    })
}
