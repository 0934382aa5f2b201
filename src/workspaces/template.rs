//! Pod templates: how they are parsed, and how one is merged into a pod (docs/protocol.md#pod-templates).
//!
//! Both sides are JSON: the type of a field decides how it is merged, and the few fields with their own rules are known
//! by path. The pod is the target, the template the source.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value};

use super::marks;

mod check;

pub use check::{Finding, check};

/// Parses the text of a template: YAML or JSON.
fn parse(text: &str) -> Result<Value, String> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|e| format!("is no JSON: {e}"));
    }
    // The parser adds an excerpt below its first line.
    serde_saphyr::from_str(text).map_err(|e| {
        let why = e.to_string();
        let why = why.lines().next().unwrap_or_default();
        format!("is no YAML: {}", why.trim_start_matches("error: "))
    })
}

/// Parses a template: a whole Pod manifest in YAML or JSON. Unknown fields and fields that only a server writes are
/// dropped.
///
/// # Errors
/// Why it is no pod, with the path of the invalid field.
pub fn read(text: &str) -> Result<Value, String> {
    let mut value = parse(text)?;
    if value.is_null() {
        value = Value::Object(Map::new());
    }
    quantities(&mut value);
    let pod: Pod = serde_path_to_error::deserialize(&value).map_err(|e| {
        let at = match e.path().to_string() {
            root if root == "." => String::new(),
            path => format!("{path}: "),
        };
        format!("is no pod: {at}{}", e.into_inner())
    })?;
    let mut value = serde_json::to_value(pod).map_err(|e| format!("is no pod: {e}"))?;
    if let Some(pod) = value.as_object_mut() {
        pod.retain(|key, _| key == "metadata" || key == "spec");
        if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata
                .retain(|key, _| matches!(key.as_str(), "labels" | "annotations" | "finalizers"));
        }
    }
    Ok(value)
}

/// Merges a template into a pod: the pod's values win, except for the rules of containers and lists.
pub fn merge(mut pod: Value, template: Value) -> Value {
    fill(&mut pod, template, Path::Root);
    pod
}

/// Returns the container `name` of a template.
pub fn container<'a>(template: &'a Value, name: &str) -> Option<&'a Value> {
    let containers = template.pointer("/spec/containers")?.as_array()?;
    containers.iter().find(|c| c["name"] == name)
}

/// Returns a duplicate that a pod with this template would have although Kubernetes forbids it: such a pod cannot
/// start.
pub fn clash(template: &Value) -> Option<String> {
    let list = |value: Option<&Value>, key: &str| -> Vec<String> {
        let list = value.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|item| Some(item.get(key)?.as_str()?.to_owned()))
            .collect()
    };
    let workspace = container(template, marks::CONTAINER);
    let volumes = list(template.pointer("/spec/volumes"), "name");
    let mounts = list(workspace.and_then(|c| c.get("volumeMounts")), "mountPath");
    let twice = |own: &[&str], given: Vec<String>| {
        let mut seen: BTreeSet<String> = own.iter().map(|name| (*name).to_owned()).collect();
        given.into_iter().find(|name| !seen.insert(name.clone()))
    };
    twice(&["vol-this-workspace"], volumes)
        .map(|name| format!("there are two volumes {name:?}"))
        .or_else(|| {
            twice(&["/workspace"], mounts).map(|path| format!("there are two mounts at {path:?}"))
        })
}

/// The depth of a value, as far as rules depend on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    Root,
    Spec,
    Affinity,
    NodeAffinity,
    RequiredNodeAffinity,
    Other,
}

impl Path {
    fn member(self, key: &str) -> Self {
        match (self, key) {
            (Self::Root, "spec") => Self::Spec,
            (Self::Spec, "affinity") => Self::Affinity,
            (Self::Affinity, "nodeAffinity") => Self::NodeAffinity,
            (Self::NodeAffinity, "requiredDuringSchedulingIgnoredDuringExecution") => {
                Self::RequiredNodeAffinity
            }
            _ => Self::Other,
        }
    }
}

