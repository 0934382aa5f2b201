//! Sub-second times of a pod: the API has whole seconds, so the instant at which each was first seen refines it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::kubelet::pod::Pod;

/// The points in a pod's life from which delays count.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Anchor {
    /// The pod was created.
    Created,
    /// It was bound to its node.
    Bound,
    /// The kubelet accepted it.
    Accepted,
    /// The last change of an init container.
    Init,
    /// The pod was initialized: its containers may start.
    Initialized,
    /// The latest start of a container.
    Started,
    /// The latest end of a container.
    Ended,
    /// Its deletion was requested.
    Deleted,
}

/// When each anchor was reached, as exactly as possible: losing this costs at most a second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    anchors: BTreeMap<Anchor, Sighting>,
    /// The deadline of the pod in seconds, and when it was first seen: it may be lowered to what is over.
    deadline: Option<(i64, Timestamp)>,
}

#[derive(Clone, Debug)]
struct Sighting {
    /// The object's value: time in whole seconds, and a count that distinguishes two events within a second.
    stated: (Timestamp, i32),
    first_seen: Timestamp,
}

impl Seen {
    /// Records what is new in `pod` at `now`.
    pub(crate) fn observe(&mut self, pod: &Pod, now: Timestamp) {
        let seconds = pod.spec.active_deadline_seconds;
        if self.deadline.map(|(seconds, _)| seconds) != seconds {
            self.deadline = seconds.map(|seconds| (seconds, now));
        }
        for (anchor, stated) in anchors(pod) {
            match self.anchors.get(&anchor) {
                Some(sighting) if sighting.stated == stated => {}
                _ => {
                    let first_seen = now;
                    self.anchors.insert(anchor, Sighting { stated, first_seen });
                }
            }
        }
    }

    pub(crate) fn at(&self, anchor: Anchor) -> Option<Timestamp> {
        let Sighting { stated, first_seen } = self.anchors.get(&anchor)?;
        let end_of_second = stated.0 + SignedDuration::from_millis(999);
        Some((*first_seen).clamp(stated.0, end_of_second.max(stated.0)))
    }

    /// When the pod is active for too long.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let (seconds, first_seen) = self.deadline?;
        let at = self.at(Anchor::Accepted)? + SignedDuration::from_secs(seconds);
        Some(at.max(first_seen))
    }
}

fn anchors(pod: &Pod) -> Vec<(Anchor, (Timestamp, i32))> {
    let mut all = Vec::with_capacity(8);
    let mut add = |anchor, at: Option<Timestamp>, count| {
        if let Some(at) = at {
            all.push((anchor, (at, count)));
        }
    };
    let restarts = pod.statuses().iter().map(|s| s.restart_count).sum();
    let created = pod.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let transition = |kind| {
        let all = pod.status.conditions.as_deref().unwrap_or_default();
        let found = all.iter().find(|c| c.type_ == kind && c.status == "True")?;
        found.last_transition_time.as_ref().map(|t| t.0)
    };
    add(Anchor::Created, created, 0);
    if pod.spec.node_name.is_some() {
        add(Anchor::Bound, transition("PodScheduled").or(created), 0);
    }
    let accepted = pod.status.start_time.as_ref().map(|t| t.0);
    add(Anchor::Accepted, accepted, 0);
    add(Anchor::Initialized, transition("Initialized"), 0);

    let init: Vec<_> = pod.init_statuses().iter().filter_map(latest).collect();
    let count = i32::try_from(init.len()).unwrap_or(0);
    let ended = |s: &&_| end(s).is_some();
    let done = i32::try_from(pod.init_statuses().iter().filter(ended).count()).unwrap_or(0);
    add(Anchor::Init, init.into_iter().max(), count + done);

    let starts = pod.statuses().iter().filter_map(start);
    add(Anchor::Started, starts.max(), restarts);
    let ends = pod.statuses().iter().filter_map(end);
    add(Anchor::Ended, ends.max(), restarts);
    add(Anchor::Deleted, pod.deleted_at(), 0);
    all
}

type Status = k8s_openapi::api::core::v1::ContainerStatus;

fn latest(status: &Status) -> Option<Timestamp> {
    start(status).max(end(status))
}

fn start(status: &Status) -> Option<Timestamp> {
    let running = status.state.as_ref()?.running.as_ref()?;
    running.started_at.as_ref().map(|t| t.0)
}

/// The end of a container that is not running: now terminated, or waiting to be started again.
fn end(status: &Status) -> Option<Timestamp> {
    let state = status.state.as_ref()?;
    let terminated = match (&state.terminated, &state.waiting) {
        (Some(terminated), _) => Some(terminated),
        (None, Some(_)) => status.last_state.as_ref()?.terminated.as_ref(),
        (None, None) => None,
    };
    terminated?.finished_at.as_ref().map(|t| t.0)
}
