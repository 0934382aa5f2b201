//! Answers as JSON: what golden files and the lines of an event trace log hold.

use serde_json::{Value, json};

use crate::action::Action;
use crate::decision::{Decision, Wake};
use crate::proto::wsman::WorkspacePhase;
use crate::workspaces::content::step::Step;

use super::Objects;

/// One entry for each write.
pub fn actions(actions: &[Action]) -> Value {
    actions.iter().map(line).collect()
}

fn line(action: &Action) -> Value {
    match action {
        Action::Mark(_, mark) => json!({"set": mark.set, "remove": mark.remove}),
        Action::ChangePod(_, change) => {
            let (mark, version) = (&change.mark, &change.version);
            json!({"set": mark.set, "remove": mark.remove, "version": version})
        }
        Action::Label(_, labels) => json!({ "label": labels }),
        Action::Stop(_, grace) => json!({"stop": grace.as_secs()}),
        Action::ForceDelete(_) => json!("force delete"),
        Action::RemoveFinalizer(_, finalizer) => json!({"release": finalizer}),
        Action::CopyPod(copy) => json!({"copy": copy.to, "set": copy.mark.set}),
        Action::CopyMarks(from, to, _) => json!({"copy marks": [from.name, to.name]}),
        Action::Discard(discard) => json!({"discard": discard.pod.name}),
        Action::SyncServices(sync) => json!({"services": {"headless": sync.headless}}),
        Action::KeepPvc(_, name) => json!({"keep": name}),
        Action::DeletePvc(_, name) => json!({"delete": name}),
        // The lifecycle does none of these.
        Action::CreateVolumeSnapshot(_)
        | Action::RestoreVolumeSnapshot(_)
        | Action::DeleteVolumeSnapshot(..) => json!("other"),
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
pub fn decision(decision: &Decision<Step>) -> Value {
    let mut value = json!({
        "rule": decision.rule,
        "actions": actions(&decision.actions),
        "wake_at": wake(decision.wake_at),
    });
    if let Some(step) = &decision.step {
        value["step"] = step.to_json();
    }
    value
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

/// A pass of fold and lifecycle as a golden file holds it.
pub fn pass(phase: WorkspacePhase, decision: &Decision<Step>) -> Value {
    let mut value = self::decision(decision);
    value["phase"] = phase.as_str_name().into();
    value
}

/// The strongest write of a decision: what the name of its case ends in.
pub fn outcome(decision: &Decision<Step>) -> &'static str {
    let has = |wanted: fn(&Action) -> bool| decision.actions.iter().any(wanted);
    if has(|a| matches!(a, Action::Discard(_))) {
        "DISCARD"
    } else if has(|a| matches!(a, Action::ForceDelete(_))) {
        "FORCE"
    } else if has(|a| matches!(a, Action::RemoveFinalizer(..))) {
        "RELEASE"
    } else if has(|a| matches!(a, Action::Stop(..))) {
        "STOP"
    } else if has(|a| matches!(a, Action::CopyPod(_))) {
        "RECREATE"
    } else if has(|a| {
        use Action::{CopyMarks, Label, Mark};
        matches!(a, Mark(..) | Label(..) | CopyMarks(..))
    }) {
        "MARK"
    } else {
        "WAIT"
    }
}
