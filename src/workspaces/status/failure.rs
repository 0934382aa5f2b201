//! The failure table (docs/protocol.md#failures): why a workspace failed, and the phase that some failures force.

use super::{Defaults, events, termination};
use crate::index::observed::{NodeView, Observed};
use crate::objects::{ContainerStatus, Pod, Terminated};
use crate::proto::wsman::WorkspacePhase;
use crate::workspaces::container::{self, PodPhase};
use crate::workspaces::content::report;
use crate::workspaces::marks::{annotation, label};
use crate::workspaces::rejected;

/// Exit code of a killed process.
const KILLED: i64 = 137;

/// The message of a headless workspace whose task failed, which is not a failure of the workspace.
pub(super) const TASK_FAILED: &str = "headless task failed: ";

/// The result of the table.
#[derive(Debug, Default)]
pub(super) struct Failure {
    /// Text for people; empty without a failure.
    pub(super) message: String,
    /// Row that ended the search.
    pub(super) row: Option<&'static str>,
    /// Phase that the row forces.
    pub(super) forced: Option<(WorkspacePhase, &'static str)>,
}

/// Evaluates the table; the first match wins. A failure that is recorded on the pod keeps its text.
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
        .or_else(|| stopped_by_request(pod))
        .or_else(|| rejected(pod, max))
        .or_else(|| pod_failed(pod))
        .or_else(|| container(observed))
        .or_else(|| init_containers(pod))
        .or_else(|| failed_mount(observed))
        .unwrap_or_default()
}

fn explicit(pod: &Pod) -> Option<Failure> {
    let text = pod.metadata.annotation(annotation::EXPLICIT_FAIL)?;
    Some(failed("F1", text.to_owned()))
}

/// A stop by request is no failure, unless the failure came first.
fn stopped_by_request(pod: &Pod) -> Option<Failure> {
    let has = |key| pod.annotations().contains_key(key);
    let asked = has(annotation::STOPPED_BY_REQUEST) && !has(annotation::FAILED_BEFORE_STOPPING);
    asked.then(Failure::default)
}

/// A pod that its node rejected is recreated, up to a limit.
fn rejected(pod: &Pod, max: u32) -> Option<Failure> {
    if rejected::has_attempts_left(pod, max) {
        return Some(nothing("rejected"));
    }
    let exhausted =
        max > 0 && rejected::is_rejected(pod) && rejected::recreations(&pod.metadata) >= max;
    let why = pod_failed(pod).filter(|_| exhausted)?;
    let text = format!("Pod reached maximum recreations {max}, failing");
    Some(failed("rejected", format!("{text}; {}", why.message)))
}

/// F2. Not if the workspace completed although its pod failed, as with its node's shutdown.
fn pod_failed(pod: &Pod) -> Option<Failure> {
    let status = &pod.status;
    if container::phase(pod) == PodPhase::Succeeded {
        return None;
    }
    let explained = !status.reason.is_empty() || !status.message.is_empty();
    (status.phase == "Failed" && explained)
        .then(|| failed("F2", format!("{}: {}", status.reason, status.message)))
}

