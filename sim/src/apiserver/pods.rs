//! The subresources of pods that are verbs: binding and eviction.

use serde_json::{Value, json};

use super::clock;
use super::delete::{self, Options};
use super::request::{Query, Target};
use super::resources::PODS;
use super::status::Status;
use super::store::{Store, uid};
use super::validate::text;

/// Assigns the pod to a node.
pub(crate) fn bind(
    store: &Store,
    target: &Target,
    body: &[u8],
    dry_run: bool,
) -> Result<Value, Status> {
    let binding = object(body, "Binding")?;
    if text(&binding["metadata"], "name") != target.name {
        return Err(Status::bad_request(
            "name in URL does not match name in Binding object",
        ));
    }
    let (kind, node) = (
        text(&binding["target"], "kind"),
        text(&binding["target"], "name"),
    );
    // The original does not wrap these two, so they are no proper Invalid.
    if !matches!(kind, "" | "Node") {
        let why = format!(
            "target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""
        );
        return Err(Status::new(500, "", why));
    }
    if node.is_empty() {
        return Err(Status::new(500, "", "target.name: Required value"));
    }
    store.with(|state| {
        let old = state.get(PODS, &target.key()).cloned();
        let old = old.ok_or_else(|| Status::not_found(target.resource, &target.name))?;
        let conflict = |why: String| Status {
            message: format!(
                "Operation cannot be fulfilled on pods/binding {:?}: {why}",
                target.name
            ),
            details: Some(json!({"name": target.name, "kind": "pods/binding"})),
            ..Status::conflict(target.resource, &target.name, &why)
        };
        let asked = text(&binding["metadata"], "uid");
        if !asked.is_empty() && asked != uid(&old.value) {
            let held = uid(&old.value);
            return Err(conflict(format!(
                "Precondition failed: UID in precondition: {asked}, UID in object meta: {held}"
            )));
        }
        if !old.value["metadata"]["deletionTimestamp"].is_null() {
            return Err(conflict(format!(
                "pod {} is being deleted, cannot be assigned to a host",
                target.name
            )));
        }
        let held = text(&old.value["spec"], "nodeName");
        if !held.is_empty() {
            return Err(conflict(format!(
                "pod {} is already assigned to node {held:?}",
                target.name
            )));
        }
        let gates = old.value["spec"]["schedulingGates"].as_array();
        if gates.is_some_and(|gates| !gates.is_empty()) {
            return Err(conflict(format!(
                "pod {} has non-empty .spec.schedulingGates",
                target.name
            )));
        }
        let mut pod = old.value.clone();
        pod["spec"]["nodeName"] = node.into();
        for marks in ["annotations", "labels"] {
            for (key, value) in binding["metadata"][marks].as_object().into_iter().flatten() {
                pod["metadata"][marks][key] = value.clone();
            }
        }
        let scheduled = json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null,
            "lastTransitionTime": clock::text(clock::now()),
        });
        match pod["status"]["conditions"].as_array_mut() {
            Some(conditions) => {
                conditions.retain(|condition| condition["type"] != "PodScheduled");
                conditions.push(scheduled);
            }
            None => pod["status"]["conditions"] = json!([scheduled]),
        }
        if !dry_run {
            state.put(PODS, &target.key(), pod);
        }
        Ok(success())
    })
}

/// Why there is no such subresource, if it would need real containers. Processes have logs and exec.
pub(crate) fn needs_containers(subresource: &str, are_processes: bool) -> Option<String> {
    if are_processes && matches!(subresource, "attach" | "portforward" | "proxy") {
        return Some(format!(
            "the containers of this pod are processes of the machine: {subresource} is not served"
        ));
    }
    let what = match subresource {
        "attach" => "there is no process to attach to",
        "portforward" => "no port can be forwarded to one",
        "proxy" => "no request can be sent to one",
        _ => return None,
    };
    Some(format!(
        "the containers of the embedded cluster are simulated: {what} ({subresource} is not served)"
    ))
}

/// Deletes the pod through the eviction API. Disruption budgets are stored but not enforced.
pub(crate) fn evict(
    store: &Store,
    target: &Target,
    body: &[u8],
    query: &Query,
) -> Result<Value, Status> {
    let eviction = object(body, "Eviction")?;
    let options = eviction
        .get("deleteOptions")
        .filter(|options| !options.is_null());
    let options = options.map(Value::to_string).unwrap_or_default();
    let mut options = Options::parse(options.as_bytes(), query)?;
    options.dry_run |= query.dry_run()?;
    store.with(|state| delete::delete(state, target, &options))?;
    Ok(success())
}

fn object(body: &[u8], kind: &str) -> Result<Value, Status> {
    let unreadable = |why: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why}"
        ))
    };
    let value: Value =
        serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(unreadable("not an object".into()))
    }
}

fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}
