//! The explanation for people: the phase and why, what happens next, and when.

use std::fmt::Write;

use super::Explanation;
use crate::action::{Action, Recreate};
use crate::duration::GoDuration;
use crate::proto::wsman::{WorkspaceConditionBool, WorkspaceStatus};
use crate::workspaces::status::Why;

/// Renders a few aligned lines.
pub(super) fn render(explanation: &Explanation<'_>) -> String {
    let mut lines = Lines::default();
    match &explanation.told {
        Ok((status, why)) => workspace(&mut lines, explanation, status, *why),
        Err(_) => lines.add("pod", &explanation.case.pod.metadata.name),
    }
    lines.0
}

fn workspace(lines: &mut Lines, explanation: &Explanation<'_>, status: &WorkspaceStatus, why: Why) {
    let pod = &explanation.case.pod.metadata.name;
    lines.add("workspace", &format!("{} (pod {pod})", status.id));
    let message = match status.message.as_str() {
        "" => String::new(),
        message => format!(": {message}"),
    };
    let phase = status.phase().as_str_name();
    lines.add("phase", &format!("{phase} (rule {}){message}", why.phase));
    for (name, text) in conditions(status) {
        let rule = match (name, why.failure) {
            ("failed", Some(rule)) => format!(" (rule {rule})"),
            _ => String::new(),
        };
        lines.add(name, &format!("{text}{rule}"));
    }
    let decision = &explanation.decision;
    if decision.actions.is_empty() {
        lines.add("now", decision.rule);
    }
    for action in &decision.actions {
        lines.add("now", &format!("{} ({})", sentence(action), decision.rule));
    }
    if let Some(wake) = decision.wake_at {
        lines.add("next", &format!("{}: {}", wake.at, wake.reason));
    }
}

/// Conditions that say something, in the order of the proto file.
fn conditions(status: &WorkspaceStatus) -> Vec<(&'static str, String)> {
    let Some(c) = &status.conditions else {
        return Vec::new();
    };
    let flag = |condition| match condition {
        WorkspaceConditionBool::True => "yes".to_owned(),
        WorkspaceConditionBool::False | WorkspaceConditionBool::Empty => String::new(),
    };
    let all = [
        ("failed", c.failed.clone()),
        ("timeout", c.timeout.clone()),
        ("pulling images", flag(c.pulling_images())),
        ("snapshot", c.snapshot.clone()),
        ("backup complete", flag(c.final_backup_complete())),
        ("network down", flag(c.network_not_ready())),
        ("task failed", c.headless_task_failed.clone()),
        ("asked to stop", flag(c.stopped_by_request())),
        ("aborted", flag(c.aborted())),
    ];
    all.into_iter()
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

fn sentence(action: &Action) -> String {
    match action {
        Action::Mark(_, mark) | Action::MarkVersion(_, _, mark) => {
            let set = mark
                .set
                .iter()
                .map(|(key, value)| format!("set {key} to {value:?}"));
            let remove = mark.remove.iter().map(|key| format!("remove {key}"));
            set.chain(remove).collect::<Vec<_>>().join(", ")
        }
        Action::Stop(_, grace) => {
            let nanos = i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX);
            format!(
                "delete the pod with {} of grace",
                GoDuration::from_nanos(nanos)
            )
        }
        Action::ForceDelete(_) => "delete the pod without waiting for its node".to_owned(),
        Action::RemoveFinalizer(_, finalizer) => format!("remove the finalizer {finalizer}"),
        Action::AlignServices(_) => "bring the Services in line with the pod".to_owned(),
        Action::ChangeSecret(..) => "change the Secret".to_owned(),
        Action::CreatePod(_) => "create the pod".to_owned(),
        Action::CreateDependant(..) => "create what the pod needs beside it".to_owned(),
        Action::Claim(_) => "write the Lease".to_owned(),
        Action::Checkpoint(_) => "record activity".to_owned(),
        Action::Recreate(step) => recreation(step).to_owned(),
    }
}

fn recreation(step: &Recreate) -> &'static str {
    match step {
        Recreate::Record(..) => "record the pod, to make it again",
        Recreate::Commit(..) => "mark the pod as replaced",
        Recreate::Inherit(..) => "hand what belongs to the pod over to its record",
        Recreate::Vacate(..) => "delete the pod that is replaced",
        Recreate::Create(..) => "make the pod again",
        Recreate::Settle(..) => "hand what belonged to the old pod over to the new one",
        Recreate::Forget(..) => "delete the record of the pod",
        Recreate::MarkRecord(..) => "mark the record of the pod",
        Recreate::RemoveOrphan(..) => "delete a new pod that came too late",
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, text: &str) {
        // Texts come from pods: control characters must not reach a terminal.
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name:<16} {text}");
    }
}
