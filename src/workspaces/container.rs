//! The container `workspace` and the pod's state by it. Only this container decides about failure and phase: the end of
//! any other container (sidecars, native sidecars, injected and ephemeral ones) is not the workspace's end.

use super::marks::{CONTAINER, READY_BY_CONDITION, annotation};
use crate::objects::{Condition, ContainerState, ContainerStatus, Pod, Terminated};

/// Phase of a pod by its workspace container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PodPhase {
    /// Not started.
    Pending,
    /// Started.
    Running,
    /// Exited with code 0.
    Succeeded,
    /// Exited with another code.
    Failed,
    /// The node does not report, or the phase is unknown.
    #[default]
    Unknown,
}

/// Returns the status of the workspace container.
pub fn status(pod: &Pod) -> Option<&ContainerStatus> {
    let mut statuses = pod.status.container_statuses.iter();
    statuses.find(|c| c.name == CONTAINER)
}

/// Returns how the workspace container terminated, now or before its last restart.
pub fn termination(pod: &Pod) -> Option<&Terminated> {
    let status = status(pod)?;
    let now = status.state.terminated.as_ref();
    now.or(status.last_state.terminated.as_ref())
}

/// Returns the phase of a pod. In Kubernetes a pod is Running while any container runs, Pending while any cannot start,
/// and Failed if any failed; here a final state of the workspace container decides first.
pub fn phase(pod: &Pod) -> PodPhase {
    let of_pod = match pod.status.phase.as_str() {
        "Pending" => PodPhase::Pending,
        "Running" => PodPhase::Running,
        "Succeeded" => PodPhase::Succeeded,
        "Failed" => PodPhase::Failed,
        _ => PodPhase::Unknown,
    };
    let Some(workspace) = status(pod) else {
        return of_pod;
    };
    let lives = matches!(of_pod, PodPhase::Pending | PodPhase::Running);
    let stays = pod.spec.restart_policy == "Never" || !lives;
    match &workspace.state {
        ContainerState {
            terminated: Some(ended),
            ..
        } if stays && of_pod != PodPhase::Unknown => match ended.exit_code {
            0 => PodPhase::Succeeded,
            // A pod with one container takes its phase from it sooner or later.
            _ if lives && !others_live(pod) => of_pod,
            _ => PodPhase::Failed,
        },
        ContainerState {
            running: Some(_), ..
        } if of_pod == PodPhase::Pending => PodPhase::Running,
        _ => of_pod,
    }
}

/// Whether a container beside the workspace runs, or may still start.
fn others_live(pod: &Pod) -> bool {
    let status = &pod.status;
    let inits = status.init_container_statuses.iter();
    let mut others = status.container_statuses.iter().chain(inits);
    others.any(|c| c.name != CONTAINER && c.state.terminated.is_none())
}

/// Whether any container of the pod ever started.
pub fn any_started(pod: &Pod) -> bool {
    let status = &pod.status;
    let started = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
    let all = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let mut all = all.into_iter().flatten();
    all.any(|c| started(&c.state) || started(&c.last_state) || c.restart_count > 0)
}

/// Whether the workspace container ever started.
pub fn started(pod: &Pod) -> bool {
    let started = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
    status(pod).is_some_and(|c| started(&c.state) || started(&c.last_state) || c.restart_count > 0)
}

/// Whether the workspace was ready once: by the pod's condition, if the pod is marked so, otherwise by the mark
/// [`annotation::NEVER_READY`], which is removed then.
pub fn was_ready(pod: &Pod) -> bool {
    if pod.metadata.annotation(annotation::NEVER_READY).is_some() {
        return false;
    }
    match pod.metadata.annotation(annotation::READY_BY) {
        Some(READY_BY_CONDITION) => is_ready(pod) || ready_once(pod),
        _ => true,
    }
}

/// Whether the pod was ready and is not any more: its condition changed after the workspace container started. While a
/// pod was never ready, the condition is as old as the kubelet's first report, before any container.
fn ready_once(pod: &Pod) -> bool {
    let Some(status) = status(pod) else {
        return false;
    };
    // The node controller sets the condition of an unreachable node's pods, but keeps the kubelet's last message.
    let gated = |c: &Condition| c.reason == "ReadinessGatesNotReady";
    if status.ready && status.state.running.is_some() && !pod.condition("Ready").is_some_and(gated)
    {
        return true;
    }
    let states = [&status.state, &status.last_state].into_iter();
    let started = states.flat_map(|state| {
        let running = state.running.as_ref().and_then(|r| r.started_at);
        let ended = state.terminated.as_ref().and_then(|t| t.started_at);
        [running, ended]
    });
    let turned = pod.condition("Ready").and_then(|c| c.last_transition_time);
    match (started.flatten().min(), turned) {
        (Some(started), Some(turned)) => turned > started,
        _ => false,
    }
}

/// Whether the workspace is ready: by the pod's condition, or by its container if only others keep the pod from it.
pub fn is_ready(pod: &Pod) -> bool {
    let others_wait = pod
        .status
        .container_statuses
        .iter()
        .any(|c| c.name != CONTAINER && !c.ready);
    let itself = status(pod).is_some_and(|c| c.ready && c.state.running.is_some());
    pod.condition("Ready").is_some_and(|c| c.status == "True") || (itself && others_wait)
}
