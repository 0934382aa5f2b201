//! The metadata that all kinds share.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lenient;

/// `ObjectMeta`, as far as it is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name within the namespace.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub name: String,
    /// Namespace; empty for cluster-wide kinds.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub namespace: String,
    /// Identity over time: a new object under an old name has another.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub uid: String,
    /// Version as the server wrote it; see [`Meta::version`].
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub resource_version: String,
    /// When the server accepted the object.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub creation_timestamp: Option<Timestamp>,
    /// When the object is deleted: the time of the delete plus its grace period.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub deletion_timestamp: Option<Timestamp>,
    /// Grace period of the deletion in seconds.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub deletion_grace_period_seconds: Option<i64>,
    /// Labels.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Finalizers.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub finalizers: Vec<String>,
    /// Owner references.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub owner_references: Vec<Owner>,
}

/// An owner reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Kind, such as Pod.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub kind: String,
    /// Name.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub name: String,
    /// uid.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub uid: String,
}

impl lenient::Object for Meta {}
impl lenient::Object for Owner {}

impl Meta {
    /// Returns the version as a number, 0 where it is none. Versions of one resource type are comparable
    /// (<https://github.com/kubernetes/enhancements/issues/5504>).
    pub fn version(&self) -> u64 {
        self.resource_version.parse().unwrap_or(0)
    }

    /// Returns an annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// Returns a label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }
}
