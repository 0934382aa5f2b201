//! Pods to begin with, and ways to spoil them: fields dropped or replaced by something of another type.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Where and how to spoil a value.
#[derive(Debug, Clone)]
pub(super) struct Mutation {
    path: Vec<u8>,
    with: Option<Value>,
}

impl Arbitrary for Mutation {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let values = vec![
            None,
            Some(Value::Null),
            Some(json!(true)),
            Some(json!(-1)),
            Some(json!(0)),
            Some(json!(i64::MAX)),
            Some(json!(i64::MIN)),
            Some(json!(1e300)),
            Some(json!("")),
            Some(json!("true")),
            Some(json!("0")),
            Some(json!("Failed")),
            Some(json!("Error")),
            Some(json!("-2562047h47m16.854775807s")),
            Some(json!("2562047h47m16.854775807s")),
            Some(json!("9999-12-30T22:00:00.999999999Z")),
            Some(json!("-009999-01-02T01:59:59Z")),
            Some(json!("1969-12-31T23:59:59.5Z")),
            Some(json!("{\"status\":[],\"gitStatus\":{\"branch\":1}}")),
            Some(json!("\u{0}\u{1F980}é\n{\"message\":{}}\n")),
            Some(json!([])),
            Some(json!([null, 1, {}])),
            Some(json!({})),
            Some(json!({"a": {"b": []}})),
        ];
        let path = proptest::collection::vec(any::<u8>(), 1..6);
        (path, proptest::sample::select(values))
            .prop_map(|(path, with)| Self { path, with })
            .boxed()
    }
}

/// Follows the path as far as it leads, and replaces or drops what is there.
pub(super) fn spoil(value: &mut Value, mutation: &Mutation) {
    let Some((step, rest)) = mutation.path.split_first() else {
        return;
    };
    let step = usize::from(*step);
    let deeper = Mutation {
        path: rest.to_vec(),
        with: mutation.with.clone(),
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            let key = members
                .keys()
                .nth(step % members.len())
                .cloned()
                .unwrap_or_default();
            let leaf = rest.is_empty() || !members[&key].is_object() && !members[&key].is_array();
            match &mutation.with {
                None if leaf => {
                    members.remove(&key);
                }
                Some(with) if leaf => {
                    members.insert(key, with.clone());
                }
                _ => spoil(&mut members[&key], &deeper),
            }
        }
        Value::Array(entries) if !entries.is_empty() => {
            let at = step % entries.len();
            match &mutation.with {
                None if rest.is_empty() => {
                    entries.remove(at);
                }
                Some(with) if rest.is_empty() => entries[at] = with.clone(),
                _ => spoil(&mut entries[at], &deeper),
            }
        }
        _ => {}
    }
}

/// One pod of each kind that a cluster shows.
pub(super) fn pods() -> impl Strategy<Value = Value> {
    let kinds = vec!["regular", "prebuild", "imagebuild"];
    let parts = (
        proptest::sample::select(states()),
        proptest::sample::select(kinds),
        any::<bool>(),
        any::<bool>(),
    );
    parts.prop_map(|((phase, state), kind, ready, deleting)| {
        pod(phase, &state, kind, ready, deleting)
    })
}

/// The states that a pod and its container have.
pub(super) fn states() -> Vec<(&'static str, Value)> {
    vec![
        ("Pending", Value::Null),
        (
            "Pending",
            json!({"waiting": {"reason": "ContainerCreating"}}),
        ),
        (
            "Pending",
            json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}),
        ),
        (
            "Pending",
            json!({"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"x\" not found"}}),
        ),
        ("Running", json!({"running": {}})),
        (
            "Running",
            json!({"terminated": {"exitCode": 255, "reason": "Unknown"}}),
        ),
        (
            "Succeeded",
            json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
        ),
        (
            "Failed",
            json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "{\"message\":\"m\"}\n"}}),
        ),
        (
            "Failed",
            json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "m"}}),
        ),
        ("Failed", Value::Null),
        ("Unknown", Value::Null),
    ]
}

pub(super) fn pod(phase: &str, state: &Value, kind: &str, ready: bool, deleting: bool) -> Value {
    let mut pod = json!({
        "metadata": {
            "name": "ws-heron", "uid": "77", "resourceVersion": "12", "creationTimestamp": "2026-03-01T10:00:00Z",
            "finalizers": ["gitpod.io/finalizer"],
            "labels": {"workspaceID": "heron", "workspaceType": kind, "headless": (kind != "regular").to_string()},
            "annotations": {
                "gitpod/id": "heron", "gitpod/url": "https://heron.example.test", "wsman.dev/spec-sha256": "0",
                "gitpod.io/alreadyInitializing": "true", "gitpod/exposedPorts": "CgcIuBcYASgB",
                "gitpod/firstUserActivity": "2026-03-01T10:01:00Z", "gitpod.io/annotation.k": "v",
            },
        },
        "spec": {
            "containers": [{"name": "workspace", "image": "i"}],
            "tolerations": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "tolerationSeconds": 300}],
        },
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        },
    });
    if !state.is_null() {
        pod["spec"]["nodeName"] = json!("node-a");
        pod["status"]["containerStatuses"] = json!([{"name": "workspace", "ready": ready, "restartCount": 0, "state": state, "lastState": {}}]);
    }
    if deleting {
        pod["metadata"]["deletionTimestamp"] = json!("2026-03-01T10:00:30Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    }
    pod
}

/// A node that is lost after a while.
pub(super) fn node() -> Value {
    json!({
        "metadata": {"name": "node-a"},
        "spec": {"taints": [
            {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-03-01T10:00:00Z"},
            {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"},
        ]},
    })
}
