//! The failure table of spec 4.2: why a workspace failed, and the phase that some failures force.

use super::{Defaults, NodeView, Observed, termination};
use crate::objects::{ContainerStatus, Pod, Terminated};
use crate::proto::wsman::WorkspacePhase;
use crate::workspaces::marks::{annotation, label};
use crate::workspaces::recreate;

/// What the table found.
#[derive(Debug, Default)]
pub(super) struct Failure {
    /// Text for people; empty when nothing failed.
    pub(super) message: String,
    /// Row that ended the search.
    pub(super) row: Option<&'static str>,
    /// Phase that the row forces.
    pub(super) forced: Option<(WorkspacePhase, &'static str)>,
}

/// Walks the table; the first match wins. A failure that was recorded on the pod keeps its text (spec 4.6, sticky).
pub(super) fn extract(observed: &Observed<'_>, defaults: &Defaults) -> Failure {
    let mut failure = search(observed, defaults.max_recreations);
    if let Some(first) = observed.pod.metadata.annotation(annotation::FAILURE) {
        first.clone_into(&mut failure.message);
        failure.row = failure.row.or(Some("recorded"));
    }
    failure
}

fn search(observed: &Observed<'_>, max: u32) -> Failure {
    let pod = observed.pod;
    explicit(pod)
        .or_else(|| rejected(pod, max))
        .or_else(|| pod_failed(pod))
        .or_else(|| containers(observed))
        .or_else(|| init_containers(pod))
        .or_else(|| failed_mount(observed))
        .unwrap_or_default()
}

fn explicit(pod: &Pod) -> Option<Failure> {
    let text = pod.metadata.annotation(annotation::EXPLICIT_FAIL)?;
    Some(failed("F1", text.to_owned()))
}

/// Spec 5.7: a pod that its node rejected is made again, up to a limit.
fn rejected(pod: &Pod, max: u32) -> Option<Failure> {
    if recreate::has_attempts_left(pod, max) {
        return Some(nothing("rejected"));
    }
    let exhausted = max > 0 && recreate::is_rejected(pod) && recreate::recreations(pod) >= max;
    let why = pod_failed(pod).filter(|_| exhausted)?;
    let text = format!("Pod reached maximum recreations {max}, failing");
    Some(failed("rejected", format!("{text}; {}", why.message)))
}

fn pod_failed(pod: &Pod) -> Option<Failure> {
    let status = &pod.status;
    let explained = !status.reason.is_empty() || !status.message.is_empty();
    (status.phase == "Failed" && explained)
        .then(|| failed("F2", format!("{}: {}", status.reason, status.message)))
}

fn containers(observed: &Observed<'_>) -> Option<Failure> {
    let statuses = &observed.pod.status.container_statuses;
    statuses.iter().find_map(|c| container(c, observed))
}

/// F3 to F9 for one container; `None` goes on with the next.
fn container(container: &ContainerStatus, observed: &Observed<'_>) -> Option<Failure> {
    let deleting = observed.pod.metadata.deletion_timestamp.is_some();
    let forcing = |row, phase, text| {
        let forced = (!deleting).then_some((phase, row));
        Some(Failure {
            forced,
            ..failed(row, text)
        })
    };
    if let Some(failure) = image_pull(container, observed.pod) {
        return Some(failure);
    }
    let ended = termination(container)?;
    let name = &container.name;
    let code = ended.exit_code;
    match ended.reason.as_str() {
        _ if code != 0 && !ended.message.is_empty() => {
            let lost = lost_track(ended);
            if lost && untainted(observed.node) {
                return Some(nothing("F4"));
            }
            let text = termination::message(&ended.message);
            if lost && is_headless(observed.pod) {
                // A headless pod that failed is STOPPING by F4: a taint that comes later must not turn it back.
                return Some(failed("F5", text));
            }
            forcing("F5", WorkspacePhase::Running, text)
        }
        "Error" if !deleting && code != 137 => forcing(
            "F6",
            WorkspacePhase::Running,
            format!("container {name} ran with an error: exit code {code}"),
        ),
        "Error" => None, // F7
        "Completed" => Some(nothing("F8")),
        reason if !deleting && code != 255 => forcing(
            "F9",
            WorkspacePhase::Unknown,
            format!(
                "workspace container {name} terminated for an unknown reason: ({reason}) {}",
                ended.message
            ),
        ),
        _ => None,
    }
}

/// F3. It shows as CREATING, except where that would be a step back: while deleting, and once the workspace was ready
/// (spec 4.6).
fn image_pull(container: &ContainerStatus, pod: &Pod) -> Option<Failure> {
    let waiting = container.state.waiting.as_ref()?;
    if !matches!(waiting.reason.as_str(), "ImagePullBackOff" | "ErrImagePull") {
        return None;
    }
    let was_ready =
        pod.status.phase == "Running" && pod.metadata.annotation(annotation::NEVER_READY).is_none();
    let forces = pod.metadata.deletion_timestamp.is_none() && !was_ready;
    Some(Failure {
        forced: forces.then_some((WorkspacePhase::Creating, "F3")),
        ..failed("F3", format!("cannot pull image: {}", waiting.message))
    })
}

/// Init containers are ours (the original had none): a failed one explains a failed pod.
fn init_containers(pod: &Pod) -> Option<Failure> {
    let pod_failed = pod.status.phase == "Failed";
    pod.status.init_container_statuses.iter().find_map(|c| {
        if let Some(failure) = image_pull(c, pod) {
            return Some(failure);
        }
        let ended = c.state.terminated.as_ref()?;
        (pod_failed && ended.exit_code != 0).then(|| match ended.message.as_str() {
            "" => failed(
                "F6",
                format!(
                    "container {} ran with an error: exit code {}",
                    c.name, ended.exit_code
                ),
            ),
            log => failed("F5", termination::message(log)),
        })
    })
}

/// F10 to F12. A pod that runs has its volumes: the event of an attempt that failed before must not end it.
fn failed_mount(observed: &Observed<'_>) -> Option<Failure> {
    if matches!(observed.pod.status.phase.as_str(), "Running" | "Succeeded") {
        return None;
    }
    let event = observed.events.iter().find(|e| e.reason == "FailedMount")?;
    Some(
        if event
            .message
            .contains("MountVolume.MountDevice failed for volume")
        {
            nothing("F10")
        } else if event.message.contains("vol-this-workspace") {
            nothing("F11")
        } else {
            failed("F12", event.message.clone())
        },
    )
}

fn termination(container: &ContainerStatus) -> Option<&Terminated> {
    let now = container.state.terminated.as_ref();
    now.or(container.last_state.terminated.as_ref())
}

/// The kubelet restarted and knows only that the container is no more.
fn lost_track(ended: &Terminated) -> bool {
    ended.exit_code == 137 && ended.reason == "ContainerStatusUnknown"
}

fn is_headless(pod: &Pod) -> bool {
    pod.metadata.label(label::HEADLESS) == Some("true")
}

fn untainted(node: NodeView<'_>) -> bool {
    matches!(node, NodeView::Present(node) if node.spec.taints.is_empty())
}

fn failed(row: &'static str, message: String) -> Failure {
    Failure {
        message,
        row: Some(row),
        forced: None,
    }
}

/// Ends the search without a failure.
fn nothing(row: &'static str) -> Failure {
    failed(row, String::new())
}
