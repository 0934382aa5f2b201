//! Which events count for a pod: warnings about this pod, unless its own status is more precise.

use crate::index::observed::Observed;
use crate::index::rank;
use crate::objects::Event;
use crate::workspaces::container::PodPhase;

/// A mount that failed this often is not temporary.
const LASTING: usize = 3;

/// Reasons of the kubelet for missing volumes.
const MOUNTS: [&str; 2] = ["FailedMount", "FailedAttachVolume"];

/// Events whose content is also, and more precisely, in the pod's conditions and container statuses; and those about a
/// running container.
const IN_STATUS: [&str; 6] = [
    "FailedScheduling",
    "Failed",
    "BackOff",
    "InspectFailed",
    "ErrImageNeverPull",
    "Unhealthy",
];

/// Returns the events about this pod, without those of an earlier pod with its name.
pub(super) fn of<'a>(observed: &Observed<'a>) -> impl Iterator<Item = &'a Event> {
    let uid = observed.pod.metadata.uid.as_str();
    observed.events.iter().filter(move |event| {
        let about = event.involved_object.uid.as_str();
        about.is_empty() || uid.is_empty() || about == uid
    })
}

/// Whether an event may change the status of a pod in this phase.
pub fn depends_on(event: &Event, phase: PodPhase) -> bool {
    match phase {
        PodPhase::Running => is_network(event),
        PodPhase::Succeeded => false,
        PodPhase::Pending | PodPhase::Failed | PodPhase::Unknown => is_kept(event),
    }
}

/// Whether an event may change the status of any pod.
pub fn is_kept(event: &Event) -> bool {
    (event.kind == "Warning" && !IN_STATUS.contains(&event.reason.as_str()))
        || is_mount(event)
        || is_network(event)
}

/// Whether the container network is down.
pub(super) fn is_network(event: &Event) -> bool {
    event.reason == "NetworkNotReady"
}

/// Whether it may explain why a pod does not start.
pub(super) fn explains(event: &Event) -> bool {
    is_kept(event) && event.kind == "Warning" && !passes(event)
}

/// F12: a mount that failed three times, and its last message. F10 and F11 are temporary.
pub(super) fn lasting_mount<'a>(observed: &Observed<'a>) -> Option<&'a Event> {
    let failed = of(observed).filter(|event| is_mount(event) && !passes(event));
    let failed: Vec<&Event> = failed.collect();
    let often = |event: &&&Event| usize::try_from(event.occurrences()).is_ok_and(|n| n >= LASTING);
    let lasting = failed.iter().filter(often);
    let last = lasting.max_by(|a, b| rank(a).cmp(&rank(b)));
    let many = || failed.iter().max_by(|a, b| rank(a).cmp(&rank(b)));
    last.or_else(|| many().filter(|_| failed.len() >= LASTING))
        .copied()
}

fn is_mount(event: &Event) -> bool {
    MOUNTS.contains(&event.reason.as_str())
}

fn passes(event: &Event) -> bool {
    let devices = "MountVolume.MountDevice failed for volume";
    is_mount(event)
        && (event.message.contains(devices) || event.message.contains("vol-this-workspace"))
}
