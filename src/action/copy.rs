//! A pod that takes the place of another, as JSON: what newer API servers put into a pod survives, though it is not known
//! here.

use serde_json::{Map, Value, json};

use super::{Mark, PodRef};

/// Longest host name that Kubernetes gives a pod.
const HOST_NAME: usize = 63;

/// A pod that is to be like another, but for what the cluster filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodCopy {
    /// The pod that is copied.
    pub from: PodRef,
    /// Name of the copy.
    pub to: String,
    /// The pod that owns the copy; the copy keeps its host name.
    pub owner: PodRef,
    /// What the copy's annotations have that those of the pod have not.
    pub mark: Mark,
    /// An annotation that the pod must have.
    pub only_with: (&'static str, String),
    /// Annotations that the pod must not have.
    pub unless: &'static [&'static str],
}

impl PodCopy {
    /// Returns the copy of a pod as the API server returned it; nothing if that is not the pod, or is not marked as it
    /// must be.
    pub fn build(&self, mut pod: Value) -> Option<Value> {
        let meta = pod.get_mut("metadata")?.take();
        let mut annotations = meta["annotations"].as_object()?.clone();
        let (key, value) = &self.only_with;
        let is_meant = meta["uid"] == self.from.uid.as_str() && annotations.get(*key)? == value;
        if !is_meant || self.unless.iter().any(|key| annotations.contains_key(*key)) {
            return None;
        }
        let set = self.mark.set.iter();
        annotations.extend(set.map(|(key, value)| (key.clone(), value.as_str().into())));
        for key in &self.mark.remove {
            annotations.remove(key);
        }
        let finalizers = meta["finalizers"].as_array().into_iter().flatten();
        // Those of a running deletion are not the pod's own.
        let finalizers: Vec<_> = finalizers
            .filter(|f| *f != "foregroundDeletion" && *f != "orphan")
            .collect();
        let owner = json!({
            "apiVersion": "v1", "kind": "Pod", "name": self.owner.name, "uid": self.owner.uid,
        });
        let mut spec = without_admissions(pod.get_mut("spec")?.take());
        if let Some(fields) = spec.as_object_mut() {
            let host = fields.entry("hostname");
            host.or_insert_with(|| host_name(&self.owner.name).into());
        }
        Some(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.to,
                "namespace": meta["namespace"],
                "labels": meta["labels"],
                "annotations": annotations,
                "finalizers": finalizers,
                "ownerReferences": [owner],
            },
            "spec": spec,
        }))
    }
}

/// Returns the host name that the kubelet gives a pod of this name.
fn host_name(pod: &str) -> &str {
    let end = pod.len().min(HOST_NAME);
    // Names of pods are ASCII.
    pod.get(..end).unwrap_or(pod).trim_end_matches(['-', '.'])
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
