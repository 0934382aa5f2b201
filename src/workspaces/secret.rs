//! The Secret of a workspace's pod: protected variables, passwords, and what is too long for an annotation.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::marks::label;

/// Labels of a workspace that its Secret does not have.
pub const UNLABELLED: &[&str] = &[label::NETWORK_POLICY];

/// Returns the Secret that holds `data`, or none where there is nothing to hold. It is named like the pod; its owner
/// reference is added when the pod has a uid, so it can never be left behind (docs/protocol.md#secret).
pub fn build(
    name: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    data: BTreeMap<String, String>,
) -> Option<Secret> {
    if data.is_empty() {
        return None;
    }
    let mut labels = labels.clone();
    labels.retain(|key, _| !UNLABELLED.contains(&key.as_str()));
    Some(Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        string_data: Some(data),
        ..Secret::default()
    })
}
