//! Which events count for a pod: warnings about this very pod, of kinds that its own status does not tell better.

use crate::index::observed::Observed;
use crate::index::rank;
use crate::objects::Event;
use crate::workspaces::container::PodPhase;

/// A mount that failed this often is not going to come about.
const LASTING: usize = 3;

/// Reasons that the kubelet gives for volumes that are not there.
const MOUNTS: [&str; 2] = ["FailedMount", "FailedAttachVolume"];

/// What the pod's conditions and container statuses tell, too, and more exactly; and what concerns a container that runs.
const TOLD_OTHERWISE: [&str; 6] = [
    "FailedScheduling",
    "Failed",
    "BackOff",
    "InspectFailed",
    "ErrImageNeverPull",
    "Unhealthy",
];

/// Returns the events about the pod itself, not those of an earlier pod of its name.
pub(super) fn of<'a>(observed: &Observed<'a>) -> impl Iterator<Item = &'a Event> {
    let uid = observed.pod.metadata.uid.as_str();
    observed.events.iter().filter(move |event| {
        let about = event.involved_object.uid.as_str();
        about.is_empty() || uid.is_empty() || about == uid
    })
}

/// Whether the status of a pod in this phase may change with an event about it.
pub fn depends_on(event: &Event, phase: PodPhase) -> bool {
    match phase {
        PodPhase::Running => is_network(event),
        PodPhase::Succeeded => false,
        PodPhase::Pending | PodPhase::Failed | PodPhase::Unknown => is_kept(event),
    }
}

/// Whether an event may change the status of any pod.
pub fn is_kept(event: &Event) -> bool {
    (event.kind == "Warning" && !TOLD_OTHERWISE.contains(&event.reason.as_str()))
        || is_mount(event)
        || is_network(event)
}

/// Whether the container network is down.
pub(super) fn is_network(event: &Event) -> bool {
    event.reason == "NetworkNotReady"
}

/// Whether it may say why a pod does not start.
pub(super) fn explains(event: &Event) -> bool {
    is_kept(event) && event.kind == "Warning" && !passes(event)
}

/// F12: a mount that failed three times, and what it said last. F10 and F11 pass by themselves.
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
