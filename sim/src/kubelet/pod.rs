//! The lean pod of the simulation: only what a kubelet and a scheduler read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Affinity, ContainerStatus, PodStatus, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Serialize};

/// A pod of the API server, without the parts of the spec that are not used here.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Pod {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Spec,
    pub(crate) status: PodStatus,
}

/// The parts of a pod's spec that decide where and how it runs.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    pub(crate) active_deadline_seconds: Option<i64>,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) containers: Vec<Container>,
    pub(crate) init_containers: Vec<Container>,
    pub(crate) node_name: Option<String>,
    pub(crate) node_selector: BTreeMap<String, String>,
    pub(crate) readiness_gates: Vec<ReadinessGate>,
    pub(crate) restart_policy: Option<String>,
    pub(crate) scheduling_gates: Vec<SchedulingGate>,
    pub(crate) termination_grace_period_seconds: Option<i64>,
    pub(crate) tolerations: Vec<Toleration>,
}

/// A container: what identifies it, and when it counts as ready.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) readiness_probe: Option<Probe>,
    pub(crate) resources: Resources,
    restart_policy: Option<String>,
}

impl Container {
    /// An init container that runs beside the containers: the next one starts as soon as it runs.
    pub(crate) fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

/// What a container needs of its node.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Resources {
    pub(crate) requests: BTreeMap<String, Quantity>,
}

/// A readiness probe; the simulation never calls it, it only uses its delay.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Probe {
    pub(crate) initial_delay_seconds: Option<i32>,
}

/// A condition that another controller must set before the pod is ready.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReadinessGate {
    pub(crate) condition_type: String,
}

/// A gate that keeps the pod from the scheduler.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct SchedulingGate {
    pub(crate) name: String,
}

/// What a container does when it has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl Pod {
    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Name of the pod that it belongs to.
    pub(crate) fn owner(&self) -> Option<&str> {
        let mut owners = self.metadata.owner_references.iter().flatten();
        let owner = owners.find(|owner| owner.kind == "Pod")?;
        Some(&owner.name)
    }

    pub(crate) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn phase(&self) -> &str {
        self.status.phase.as_deref().unwrap_or("Pending")
    }

    /// Succeeded or Failed: no container of it will run again.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    /// When its deletion was requested: the deletion timestamp minus the grace period.
    pub(crate) fn deleted_at(&self) -> Option<Timestamp> {
        let at = self.metadata.deletion_timestamp.as_ref()?.0;
        let grace = self.metadata.deletion_grace_period_seconds.unwrap_or(0);
        Some(at - SignedDuration::from_secs(grace))
    }

    /// Status and reason of a condition.
    pub(crate) fn condition(&self, kind: &str) -> Option<(&str, Option<&str>)> {
        let all = self.status.conditions.as_deref().unwrap_or_default();
        let found = all.iter().find(|c| c.type_ == kind)?;
        Some((&found.status, found.reason.as_deref()))
    }

    pub(crate) fn is_true(&self, condition: &str) -> bool {
        self.condition(condition)
            .is_some_and(|(status, _)| status == "True")
    }

    /// Statuses of the containers, in the order of the status.
    pub(crate) fn statuses(&self) -> &[ContainerStatus] {
        self.status
            .container_statuses
            .as_deref()
            .unwrap_or_default()
    }

    pub(crate) fn init_statuses(&self) -> &[ContainerStatus] {
        self.status
            .init_container_statuses
            .as_deref()
            .unwrap_or_default()
    }

    pub(crate) fn is_sidecar(&self, container: &str) -> bool {
        let mut inits = self.spec.init_containers.iter();
        inits.any(|one| one.name == container && one.is_sidecar())
    }

    pub(crate) fn restart_policy(&self) -> RestartPolicy {
        match self.spec.restart_policy.as_deref() {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        }
    }
}

impl RestartPolicy {
    pub(crate) fn restarts(self, exit_code: i32) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
