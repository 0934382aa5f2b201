//! The explanation for programs: one JSON object, whose shape is a contract.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Explanation;
use crate::action::{Action, Dependant, PodChange};
use crate::cli::client::encode;
use crate::duration::GoDuration;
use crate::workspaces::content::step::Step;
use crate::workspaces::marks::FINALIZER;

/// Renders the object, indented, with a newline at its end.
pub(super) fn render(explanation: &Explanation) -> String {
    let mut object = Map::new();
    match &explanation.status {
        Ok((status, _)) => {
            let status = encode::message("wsman.WorkspaceStatus", status);
            object.insert("status".to_owned(), status)
        }
        Err(error) => {
            object.insert("status".to_owned(), Value::Null);
            object.insert("error".to_owned(), json!(error.to_string()))
        }
    };
    let decision = &explanation.decision;
    let mut actions: Vec<Value> = decision.actions.iter().map(action).collect();
    actions.extend(decision.step.iter().map(Step::to_json));
    if explanation.is_let_go() {
        // Part of the contract: STOPPED lists the removal even where it is already done (and the daemon writes nothing).
        actions.push(json!({"finalizer": {"remove": FINALIZER}}));
    }
    object.insert("actions".to_owned(), json!(actions));
    let deadline = decision
        .wake_at
        .map(|wake| json!({"at": wake.at.to_string(), "reason": wake.reason}));
    object.insert("deadline".to_owned(), json!(deadline));
    format!("{:#}\n", Value::Object(object))
}

fn action(action: &Action) -> Value {
    match action {
        Action::Mark(_, mark) | Action::ChangePod(_, PodChange { mark, .. }) => {
            let mut parts = Map::new();
            if !mark.set.is_empty() {
                parts.insert("set".to_owned(), json!(mark.set));
            }
            if !mark.remove.is_empty() {
                parts.insert("remove".to_owned(), json!(mark.remove));
            }
            json!({ "mark": parts })
        }
        Action::Label(_, labels) => {
            let set = labels.iter().filter(|(_, value)| value.is_some());
            let remove = labels.iter().filter(|(_, value)| value.is_none());
            let remove: Vec<_> = remove.map(|(key, _)| key).collect();
            json!({"label": {"set": set.collect::<BTreeMap<_, _>>(), "remove": remove}})
        }
        Action::Stop(_, grace) => {
            let nanos = i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX);
            json!({"stop": {"grace": GoDuration::from_nanos(nanos).to_string()}})
        }
        Action::ForceDelete(_) => json!({"stop": {"grace": "0s"}}),
        Action::RemoveFinalizer(_, finalizer) => json!({"finalizer": {"remove": finalizer}}),
        Action::SyncServices(sync) => json!({"align": {"services": sync.pod.name}}),
        Action::ChangeSecret(_, change) => {
            let set: Vec<_> = change.set.keys().collect();
            json!({"secret": {"set": set, "remove": change.remove}})
        }
        Action::CopyPod(copy) => json!({"recreate": copy.to}),
        Action::CopyMarks(from, to, _) => json!({"copy": {"marks": from.name, "to": to.name}}),
        Action::Discard(discard) => json!({"discard": {"pod": discard.pod.name}}),
        Action::CreateVolumeSnapshot(plan) => json!({"create": {"volumeSnapshot": plan.name}}),
        Action::RestoreVolumeSnapshot(restore) => {
            json!({"create": {"volumeSnapshot": restore.name}})
        }
        Action::DeleteVolumeSnapshot(name, _) => json!({"delete": {"volumeSnapshot": name}}),
        Action::DeletePvc(_, name) => json!({"delete": {"pvc": name}}),
        Action::KeepPvc(_, name) => json!({"keep": {"pvc": name}}),
        Action::CreatePod(pod) => json!({ "create": pod }),
        Action::CreateDependant(_, Dependant::Secret(secret)) => json!({ "create": secret }),
        Action::CreateDependant(_, Dependant::Pvc(claim)) => json!({ "create": claim }),
        Action::CreateDependant(_, Dependant::Service(service)) => json!({ "create": service }),
        Action::UpdateLease(claim) => json!({"lease": {"set": claim.spec}}),
        Action::Checkpoint(record) => {
            json!({"record": {"set": record.set, "remove": record.remove}})
        }
    }
}
