//! The part of protobuf that `kubectl create` needs: some of its subcommands send no JSON.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};

use super::status::Status;

pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
const MAGIC: &[u8] = b"k8s\0";

/// The envelope of every object.
#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

/// The parts of `ObjectMeta` that the author of a new object sets.
#[derive(Clone, PartialEq, Message)]
struct ObjectMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    generate_name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(map = "string, string", tag = "11")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "12")]
    annotations: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Bare {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
}

#[derive(Clone, PartialEq, Message)]
struct ConfigMap {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(map = "string, string", tag = "2")]
    data: HashMap<String, String>,
    #[prost(map = "string, bytes", tag = "3")]
    binary_data: HashMap<String, Vec<u8>>,
    #[prost(bool, optional, tag = "4")]
    immutable: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct Secret {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(map = "string, bytes", tag = "2")]
    data: HashMap<String, Vec<u8>>,
    #[prost(string, tag = "3")]
    kind: String,
    #[prost(map = "string, string", tag = "4")]
    string_data: HashMap<String, String>,
    #[prost(bool, optional, tag = "5")]
    immutable: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct DeleteOptions {
    #[prost(int64, optional, tag = "1")]
    grace: Option<i64>,
    #[prost(message, optional, tag = "2")]
    preconditions: Option<Preconditions>,
    #[prost(string, optional, tag = "4")]
    propagation: Option<String>,
    #[prost(string, repeated, tag = "5")]
    dry_run: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Preconditions {
    #[prost(string, optional, tag = "1")]
    uid: Option<String>,
    #[prost(string, optional, tag = "2")]
    resource_version: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Eviction {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    options: Option<DeleteOptions>,
}

#[derive(Clone, PartialEq, Message)]
struct AccessReview {
    #[prost(message, optional, tag = "2")]
    spec: Option<AccessReviewSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct AccessReviewSpec {
    #[prost(message, optional, tag = "1")]
    resource: Option<ResourceAttributes>,
    #[prost(message, optional, tag = "2")]
    path: Option<PathAttributes>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceAttributes {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    verb: String,
    #[prost(string, tag = "3")]
    group: String,
    #[prost(string, tag = "5")]
    resource: String,
    #[prost(string, tag = "6")]
    subresource: String,
    #[prost(string, tag = "7")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct PathAttributes {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(string, tag = "2")]
    verb: String,
}

#[derive(Clone, PartialEq, Message)]
struct RulesReview {
    #[prost(message, optional, tag = "2")]
    spec: Option<RulesReviewSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct RulesReviewSpec {
    #[prost(string, tag = "1")]
    namespace: String,
}

/// The object as JSON. Kinds that `kubectl` sends as JSON are rejected with 415.
pub(crate) fn to_json(body: &[u8]) -> Result<Value, Status> {
    let unreadable =
        |why: String| Status::bad_request(format!("the protobuf object is unreadable: {why}"));
    let body = body
        .strip_prefix(MAGIC)
        .ok_or_else(|| unreadable("no magic number".into()))?;
    let envelope = Unknown::decode(body).map_err(|error| unreadable(error.to_string()))?;
    let kind = envelope.type_meta.unwrap_or_default();
    let raw = envelope.raw.as_slice();
    let mut object = match kind.kind.as_str() {
        "Namespace" | "ServiceAccount" => Bare::decode(raw).map(|bare| json!({"metadata": metadata(bare.metadata)})),
        "ConfigMap" => ConfigMap::decode(raw).map(|map| {
            json!({
                "metadata": metadata(map.metadata), "data": map.data, "immutable": map.immutable,
                "binaryData": encoded(map.binary_data),
            })
        }),
        "Secret" => Secret::decode(raw).map(|secret| {
            json!({
                "metadata": metadata(secret.metadata), "type": secret.kind, "immutable": secret.immutable,
                "data": encoded(secret.data), "stringData": secret.string_data,
            })
        }),
        "DeleteOptions" => DeleteOptions::decode(raw).map(options),
        "Eviction" => Eviction::decode(raw).map(|eviction| {
            json!({"metadata": metadata(eviction.metadata), "deleteOptions": eviction.options.map(options)})
        }),
        "SelfSubjectAccessReview" => AccessReview::decode(raw).map(|review| {
            let spec = review.spec.unwrap_or_default();
            let resource = spec.resource.map(|one| {
                json!({
                    "namespace": one.namespace, "verb": one.verb, "group": one.group, "resource": one.resource,
                    "subresource": one.subresource, "name": one.name,
                })
            });
            let path = spec.path.map(|one| json!({"path": one.path, "verb": one.verb}));
            json!({"spec": {"resourceAttributes": resource, "nonResourceAttributes": path}})
        }),
        "SelfSubjectRulesReview" => RulesReview::decode(raw).map(|review| {
            json!({"spec": {"namespace": review.spec.unwrap_or_default().namespace}})
        }),
        "SelfSubjectReview" => Ok(json!({})),
        _ => return Err(Status::unsupported_media("application/json")),
    }
    .map_err(|error| unreadable(error.to_string()))?;
    if let Value::Object(fields) = &mut object {
        fields.retain(|_, value| !value.is_null() && *value != json!({}) && value != "");
    }
    object["kind"] = kind.kind.into();
    object["apiVersion"] = kind.api_version.into();
    Ok(object)
}

fn metadata(metadata: Option<ObjectMeta>) -> Value {
    let metadata = metadata.unwrap_or_default();
    json!({
        "name": metadata.name, "generateName": metadata.generate_name, "namespace": metadata.namespace,
        "labels": metadata.labels, "annotations": metadata.annotations,
    })
}

fn options(options: DeleteOptions) -> Value {
    let preconditions = options.preconditions.unwrap_or_default();
    json!({
        "gracePeriodSeconds": options.grace, "propagationPolicy": options.propagation, "dryRun": options.dry_run,
        "preconditions": {"uid": preconditions.uid, "resourceVersion": preconditions.resource_version},
    })
}

fn encoded(data: HashMap<String, Vec<u8>>) -> HashMap<String, String> {
    data.into_iter()
        .map(|(name, bytes)| (name, STANDARD.encode(bytes)))
        .collect()
}
