//! The parts of a node that show whether its pods can still end by themselves.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Meta;
use super::lenient::{self, Object};
use super::pod::Condition;

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Name and times.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub metadata: Meta,
    /// Taints.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub spec: NodeSpec,
    /// Conditions.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub status: NodeStatus,
}

/// The desired state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Taints of the node.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub taints: Vec<Taint>,
    /// No new pod is bound to it.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub unschedulable: bool,
}

/// What repels pods from a node, or evicts them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Key.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub key: String,
    /// NoSchedule, PreferNoSchedule or NoExecute.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub effect: String,
    /// Since when, for NoExecute.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub time_added: Option<Timestamp>,
}

/// The reported state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Ready and others.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub conditions: Vec<Condition>,
    /// What pods can have of it: quantities by the names of resources.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub allocatable: BTreeMap<String, String>,
}

impl NodeStatus {
    /// Whether its kubelet says that it is ready.
    pub fn is_ready(&self) -> bool {
        let ready = self.conditions.iter().find(|c| c.kind == "Ready");
        ready.is_some_and(|ready| ready.status == "True")
    }
}

impl Object for Node {}
impl Object for NodeSpec {}
impl Object for Taint {}
impl Object for NodeStatus {}
