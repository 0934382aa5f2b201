//! What a pod says of its recreation: whether its node rejected it, how often that was, and which pods are before and after it
//! (docs/protocol.md#rejected-pods).

use super::container;
use super::marks::{annotation, label};
use crate::action::PodRef;
use crate::objects::{Meta, Owner, Pod};

/// Marks that end a workspace.
pub(super) const ENDS: &[&str] = &[
    annotation::STOPPED_BY_REQUEST,
    annotation::ABORT_REQUEST,
    annotation::TIMED_OUT,
];

/// Whether a pod was rejected: it failed, and nothing of it ever started. The reasons and texts of kubelets, controllers
/// and releases differ; this they have in common.
pub fn is_rejected(pod: &Pod) -> bool {
    pod.status.phase == "Failed" && !container::any_started(pod) && !container::was_ready(pod)
}

/// How often the pod was made again; what cannot be read counts as too often.
pub fn recreations(meta: &Meta) -> u32 {
    let mark = meta.annotation(annotation::RECREATIONS);
    mark.map_or(0, |text| text.parse().unwrap_or(u32::MAX))
}

/// Whether the pod was rejected fewer than `max` times, and was not given up for another reason.
pub fn has_attempts_left(pod: &Pod, max: u32) -> bool {
    let given_up = [
        annotation::EXPLICIT_FAIL,
        annotation::FAILED_BEFORE_STOPPING,
        annotation::FAILURE,
    ];
    let marks = pod.annotations();
    is_rejected(pod)
        && recreations(&pod.metadata) < max
        && !given_up.iter().any(|mark| marks.contains_key(*mark))
}

/// Whether the pod waits to be made again, or is on its way out for that.
pub fn waits(pod: &Pod, max: u32) -> bool {
    let leaves = pod.metadata.deletion_timestamp.is_some();
    has_attempts_left(pod, max) && (!leaves || is_under_way(&pod.metadata))
}

/// Whether the pod is being replaced, or was: its end is not that of its workspace.
pub fn is_under_way(meta: &Meta) -> bool {
    successor(meta).is_some() && !is_asked_to_end(meta)
}

/// Returns the name of the pod that takes the place of this one.
pub fn successor(meta: &Meta) -> Option<&str> {
    meta.annotation(annotation::SUCCESSOR)
        .filter(|name| !name.is_empty())
}

/// Whether a stop was asked for, or a timeout has passed.
pub fn is_asked_to_end(meta: &Meta) -> bool {
    ENDS.iter().any(|mark| meta.annotations.contains_key(*mark))
}

/// Whether other programs no longer find the pod as that of a workspace.
pub fn is_handed_over(meta: &Meta) -> bool {
    meta.label(label::WORKSPACE_ID).is_none()
}

/// Returns the first pod of the workspace that a pod belongs to, if it is another.
pub fn anchor(meta: &Meta) -> Option<PodRef> {
    owner(meta).map(|owner| PodRef {
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    })
}

/// Returns the name of the first pod of the workspace that a pod belongs to: what belongs to the workspace has it.
pub fn anchor_name(meta: &Meta) -> &str {
    owner(meta).map_or(&meta.name, |owner| &owner.name)
}

fn owner(meta: &Meta) -> Option<&Owner> {
    let first = meta.annotation(annotation::FIRST_UID)?;
    let mut owners = meta.owner_references.iter();
    owners.find(|owner| owner.kind == "Pod" && owner.uid == first)
}