/// Sets what is zero in the target: "", 0, false, and absent fields. Lists are joined.
fn fill(target: &mut Value, source: Value, path: Path) {
    match (target, source) {
        (Value::Object(target), Value::Object(source)) => {
            for (key, value) in source {
                let Some(own) = target.get_mut(&key) else {
                    target.insert(key, value);
                    continue;
                };
                match (path, key.as_str()) {
                    (Path::Spec, "containers" | "initContainers") => containers(own, value),
                    (Path::RequiredNodeAffinity, "nodeSelectorTerms") => terms(own, value),
                    (_, key) => fill(own, value, path.member(key)),
                }
            }
        }
        (Value::Array(target), Value::Array(source)) => target.extend(source),
        (target, source) if is_zero(target) => *target = source,
        _ => {}
    }
}

/// Matches containers by name; the template's values win, and a container that the pod does not have is dropped.
fn containers(target: &mut Value, source: Value) {
    match (target, source) {
        (Value::Array(target), Value::Array(source)) if target.is_empty() => *target = source,
        (Value::Array(target), Value::Array(source)) => {
            for template in source {
                let own = target
                    .iter_mut()
                    .find(|own| own["name"] == template["name"]);
                if let Some(own) = own {
                    overwrite(own, template, true);
                }
            }
        }
        (target, source) if is_zero(target) => *target = source,
        _ => {}
    }
}

/// Replaces every field that the source has. Lists are still joined.
fn overwrite(target: &mut Value, source: Value, is_container: bool) {
    match (target, source) {
        (Value::Object(target), Value::Object(source)) => {
            for (key, value) in source {
                let Some(own) = target.get_mut(&key) else {
                    target.insert(key, value);
                    continue;
                };
                match key.as_str() {
                    "readinessProbe" | "livenessProbe" | "startupProbe" if is_container => {
                        probe(own, value);
                    }
                    _ => overwrite(own, value, false),
                }
            }
        }
        (Value::Array(target), Value::Array(source)) => target.extend(source),
        (_, source) if is_zero(&source) => {}
        (target, source) => *target = source,
    }
}

/// Takes the handler of a probe, but not its timing. A template without a handler changes nothing.
fn probe(target: &mut Value, source: Value) {
    const HANDLERS: [&str; 4] = ["exec", "grpc", "httpGet", "tcpSocket"];
    match (target, source) {
        (Value::Object(target), Value::Object(mut source)) => {
            source.retain(|key, _| HANDLERS.contains(&key.as_str()));
            if !source.is_empty() {
                target.retain(|key, _| !HANDLERS.contains(&key.as_str()));
                target.extend(source);
            }
        }
        (target, source) if is_zero(target) => *target = source,
        _ => {}
    }
}

/// Restricts the only term of the target by all requirements of the source's terms.
fn terms(target: &mut Value, source: Value) {
    let (Value::Array(target), Value::Array(source)) = (target, source) else {
        return;
    };
    match target.as_mut_slice() {
        [] => *target = source,
        [term] => {
            for requirement in source {
                fill(term, requirement, Path::Other);
            }
        }
        _ => {}
    }
}

/// Go's zero values in JSON.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// Turns numbers into strings where Kubernetes expects quantities and people write `cpu: 1`.
fn quantities(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match (key.as_str(), member) {
                    ("limits" | "requests" | "overhead", Value::Object(amounts)) => {
                        amounts.values_mut().for_each(number_to_text);
                    }
                    ("sizeLimit" | "divisor", member) => number_to_text(member),
                    (_, member) => quantities(member),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(quantities),
        _ => {}
    }
}

fn number_to_text(value: &mut Value) {
    if let Value::Number(number) = value {
        *value = Value::String(number.to_string());
    }
}

#[cfg(test)]
mod tests;
