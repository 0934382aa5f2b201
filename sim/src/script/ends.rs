//! What has run of a pod, and how it ended.

use k8s_openapi::api::core::v1::ContainerStatus;

use crate::kubelet::pod::Pod;

/// Whether nothing has run in the containers yet.
pub(crate) fn never_started(pod: &Pod) -> bool {
    pod.statuses().iter().all(|status| {
        let fresh = status.restart_count == 0 && last_exit(status).is_none();
        let state = status.state.as_ref();
        fresh && state.is_none_or(|s| s.running.is_none() && s.terminated.is_none())
    })
}

/// Whether the containers have ended, and native sidecars run on.
pub(crate) fn only_sidecars_run(pod: &Pod) -> bool {
    let runs = |s: &ContainerStatus| s.state.as_ref().is_some_and(|s| s.running.is_some());
    let sidecar = |s: &ContainerStatus| runs(s) && pod.is_sidecar(&s.name);
    let ended = !never_started(pod) && !pod.statuses().iter().any(runs);
    ended && pod.init_statuses().iter().any(sidecar)
}

/// The exit code of a container that is not running: now terminated, or waiting to be started again.
pub(crate) fn last_exit(status: &ContainerStatus) -> Option<i32> {
    let state = status.state.as_ref()?;
    let last = status.last_state.as_ref();
    match (&state.terminated, &state.waiting) {
        (Some(terminated), _) => Some(terminated.exit_code),
        (None, Some(_)) => last?.terminated.as_ref().map(|t| t.exit_code),
        (None, None) => None,
    }
}

/// Whether the pod's conditions are behind its containers: after a lost node, or after a gate has opened.
pub(super) fn conditions_lag(pod: &Pod) -> bool {
    let ready = !pod.statuses().is_empty() && pod.statuses().iter().all(|status| status.ready);
    let gates = &pod.spec.readiness_gates;
    let open = gates.iter().all(|gate| pod.is_true(&gate.condition_type));
    ready && (!pod.is_true("ContainersReady") || pod.is_true("Ready") != open)
}
