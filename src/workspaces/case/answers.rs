//! Answers as JSON: what golden files and the lines of an event trace log hold.

use serde_json::{Value, json};

use crate::action::Action;
use crate::proto::wsman::WorkspaceStatus;
use crate::workspaces::decide::{Verdict, Wake};
use crate::workspaces::lifecycle::Decision;

use super::Objects;

/// One entry for each write.
pub fn actions(actions: &[Action]) -> Value {
    actions.iter().map(line).collect()
}

fn line(action: &Action) -> Value {
    match action {
        Action::Mark(_, mark) => json!({"set": mark.set, "remove": mark.remove}),
        Action::MarkVersion(_, version, mark) => {
            json!({"set": mark.set, "remove": mark.remove, "version": version})
        }
        Action::Label(_, key, value) => json!({"label": {*key: value}}),
        Action::Stop(_, grace) => json!({"stop": grace.as_secs()}),
        Action::ForceDelete(_) => json!("force delete"),
        Action::RemoveFinalizer(_, finalizer) => json!({"release": finalizer}),
        Action::Recreate(step) => json!({"recreate": step.name()}),
        Action::SyncServices { headless, .. } => json!({"services": {"headless": headless}}),
        // The lifecycle does none of these.
        Action::CreatePod(_)
        | Action::CreateDependant(..)
        | Action::ChangeSecret(..)
        | Action::UpdateLease(_)
        | Action::Checkpoint(_) => json!("other"),
    }
}

fn wake(wake: Option<Wake>) -> Value {
    let wake = wake.map(
        |wake| json!({"at": wake.at.to_string(), "reason": wake.reason, "source": wake.source}),
    );
    json!(wake)
}

/// A decision as a line of an event trace log holds it.
pub fn decision(decision: &Decision) -> Value {
    json!({
        "rule": decision.rule,
        "actions": actions(&decision.actions),
        "wake_at": wake(decision.wake_at),
    })
}

/// A status as a golden file holds it, and what the name of its case ends in.
pub fn status(objects: &Objects) -> (&'static str, Value) {
    match objects.explain() {
        Ok((status, why)) => {
            let why = json!({"failure": why.failure, "phase": why.phase});
            let phase = status.phase().as_str_name();
            (phase, json!({"status": status, "why": why}))
        }
        Err(error) => ("ERROR", json!({"error": error.to_string()})),
    }
}

/// A verdict as a golden file holds it.
pub fn verdict(status: &WorkspaceStatus, verdict: &Verdict) -> Value {
    json!({
        "phase": status.phase().as_str_name(),
        "rule": verdict.rule,
        "actions": actions(&verdict.actions),
        "wake_at": wake(verdict.wake_at),
    })
}

/// The strongest write of a verdict: what the name of its case ends in.
pub fn outcome(verdict: &Verdict) -> &'static str {
    let has = |wanted: fn(&Action) -> bool| verdict.actions.iter().any(wanted);
    if has(|a| matches!(a, Action::ForceDelete(_))) {
        "FORCE"
    } else if has(|a| matches!(a, Action::RemoveFinalizer(..))) {
        "RELEASE"
    } else if has(|a| matches!(a, Action::Stop(..))) {
        "STOP"
    } else if has(|a| matches!(a, Action::Recreate(_))) {
        "RECREATE"
    } else if has(|a| matches!(a, Action::Mark(..))) {
        "MARK"
    } else {
        "WAIT"
    }
}
