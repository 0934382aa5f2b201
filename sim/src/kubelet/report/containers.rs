//! The states of containers with the kubelet's texts.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest, Sha256};

use crate::kubelet::pod::Pod;
use crate::kubelet::recorder::Note;
use crate::script::last_exit;

pub(crate) fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|s| s.running.is_some())
}

pub(crate) fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message,
        }),
        ..ContainerState::default()
    }
}

pub(crate) fn end(
    status: &mut ContainerStatus,
    code: i32,
    reason: &str,
    message: Option<String>,
    now: Timestamp,
) {
    let state = status.state.take().unwrap_or_default();
    let started_at = state.running.and_then(|running| running.started_at);
    status.ready = false;
    status.started = Some(false);
    status.state = Some(ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: status.container_id.clone(),
            exit_code: code,
            finished_at: Some(Time(now)),
            message,
            reason: Some(reason.to_owned()),
            signal: None,
            started_at,
        }),
        ..ContainerState::default()
    });
}

pub(crate) fn pause(status: &mut ContainerStatus, pod: &Pod) -> Note {
    let (name, uid) = (&status.name, pod.uid());
    let which = format!("{name} in pod {}_{}({uid})", pod.name(), pod.namespace());
    let message = format!(
        "back-off restarting failed container={name} pod={}_{}({uid})",
        pod.name(),
        pod.namespace()
    );
    status.last_state = status.state.take().or(status.last_state.take());
    status.state = Some(waiting("CrashLoopBackOff", Some(message)));
    Note::warning(
        "BackOff",
        format!("Back-off restarting failed container {which}"),
    )
}

pub(crate) fn phase_of(statuses: &[ContainerStatus]) -> &'static str {
    match statuses.iter().all(|s| last_exit(s) == Some(0)) {
        true => "Succeeded",
        false => "Failed",
    }
}

pub(crate) fn container_id(pod: &Pod, status: &ContainerStatus) -> String {
    let mut hash = Sha256::new();
    hash.update(pod.uid());
    hash.update([0]);
    hash.update(&status.name);
    hash.update(status.restart_count.to_be_bytes());
    format!("containerd://{:x}", hash.finalize())
}

pub(crate) fn image_id(image: &str) -> String {
    match image.contains('@') {
        true => image.to_owned(),
        false => format!("{image}@sha256:{:x}", Sha256::digest(image)),
    }
}

pub(crate) fn running(now: Timestamp) -> ContainerState {
    ContainerState {
        running: Some(ContainerStateRunning {
            started_at: Some(Time(now)),
        }),
        ..ContainerState::default()
    }
}
