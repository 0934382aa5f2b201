//! The objects of a recreation as JSON: what newer API servers put into a pod survives, though it is not known here.

use serde_json::{Map, Value, json};

use super::KEY;
use crate::action::RecordRef;
use crate::workspaces::marks::{RECREATE, annotation, label};
use crate::workspaces::services;

/// Returns the ConfigMap that records a pod as the API server returned it, owned by the pod.
pub fn record(pod: &Value) -> Value {
    let meta = &pod["metadata"];
    let mut kept = pod.clone();
    if let Some(meta) = kept["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": {
                label::RECORD: RECREATE,
                label::WORKSPACE_ID: meta["labels"][label::WORKSPACE_ID],
            },
            "ownerReferences": [
                { "apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"] },
            ],
        },
        "data": { KEY: kept.to_string() },
    })
}

/// Returns the pod that replaces the recorded one, owned by the record: the same but for what the cluster filled in.
/// Nothing if the record holds no pod.
pub fn successor(record: &Value) -> Option<Value> {
    let mut pod: Value = serde_json::from_str(record["data"][KEY].as_str()?).ok()?;
    let meta = pod.get_mut("metadata")?.take();
    let text = |key: &str| meta[key].as_str().unwrap_or_default().to_owned();
    let mut annotations = meta["annotations"].as_object()?.clone();
    let recreations = annotations.get(annotation::RECREATIONS);
    let recreations: u32 = recreations
        .and_then(|n| n.as_str()?.parse().ok())
        .unwrap_or(0);
    let mut keep = |key: &str, value: String| {
        annotations.entry(key).or_insert_with(|| value.into());
    };
    keep(annotation::FIRST_UID, text("uid"));
    keep(annotation::STARTED_AT, text("creationTimestamp"));
    let record = record_ref(record);
    annotations.insert(annotation::MADE_FROM.to_owned(), record.uid.as_str().into());
    annotations.insert(
        annotation::RECREATIONS.to_owned(),
        recreations.saturating_add(1).to_string().into(),
    );
    annotations.remove(annotation::REPLACED_BY);
    let finalizers = meta["finalizers"].as_array().into_iter().flatten();
    // Those of a running deletion are not the pod's own.
    let finalizers: Vec<_> = finalizers
        .filter(|f| *f != "foregroundDeletion" && *f != "orphan")
        .collect();
    let owner = owner(&record);
    let spec = without_admissions(pod.get_mut("spec")?.take());
    Some(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": meta["labels"],
            "annotations": annotations,
            "finalizers": finalizers,
            "ownerReferences": [owner],
        },
        "spec": spec,
    }))
}

/// Returns what belongs to the recorded pod, as plural and name, and the uid of that pod.
pub fn dependants(record: &Value) -> Option<(Vec<(&'static str, String)>, String)> {
    let pod: Value = serde_json::from_str(record["data"][KEY].as_str()?).ok()?;
    let meta = &pod["metadata"];
    let name = meta["name"].as_str()?;
    let mut found = vec![("secrets", name.to_owned())];
    let mut volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    if volumes.any(|volume| volume["persistentVolumeClaim"]["claimName"] == name) {
        found.push(("persistentvolumeclaims", name.to_owned()));
    }
    let texts = |key: &str| serde_json::from_value(meta[key].clone()).unwrap_or_default();
    let services = services::of_pod("", &texts("labels"), &texts("annotations"), true);
    let services = services.into_iter().filter_map(|s| s.metadata.name);
    found.extend(services.map(|name| ("services", name)));
    Some((found, meta["uid"].as_str()?.to_owned()))
}

fn record_ref(record: &Value) -> RecordRef {
    let text = |key: &str| record["metadata"][key].as_str().unwrap_or_default();
    RecordRef {
        name: text("name").to_owned(),
        uid: text("uid").to_owned(),
    }
}

fn owner(record: &RecordRef) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": record.name, "uid": record.uid })
}

/// Drops what scheduling and admission plugins filled in: they do it again, and some refuse what they find.
fn without_admissions(mut spec: Value) -> Value {
    let Some(fields) = spec.as_object_mut() else {
        return spec;
    };
    for key in [
        "nodeName",
        "priority",
        "preemptionPolicy",
        "overhead",
        "ephemeralContainers",
    ] {
        fields.remove(key);
    }
    retain(fields, "tolerations", |toleration| {
        let key = toleration["key"].as_str().unwrap_or_default();
        let of_nodes = [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
        ];
        !(of_nodes.contains(&key)
            && toleration["operator"] == "Exists"
            && toleration["effect"] == "NoExecute"
            && toleration["tolerationSeconds"] == 300)
    });
    let is_token = |name: &Value| {
        let name = name.as_str().unwrap_or_default();
        name.starts_with("kube-api-access-")
    };
    retain(fields, "volumes", |volume| !is_token(&volume["name"]));
    for containers in ["containers", "initContainers"] {
        let containers = fields.get_mut(containers).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                retain(container, "volumeMounts", |mount| !is_token(&mount["name"]));
            }
        }
    }
    spec
}

/// Keeps some of a list's entries, and no empty list.
fn retain(object: &mut Map<String, Value>, list: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(items) = object.get_mut(list).and_then(Value::as_array_mut) {
        items.retain(keep);
        if items.is_empty() {
            object.remove(list);
        }
    }
}

#[cfg(test)]
mod tests;