/// F3 to F9, for the workspace container.
fn container(observed: &Observed<'_>) -> Option<Failure> {
    let pod = observed.pod;
    let deleting = pod.metadata.deletion_timestamp.is_some();
    let forcing = |row, phase, text| {
        let forced = (!deleting).then_some((phase, row));
        Some(Failure {
            forced,
            ..failed(row, text)
        })
    };
    let status = container::status(pod)?;
    if let Some(failure) = image_pull(status, pod) {
        return Some(failure);
    }
    let ended = container::termination(pod)?;
    let name = &status.name;
    let code = ended.exit_code;
    match ended.reason.as_str() {
        // Exit code 0 is completion, even if one of its processes was killed.
        _ if code == 0 => Some(nothing("F8")),
        _ if is_headless(pod) && ended.message.starts_with(TASK_FAILED) => Some(nothing("S4")),
        _ if !ended.message.is_empty() => {
            let lost = lost_track(ended);
            // What failed before the stop stays failed, also when the taint is removed.
            if lost && untainted(observed.node) && !failed_before_stop(pod) {
                return Some(nothing("F4"));
            }
            let text = termination::message(&ended.message);
            if lost && is_headless(pod) {
                // A headless pod that failed is STOPPING by F4: a later taint must not revert that.
                return Some(failed("F5", text));
            }
            forcing("F5", WorkspacePhase::Running, text)
        }
        "Error" if !deleting && code != KILLED => forcing(
            "F6",
            WorkspacePhase::Running,
            format!("container {name} ran with an error: exit code {code}"),
        ),
        "Error" if !deleting && container::phase(pod) == PodPhase::Failed => Some(failed(
            "F7",
            format!("container {name} was killed: exit code {code}"),
        )),
        "Error" => None, // F7: it starts again
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

/// F3. It shows as CREATING, except during deletion and after the workspace was ready. An invalid image name, and an
/// image that must not be pulled, are never temporary either.
fn image_pull(status: &ContainerStatus, pod: &Pod) -> Option<Failure> {
    let waiting = status.state.waiting.as_ref()?;
    let why = match waiting.reason.as_str() {
        "ImagePullBackOff" | "ErrImagePull" if !waiting.message.is_empty() => {
            waiting.message.clone()
        }
        "InvalidImageName" | "ErrImageNeverPull" | "ImagePullBackOff" | "ErrImagePull" => {
            let image = match status.image.as_str() {
                "" => asked_image(pod, &status.name),
                image => image,
            };
            match (waiting.message.contains(image), waiting.message.as_str()) {
                (_, "") => format!("{} ({image})", waiting.reason),
                (true, message) => message.to_owned(),
                (false, message) => format!("{message} ({image})"),
            }
        }
        _ => return None,
    };
    let was_ready = container::phase(pod) == PodPhase::Running && container::was_ready(pod);
    let forces = pod.metadata.deletion_timestamp.is_none() && !was_ready;
    Some(Failure {
        forced: forces.then_some((WorkspacePhase::Creating, "F3")),
        ..failed("F3", format!("cannot pull image: {why}"))
    })
}

fn asked_image<'a>(pod: &'a Pod, container: &str) -> &'a str {
    let spec = &pod.spec;
    let mut all = spec.containers.iter().chain(&spec.init_containers);
    all.find(|c| c.name == container)
        .map_or("", |c| c.image.as_str())
}

/// Init containers belong to the start (the classic manager had none): one that keeps the workspace container from
/// starting explains why the start failed. Native sidecars explain nothing.
fn init_containers(pod: &Pod) -> Option<Failure> {
    if container::status(pod).is_some_and(|c| c.state.waiting.is_none()) {
        return None;
    }
    let is_sidecar = |name: &str| {
        let mut asked = pod.spec.init_containers.iter();
        asked.any(|c| c.name == name && c.restart_policy == "Always")
    };
    let pod_failed = pod.status.phase == "Failed";
    let inits = pod.status.init_container_statuses.iter();
    inits.filter(|c| !is_sidecar(&c.name)).find_map(|c| {
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
            log if c.name == report::INIT => {
                let why = report::init_failure(log);
                failed("F5", why.unwrap_or_else(|| termination::message(log)))
            }
            log => failed("F5", termination::message(log)),
        })
    })
}

/// F10 to F12. A warning is no failure: the kubelet retries. A pod that has started has its volumes.
fn failed_mount(observed: &Observed<'_>) -> Option<Failure> {
    let pod = observed.pod;
    let started = matches!(
        container::phase(pod),
        PodPhase::Running | PodPhase::Succeeded
    );
    if started || container::any_started(pod) {
        return None;
    }
    let event = events::lasting_mount(observed)?;
    Some(failed("F12", event.message.clone()))
}

fn failed_before_stop(pod: &Pod) -> bool {
    [
        annotation::STOPPED_BY_REQUEST,
        annotation::FAILED_BEFORE_STOPPING,
    ]
    .iter()
    .all(|mark| pod.annotations().contains_key(*mark))
}

/// The kubelet restarted and knows only that the container is gone.
fn lost_track(ended: &Terminated) -> bool {
    ended.exit_code == KILLED && ended.reason == "ContainerStatusUnknown"
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
