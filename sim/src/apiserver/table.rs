//! Server-side printing: objects as the rows of `kubectl get`, or only their metadata.

use serde_json::{Value, json};

use super::clock::age;
use super::request::Include;
use super::resources::{
    CLAIMS, EVENTS, Index, NAMESPACES, NODES, PODS, RESOURCES, SECRETS, SERVICES,
};
use super::validate::text;

/// A `meta.k8s.io/v1` Table with a row for each object.
pub(crate) fn table<'a>(
    index: Index,
    objects: impl IntoIterator<Item = &'a Value>,
    revision: u64,
    include: Include,
) -> Value {
    let shown = |object: &Value| match include {
        Include::Nothing => Value::Null,
        Include::Metadata => metadata(object),
        Include::Object => object.clone(),
    };
    let columns: Vec<_> = columns(index)
        .iter()
        .map(|(name, wide)| {
            let format = if *name == "Name" { "name" } else { "" };
            let kind = match *name {
                "Value" => "integer",
                "Global-Default" => "boolean",
                _ => "string",
            };
            json!({"name": name, "type": kind, "format": format, "description": "", "priority": u8::from(*wide)})
        })
        .collect();
    let rows: Vec<_> = objects
        .into_iter()
        .map(|object| json!({"cells": cells(index, object), "object": shown(object)}))
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": revision.to_string()},
        "columnDefinitions": columns, "rows": rows,
    })
}

/// The object as `PartialObjectMetadata`.
pub(crate) fn metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// Name of each column, and whether only `-o wide` shows it.
fn columns(index: Index) -> &'static [(&'static str, bool)] {
    match index {
        PODS => &[
            ("Name", false),
            ("Ready", false),
            ("Status", false),
            ("Restarts", false),
            ("Age", false),
            ("IP", true),
            ("Node", true),
            ("Nominated Node", true),
            ("Readiness Gates", true),
        ],
        SERVICES => &[
            ("Name", false),
            ("Type", false),
            ("Cluster-IP", false),
            ("External-IP", false),
            ("Port(s)", false),
            ("Age", false),
            ("Selector", true),
        ],
        SECRETS => &[
            ("Name", false),
            ("Type", false),
            ("Data", false),
            ("Age", false),
        ],
        NODES => &[
            ("Name", false),
            ("Status", false),
            ("Roles", false),
            ("Age", false),
            ("Version", false),
            ("Internal-IP", true),
            ("External-IP", true),
            ("OS-Image", true),
            ("Kernel-Version", true),
            ("Container-Runtime", true),
        ],
        NAMESPACES => &[("Name", false), ("Status", false), ("Age", false)],
        EVENTS => &[
            ("Last Seen", false),
            ("Type", false),
            ("Reason", false),
            ("Object", false),
            ("Subobject", true),
            ("Source", true),
            ("Message", false),
            ("First Seen", true),
            ("Count", true),
            ("Name", true),
        ],
        CLAIMS => &[
            ("Name", false),
            ("Status", false),
            ("Volume", false),
            ("Capacity", false),
            ("Access Modes", false),
            ("StorageClass", false),
            ("VolumeAttributesClass", false),
            ("Age", false),
            ("VolumeMode", true),
        ],
        _ => match RESOURCES[index].kind {
            "ConfigMap" => &[("Name", false), ("Data", false), ("Age", false)],
            "Lease" => &[("Name", false), ("Holder", false), ("Age", false)],
            "PriorityClass" => &[
                ("Name", false),
                ("Value", false),
                ("Global-Default", false),
                ("Age", false),
                ("PreemptionPolicy", false),
            ],
            _ => &[("Name", false), ("Age", false)],
        },
    }
}

fn cells(index: Index, object: &Value) -> Vec<Value> {
    columns(index)
        .iter()
        .map(|(column, _)| cell(index, object, column))
        .collect()
}

