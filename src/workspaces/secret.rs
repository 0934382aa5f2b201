//! The Secret of a workspace's pod: protected variables, passwords, and what is too long for an annotation.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;

use super::marks::label;
use crate::action::SecretChange;

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
    let change = SecretChange {
        set: data,
        unlabelled: UNLABELLED,
        ..SecretChange::default()
    };
    (!change.set.is_empty()).then(|| change.build(name, namespace, labels))
}
