//! `wsman explain`: the status fold and the lifecycle on a file, for people and for programs.

mod input;
mod json;
pub(in crate::cli) mod people;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;

use jiff::Timestamp;

use self::people::Origin;
use super::exit::{Exit, Failure};
use crate::decision::Decision;
use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};
use crate::workspaces::content::step::Step;
use crate::workspaces::status::{NotWorkspace, Why};
use crate::workspaces::{decide, explanation};

/// What to explain, and how to print it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Output for programs instead of people.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    /// Configuration with the timeouts; without one nothing times out and nothing is defaulted.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The moment to decide at (RFC 3339). Without it, time stands still at the pod's creation.
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// JSON or YAML: a pod, or {"pod", "events", "node" (or "gone"), "activity"}; `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    file: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Output {
    Json,
}

/// What there is to say about a pod.
struct Explanation {
    status: Result<(WorkspaceStatus, Why), NotWorkspace>,
    decision: Decision<Step>,
    /// The daemon holds the pod, and so sees to it.
    held: bool,
}

impl Explanation {
    /// The workspace is STOPPED and nothing of ours holds its pod.
    fn is_let_go(&self) -> bool {
        let stopped = matches!(&self.status, Ok((s, _)) if s.phase() == WorkspacePhase::Stopped);
        stopped && !self.held
    }
}

/// Explains the pod of a file on `out`.
///
/// # Errors
/// [`Failure`] with the exit code, also for a pod that is no workspace, which is printed on `out` first when the output is
/// for programs.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    if let Some(config) = &args.config {
        super::config::one_stdin(std::path::Path::new(&args.file), config)?;
    }
    let mut case = input::case(&args.file, &input::config(args.config.as_deref())?)?;
    let (Some(group), Some(objects)) = (case.group(), case.members.last()) else {
        return Err(Failure::usage(format!("{} holds no pod", args.file)));
    };
    let meta = &objects.pod.metadata;
    let created = meta.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    case.now = args.now.unwrap_or(created);
    let (status, held) = {
        let entry = &group.newest().entry;
        (entry.explain(), entry.state.held)
    };
    // The daemon sees to a pod that it holds, whatever people made of its marks.
    let is_seen_to = held || status.is_ok();
    let decision = is_seen_to.then(|| case.decide_on(&group));
    let explanation = Explanation {
        status,
        decision: decision.clone().unwrap_or_default(),
        held,
    };
    let text = match (args.output, decision) {
        (Some(Output::Json), _) => json::render(&explanation),
        (None, None) => String::new(),
        (None, Some(decision)) => {
            let events = &objects.events;
            let content = decide::content_step(&group, case.activity, &case.policy, case.now);
            let explained = explanation::explain(&group, &decision, content, case.activity, events);
            let config = args.config.is_some();
            let activity = case.activity.is_some();
            people::render(&explained, Origin::File { config, activity })
        }
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    match explanation.status {
        Ok(_) => Ok(()),
        Err(NotWorkspace(why)) => {
            let message = match held {
                true => format!("the marks of pod {} cannot be read: {why}", meta.name),
                false => format!("pod {} is no workspace: {why}", meta.name),
            };
            Err(Failure::new(Exit::Failed, message))
        }
    }
}
