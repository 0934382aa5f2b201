//! `wsman explain`: the status fold and the lifecycle on a file, for people and for programs.

mod input;
mod json;
pub(in crate::cli) mod people;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;

use jiff::Timestamp;

use self::input::Case;
use self::people::Origin;
use super::exit::{Exit, Failure};
use crate::action::PodRef;
use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};
use crate::workspaces::decide::Entry;
use crate::workspaces::lifecycle::{self, Decision, LifecycleInput};
use crate::workspaces::marks::FINALIZER;
use crate::workspaces::status::{self, NodeView, NotWorkspace, Observed, Why};
use crate::workspaces::{explanation, pod_state};

/// What to explain, and how to tell it.
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

/// What there is to tell about a pod.
struct Explanation<'a> {
    case: &'a Case,
    told: Result<(WorkspaceStatus, Why), NotWorkspace>,
    decision: Decision,
}

impl Explanation<'_> {
    /// The workspace is STOPPED and nothing of ours holds its pod.
    fn is_let_go(&self) -> bool {
        let finalizers = &self.case.pod.metadata.finalizers;
        let stopped = matches!(&self.told, Ok((s, _)) if s.phase() == WorkspacePhase::Stopped);
        stopped && !finalizers.iter().any(|f| f == FINALIZER)
    }
}

/// Explains the pod of a file on `out`.
///
/// # Errors
/// [`Failure`] with the exit code, also for a pod that is no workspace, which is told on `out` first when the output is
/// for programs.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    if let Some(config) = &args.config {
        super::config::one_stdin(std::path::Path::new(&args.file), config)?;
    }
    let case = input::case(&args.file)?;
    let config = input::config(args.config.as_deref())?;
    let node = match &case.node {
        Some(node) => NodeView::Present(node),
        None if case.node_gone => NodeView::Gone,
        None => NodeView::Unknown,
    };
    let observed = Observed {
        pod: &case.pod,
        events: &case.events,
        node,
    };
    let told = status::explain(&observed, &config.defaults);
    let meta = &case.pod.metadata;
    let created = meta.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    let now = args.now.unwrap_or(created);
    // The daemon sees to a pod that it holds, whatever people made of its marks.
    let held = meta.finalizers.iter().any(|f| f == FINALIZER);
    let explained = match held || told.is_ok() {
        true => {
            let pod = PodRef {
                name: meta.name.clone(),
                uid: meta.uid.clone(),
            };
            let folded = status::fold(&observed, &config.defaults);
            let state = pod_state::of(&observed);
            let entry = Entry {
                pod,
                status: folded.status,
                state,
                why: folded.why,
            };
            let input = LifecycleInput {
                pod: Some(&entry),
                record: None,
                activity: case.activity,
                services: None,
            };
            let decision = lifecycle::step(input, &config.policy, now).unwrap_or_default();
            let explained = explanation::explain(&entry, &decision, case.activity, &case.events);
            (decision, Some(explained))
        }
        false => (Decision::default(), None),
    };
    let (decision, explained) = explained;
    let explanation = Explanation {
        case: &case,
        told,
        decision,
    };
    let text = match args.output {
        Some(Output::Json) => json::render(&explanation),
        None => match explained {
            Some(explained) => {
                let config = args.config.is_some();
                let activity = case.activity.is_some();
                people::render(&explained, Origin::File { config, activity })
            }
            None => String::new(),
        },
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    match explanation.told {
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
