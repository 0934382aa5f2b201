//! The custom resources of volume snapshots: their types and their validation, as their definitions have them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::status::Cause;
use super::validate::text;

/// Their API group.
pub(crate) const GROUP: &str = "snapshot.storage.k8s.io";

/// What every object has.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: ObjectMeta,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct VolumeSnapshot {
    #[serde(flatten)]
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<SnapshotSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<SnapshotStatus>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotSpec {
    #[serde(default)]
    source: SnapshotSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_snapshot_class_name: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotSource {
    #[serde(skip_serializing_if = "Option::is_none")]
    persistent_volume_claim_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_snapshot_content_name: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_volume_snapshot_content_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_to_use: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_size: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Failure {
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct VolumeSnapshotContent {
    #[serde(flatten)]
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<ContentSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<ContentStatus>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContentSpec {
    #[serde(default)]
    deletion_policy: String,
    #[serde(default)]
    driver: String,
    #[serde(default)]
    source: ContentSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_volume_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_snapshot_class_name: Option<String>,
    #[serde(default)]
    volume_snapshot_ref: ObjectReference,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContentSource {
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_handle: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_handle: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContentStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_to_use: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_handle: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VolumeSnapshotClass {
    #[serde(flatten)]
    kind: Kind,
    #[serde(default)]
    deletion_policy: String,
    #[serde(default)]
    driver: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BTreeMap<String, String>>,
}

/// Checks a new version of an object.
pub(crate) fn check(kind: &str, object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    match kind {
        "VolumeSnapshot" => {
            let source = &spec["source"];
            let (claim, content) = ("persistentVolumeClaimName", "volumeSnapshotContentName");
            one_of(source, [content, claim], causes);
        }
        "VolumeSnapshotContent" => {
            required(spec, "spec.", &["driver"], causes);
            policy(spec, "spec.", causes);
            one_of(&spec["source"], ["volumeHandle", "snapshotHandle"], causes);
            let reference = &spec["volumeSnapshotRef"];
            if text(reference, "name").is_empty() || text(reference, "namespace").is_empty() {
                let detail = "both spec.volumeSnapshotRef.name and spec.volumeSnapshotRef.namespace must be set";
                causes.push(Cause::invalid_kind(
                    "spec.volumeSnapshotRef",
                    "object",
                    detail,
                ));
            }
        }
        _ => {
            required(object, "", &["driver"], causes);
            policy(object, "", causes);
        }
    }
}

/// Checks the changes of an update: what a snapshot is of does not change.
pub(crate) fn check_update(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let fields = old["spec"]["source"].as_object().into_iter().flatten();
    for (field, before) in fields {
        let path = format!("spec.source.{field}");
        match new["spec"]["source"].get(field) {
            Some(now) if now == before => {}
            Some(_) => {
                let detail = format!("{field} is immutable");
                causes.push(Cause::invalid_kind(&path, "string", &detail));
            }
            None => {
                let detail = format!("{field} is required once set");
                causes.push(Cause::invalid_kind("spec.source", "object", &detail));
            }
        }
    }
}

fn one_of(source: &Value, [one, other]: [&str; 2], causes: &mut Vec<Cause>) {
    let has = |field: &str| source.get(field).is_some_and(|value| !value.is_null());
    if has(one) == has(other) {
        let detail = format!("exactly one of {one} and {other} must be set");
        causes.push(Cause::invalid_kind("spec.source", "object", &detail));
    }
}

fn required(object: &Value, path: &str, fields: &[&str], causes: &mut Vec<Cause>) {
    for field in fields {
        if text(object, field).is_empty() {
            causes.push(Cause::required(format!("{path}{field}"), ""));
        }
    }
}

fn policy(object: &Value, path: &str, causes: &mut Vec<Cause>) {
    let known = ["Delete", "Retain"];
    let policy = text(object, "deletionPolicy");
    let field = format!("{path}deletionPolicy");
    match policy {
        "" => causes.push(Cause::required(field, "")),
        policy if !known.contains(&policy) => {
            causes.push(Cause::unsupported(field, policy, &known));
        }
        _ => {}
    }
}
