//! The parts of a pod for its status.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Meta;
use super::lenient::{self, Object};

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// Name, marks and times.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub metadata: Meta,
    /// The desired state.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub spec: PodSpec,
    /// The reported state.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub status: PodStatus,
}

/// The desired state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Node the pod is bound to; empty before.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub node_name: String,
    /// Restart policy: Always, OnFailure or Never.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub restart_policy: String,
    /// Containers without init containers.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub containers: Vec<Container>,
    /// Init containers, among them native sidecars.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub init_containers: Vec<Container>,
    /// What holds the pod back from the scheduler.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub scheduling_gates: Vec<SchedulingGate>,
    /// Seconds after its start at which its node ends it.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub active_deadline_seconds: Option<i64>,
    /// Tolerations.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub tolerations: Vec<Toleration>,
}

/// A container of the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Name within the pod.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub name: String,
    /// Image reference.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub image: String,
    /// Of an init container: Always makes it a native sidecar.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub restart_policy: String,
}

/// What holds a pod back from the scheduler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SchedulingGate {
    /// Name of the gate.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub name: String,
}

/// A toleration, for ever or for a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Key of the taint; empty matches all.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub key: String,
    /// Effect of the taint; empty matches all.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub effect: String,
    /// Bound in seconds, if there is one.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub toleration_seconds: Option<i64>,
}

/// The reported state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Pending, Running, Succeeded, Failed or Unknown.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub phase: String,
    /// CamelCase reason of a failed pod, such as Evicted.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub reason: String,
    /// Text for people.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub message: String,
    /// When the node first reported the pod.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub start_time: Option<Timestamp>,
    /// Address of the node.
    #[serde(
        rename = "hostIP",
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub host_ip: String,
    /// Address of the pod.
    #[serde(
        rename = "podIP",
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub pod_ip: String,
    /// PodScheduled, Ready and others.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub conditions: Vec<Condition>,
    /// One for each container, without init containers.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub container_statuses: Vec<ContainerStatus>,
    /// One for each init container.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// One for each ephemeral container.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// A condition of a pod or a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Name of the condition.
    #[serde(
        rename = "type",
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub kind: String,
    /// True, False or Unknown.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub status: String,
    /// CamelCase reason.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub reason: String,
    /// Text for people.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub message: String,
    /// Time of the last change of the status.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub last_transition_time: Option<Timestamp>,
}

/// The reported state of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Name within the pod.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub name: String,
    /// Its image.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub image: String,
    /// Passed its readiness probe, or has none.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub ready: bool,
    /// How often it was started again.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub restart_count: i64,
    /// Now.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub state: ContainerState,
    /// Before the last restart.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub last_state: ContainerState,
}

/// At most one member is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerState {
    /// Not started yet.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub waiting: Option<Waiting>,
    /// Started.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub running: Option<Running>,
    /// Terminated.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub terminated: Option<Terminated>,
}

/// Why a container has not started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Waiting {
    /// CamelCase reason, such as ImagePullBackOff.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub reason: String,
    /// Text for people.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub message: String,
}

/// A container that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    /// When it started.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub started_at: Option<Timestamp>,
}

/// How a container terminated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// When it was started.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub finished_at: Option<Timestamp>,
    /// Exit code.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub exit_code: i64,
    /// CamelCase reason, such as Completed or OOMKilled.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub reason: String,
    /// The content of its termination log.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub message: String,
}

impl Object for Pod {}
impl Object for PodSpec {}
impl Object for Container {}
impl Object for SchedulingGate {}
impl Object for Toleration {}
impl Object for PodStatus {}
impl Object for Condition {}
impl Object for ContainerStatus {}
impl Object for ContainerState {}
impl Object for Waiting {}
impl Object for Running {}
impl Object for Terminated {}

impl Pod {
    /// Returns the status of a condition: True, False, Unknown, or nothing.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == kind)
    }

    /// Returns the annotations; shorthand for the fold.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.metadata.annotations
    }
}
