//! The conditions of a pod with the kubelet's texts; only changes are sent.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::kubelet::pod::Pod;

/// A desired condition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) kind: &'a str,
    pub(crate) status: bool,
    pub(crate) reason: Option<&'a str>,
    pub(crate) message: Option<&'a str>,
}

/// A condition with a composed message.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    kind: &'static str,
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Owned {
    pub(crate) fn as_ref(&self) -> Wanted<'_> {
        Wanted {
            kind: self.kind,
            status: self.status,
            reason: self.reason,
            message: self.message.as_deref(),
        }
    }
}

/// The entries of a strategic patch that set the pod's conditions.
pub(crate) fn changes(pod: &Pod, wanted: &[Wanted<'_>], now: Timestamp) -> Vec<Value> {
    let all = pod.status.conditions.as_deref().unwrap_or_default();
    let mut changed = Vec::new();
    for want in wanted {
        let status = if want.status { "True" } else { "False" };
        let before = all.iter().find(|c| c.type_ == want.kind);
        let reason = before.and_then(|c| c.reason.as_deref());
        let message = before.and_then(|c| c.message.as_deref());
        let same_status = before.is_some_and(|c| c.status == status);
        if same_status && reason == want.reason && message == want.message {
            continue;
        }
        let mut entry = json!({ "type": want.kind, "status": status });
        if !same_status {
            entry["lastTransitionTime"] = json!(Time(now));
        }
        // A null removes a value; without one it is omitted.
        if want.reason.is_some() || reason.is_some() {
            entry["reason"] = json!(want.reason);
        }
        if want.message.is_some() || message.is_some() {
            entry["message"] = json!(want.message);
        }
        changed.push(entry);
    }
    changed
}

pub(crate) fn sandbox(ready: bool) -> Wanted<'static> {
    Wanted {
        kind: "PodReadyToStartContainers",
        status: ready,
        reason: None,
        message: None,
    }
}

/// `Initialized`, as long as these containers are not done.
pub(crate) fn incomplete(names: &[&str]) -> Owned {
    let done = names.is_empty();
    Owned {
        kind: "Initialized",
        status: done,
        reason: (!done).then_some("ContainersNotInitialized"),
        message: (!done)
            .then(|| format!("containers with incomplete status: [{}]", names.join(" "))),
    }
}

/// `Ready` or `ContainersReady`, as long as not all containers are.
pub(crate) fn unready(statuses: &[ContainerStatus], kind: &'static str) -> Owned {
    let names = statuses.iter().filter(|s| !s.ready);
    let names: Vec<_> = names.map(|s| s.name.as_str()).collect();
    Owned {
        kind,
        status: false,
        reason: Some("ContainersNotReady"),
        message: Some(format!(
            "containers with unready status: [{}]",
            names.join(" ")
        )),
    }
}

/// Both readiness conditions, from the containers and the readiness gates.
pub(crate) fn readiness(pod: &Pod, statuses: &[ContainerStatus]) -> [Owned; 2] {
    if !statuses.iter().all(|s| s.ready) {
        return [
            unready(statuses, "Ready"),
            unready(statuses, "ContainersReady"),
        ];
    }
    let ready = |kind| Owned {
        kind,
        status: true,
        reason: None,
        message: None,
    };
    let gates = &pod.spec.readiness_gates;
    let shut = gates.iter().find(|gate| !pod.is_true(&gate.condition_type));
    let pod_ready = match shut {
        None => ready("Ready"),
        Some(gate) => Owned {
            kind: "Ready",
            status: false,
            reason: Some("ReadinessGatesNotReady"),
            message: Some(format!(
                "the status of pod readiness gate \"{}\" is not \"True\", but False",
                gate.condition_type
            )),
        },
    };
    [pod_ready, ready("ContainersReady")]
}

/// The conditions of a pod that ended.
pub(crate) fn finished(phase: &str) -> Vec<Wanted<'static>> {
    let reason = match phase {
        "Succeeded" => "PodCompleted",
        _ => "PodFailed",
    };
    let not = |kind| Wanted {
        kind,
        status: false,
        reason: Some(reason),
        message: None,
    };
    let mut all = vec![sandbox(false), not("Ready"), not("ContainersReady")];
    if phase == "Succeeded" {
        all.push(Wanted {
            kind: "Initialized",
            status: true,
            reason: Some(reason),
            message: None,
        });
    }
    all
}