fn cell(index: Index, object: &Value, column: &str) -> Value {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let or_none = |text: &str| Value::from(if text.is_empty() { "<none>" } else { text });
    match (index, column) {
        (_, "Name") => text(metadata, "name").into(),
        (_, "Age") => age(metadata["creationTimestamp"].as_str()).into(),
        (PODS, "Ready") => {
            let all = containers(status)
                .count()
                .max(spec["containers"].as_array().map_or(0, Vec::len));
            format!(
                "{}/{all}",
                containers(status)
                    .filter(|one| one["ready"] == true)
                    .count()
            )
            .into()
        }
        (PODS, "Status") => pod_status(object).into(),
        (PODS, "Restarts") => containers(status)
            .filter_map(|one| one["restartCount"].as_u64())
            .sum::<u64>()
            .to_string()
            .into(),
        (PODS, "IP") => or_none(text(status, "podIP")),
        (PODS, "Node") => or_none(text(spec, "nodeName")),
        (SERVICES, "Type") => text(spec, "type").into(),
        (SERVICES, "Cluster-IP") => or_none(text(spec, "clusterIP")),
        (SERVICES, "Port(s)") => ports(spec).into(),
        (SERVICES, "Selector") => or_none(&pairs(&spec["selector"])),
        (SECRETS, "Type") => text(object, "type").into(),
        (_, "Data") => {
            let count = |field| {
                object
                    .get(field)
                    .and_then(Value::as_object)
                    .map_or(0, |data| data.len())
            };
            (count("data") + count("binaryData")).into()
        }
        (NODES, "Status") => node_status(object).into(),
        (NODES, "Version") => text(&status["nodeInfo"], "kubeletVersion").into(),
        (NODES, "Internal-IP") => {
            let addresses = status["addresses"].as_array().into_iter().flatten();
            or_none(
                addresses
                    .filter(|one| one["type"] == "InternalIP")
                    .map(|one| text(one, "address"))
                    .next()
                    .unwrap_or(""),
            )
        }
        (NAMESPACES, "Status") => text(status, "phase").into(),
        (NODES, "OS-Image") => text(&status["nodeInfo"], "osImage").into(),
        (NODES, "Kernel-Version") => text(&status["nodeInfo"], "kernelVersion").into(),
        (NODES, "Container-Runtime") => text(&status["nodeInfo"], "containerRuntimeVersion").into(),
        (CLAIMS, "Status") => match metadata["deletionTimestamp"] {
            Value::Null => text(status, "phase").into(),
            _ => "Terminating".into(),
        },
        (CLAIMS, "Volume") => text(spec, "volumeName").into(),
        // Only a bound claim has these.
        (CLAIMS, "Capacity") => text(&status["capacity"], "storage").into(),
        (CLAIMS, "Access Modes") => "".into(),
        (CLAIMS, "StorageClass") => text(spec, "storageClassName").into(),
        (CLAIMS, "VolumeAttributesClass") => unset(text(spec, "volumeAttributesClassName")),
        (CLAIMS, "VolumeMode") => text(spec, "volumeMode").into(),
        (_, "Value") => object["value"].clone(),
        (_, "Global-Default") => (object["globalDefault"] == true).into(),
        (_, "PreemptionPolicy") => text(object, "preemptionPolicy").into(),
        (_, "Holder") => text(spec, "holderIdentity").into(),
        (EVENTS, "Last Seen") => {
            let times = [
                &object["lastTimestamp"],
                &object["eventTime"],
                &object["firstTimestamp"],
            ];
            age(times.into_iter().find_map(Value::as_str)).into()
        }
        (EVENTS, "Type") => text(object, "type").into(),
        (EVENTS, "Reason") => text(object, "reason").into(),
        (EVENTS, "Object") => {
            let involved = &object["involvedObject"];
            format!(
                "{}/{}",
                text(involved, "kind").to_lowercase(),
                text(involved, "name")
            )
            .into()
        }
        (EVENTS, "Subobject") => text(&object["involvedObject"], "fieldPath").into(),
        (EVENTS, "Source") => source(object).into(),
        (EVENTS, "First Seen") => age(object["firstTimestamp"].as_str()).into(),
        (EVENTS, "Message") => text(object, "message").trim().into(),
        (EVENTS, "Count") => object["count"].as_u64().unwrap_or(1).into(),
        _ => "<none>".into(),
    }
}

/// The source of an event, and its host.
fn source(event: &Value) -> String {
    let source = &event["source"];
    let names = [text(source, "component"), text(event, "reportingComponent")];
    let name = names.into_iter().find(|name| !name.is_empty());
    let hosts = [text(source, "host"), text(event, "reportingInstance")];
    let host = hosts.into_iter().find(|host| !host.is_empty());
    [name, host]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

fn unset(text: &str) -> Value {
    if text.is_empty() { "<unset>" } else { text }.into()
}

/// The status of a pod in one word.
fn pod_status(pod: &Value) -> String {
    let status = &pod["status"];
    let mut shown = [text(status, "reason"), text(status, "phase")]
        .into_iter()
        .find(|text| !text.is_empty());
    let conditions = status["conditions"].as_array().into_iter().flatten();
    for reason in conditions.map(|condition| text(condition, "reason")) {
        if reason == "SchedulingGated" {
            shown = Some(reason);
        }
    }
    for container in containers(status) {
        let state = &container["state"];
        let waiting = text(&state["waiting"], "reason");
        let ended = text(&state["terminated"], "reason");
        shown = [waiting, ended]
            .into_iter()
            .find(|text| !text.is_empty())
            .or(shown);
    }
    let deleting = !pod["metadata"]["deletionTimestamp"].is_null();
    let over = matches!(text(status, "phase"), "Succeeded" | "Failed");
    if deleting && !over {
        "Terminating".into()
    } else {
        shown.unwrap_or("Unknown").into()
    }
}

fn containers(status: &Value) -> impl Iterator<Item = &Value> {
    status["containerStatuses"].as_array().into_iter().flatten()
}

fn node_status(node: &Value) -> String {
    let mut conditions = node["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten();
    let ready = conditions.find(|condition| condition["type"] == "Ready");
    let word = match ready.map(|ready| text(ready, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node["spec"]["unschedulable"] == true;
    format!(
        "{word}{}",
        if cordoned { ",SchedulingDisabled" } else { "" }
    )
}

fn ports(spec: &Value) -> String {
    let ports = spec["ports"].as_array().into_iter().flatten();
    let shown: Vec<_> = ports
        .map(|port| match &port["nodePort"] {
            Value::Null => format!("{}/{}", port["port"], text(port, "protocol")),
            node_port => format!("{}:{node_port}/{}", port["port"], text(port, "protocol")),
        })
        .collect();
    if shown.is_empty() {
        "<none>".into()
    } else {
        shown.join(",")
    }
}

fn pairs(map: &Value) -> String {
    let pairs = map.as_object().into_iter().flatten();
    pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}
