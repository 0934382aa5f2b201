//! What is kept of the pod of a component: how it is, and what its marks say.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::marks::{GATE, KIND, annotation, label};
use super::packed;
use super::plan::MAIN;
use crate::action::PodRef;
use crate::index::noun::Membership;
use crate::index::observed::{NodeView, Observed};
use crate::index::reference;
use crate::objects::{ContainerStatus, Meta, Pod, Terminated};
use crate::proto::wsman::sessions::v1::{Health, SessionSpec};

/// Taint of a node whose pods may be given up
/// (<https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown>).
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What is kept of a pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Member {
    /// Id of the session.
    pub session: Box<str>,
    /// Name of the component.
    pub component: Box<str>,
    pub pool: Box<str>,
    pub health: Judgement,
    /// It waits for its session to be admitted.
    pub is_gated: bool,
    /// Gates of others that hold it back.
    pub foreign_gates: Box<[Box<str>]>,
    /// When its node took it.
    pub taken: Option<Timestamp>,
    /// Seconds after that at which its node ends it.
    pub active_deadline: Option<i64>,
    /// It is being deleted.
    pub is_deleting: bool,
    /// It holds its machine: its pod has not ended, or a container of it still runs.
    pub holds_slot: bool,
    /// Its node is gone, or out of service: nothing on it ends by itself.
    pub node_is_lost: bool,
    /// Its node does not answer.
    pub node_is_away: bool,
    pub created: Option<Timestamp>,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    /// The newest transition of its conditions: about when it ended, should its container never have run.
    pub changed: Option<Timestamp>,
    /// Why wsman ended it, from its mark, and when.
    pub outcome: Option<Box<str>>,
    pub outcome_at: Option<Timestamp>,
    /// Of the anchor: what is of the whole session.
    pub anchor: Option<Arc<Anchor>>,
}

/// What the anchor says of its session.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Anchor {
    /// Why it cannot be read; empty if it can.
    pub unreadable: String,
    pub spec: Arc<SessionSpec>,
    pub fingerprint: String,
    pub enqueued_at: Option<Timestamp>,
    pub admitted_at: Option<Timestamp>,
    pub released_at: Option<Timestamp>,
    /// Who asked for a stop, and why.
    pub stop: Option<String>,
}

/// How a component is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    pub health: Health,
    /// CamelCase reason.
    pub reason: Box<str>,
    /// For people.
    pub message: Box<str>,
    pub exit_code: Option<i32>,
    /// Since when something is wrong that may pass, and what.
    pub wrong: Option<(Timestamp, Wrong)>,
}

/// What may be wrong for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// An image that cannot be pulled, a configuration that is not there.
    Image,
    /// No node takes it.
    Node,
}

/// Returns where a pod belongs; `None` if it is none of a session of this installation.
pub fn membership(pod: &Pod) -> Option<Membership> {
    let meta = &pod.metadata;
    if meta.label(label::KIND) != Some(KIND) || meta.label(label::GROUP).is_none_or(str::is_empty) {
        return None;
    }
    let place = meta.annotation(annotation::PLACE);
    let place: u32 = place.and_then(|place| place.parse().ok()).unwrap_or(0);
    let owner = meta
        .owner_references
        .iter()
        .find(|owner| owner.kind == "Pod");
    Some(match owner {
        None => Membership {
            anchor: reference(pod),
            rank: 0,
        },
        Some(owner) => Membership {
            anchor: PodRef {
                name: owner.name.clone(),
                uid: owner.uid.clone(),
            },
            rank: place.saturating_add(1),
        },
    })
}

impl Member {
    /// Reads a pod.
    pub fn read(observed: &Observed<'_>) -> Self {
        let pod = observed.pod;
        let meta = &pod.metadata;
        let text = |key| meta.label(key).unwrap_or_default().into();
        let main = main(pod);
        let terminated = main.and_then(ended);
        let running = main.and_then(|main| main.state.running.as_ref());
        let started = running.map(|running| running.started_at);
        let started = started
            .or(terminated.map(|ended| ended.started_at))
            .flatten();
        Self {
            session: text(label::GROUP),
            component: text(label::COMPONENT),
            pool: text(label::POOL),
            health: judge(pod),
            is_gated: is_gated(pod),
            foreign_gates: foreign_gates(pod),
            taken: pod.status.start_time,
            active_deadline: pod.spec.active_deadline_seconds,
            is_deleting: meta.deletion_timestamp.is_some(),
            holds_slot: holds_slot(pod),
            node_is_lost: is_lost(observed.node),
            node_is_away: is_away(observed.node),
            created: meta.creation_timestamp,
            started,
            finished: terminated.and_then(|ended| ended.finished_at),
            changed: pod
                .status
                .conditions
                .iter()
                .filter_map(|c| c.last_transition_time)
                .max(),
            outcome: meta.annotation(annotation::OUTCOME).map(Into::into),
            outcome_at: time(meta, annotation::OUTCOME_AT),
            anchor: (meta.owner_references.is_empty()).then(|| Arc::new(Anchor::read(pod))),
        }
    }

    /// Whether its container has ended, or its pod has.
    pub fn is_over(&self) -> bool {
        matches!(self.health.health, Health::Completed | Health::Broken)
    }
}

impl Anchor {
    fn read(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let time = |key| time(meta, key);
        let spec = meta.annotation(annotation::SPEC);
        let spec = spec.map_or(Err("it is missing".to_owned()), packed::unpack);
        let (spec, unreadable) = match spec {
            Ok(spec) => (spec, String::new()),
            Err(why) => {
                let why = format!("the annotation {} cannot be read: {why}", annotation::SPEC);
                (SessionSpec::default(), why)
            }
        };
        let fingerprint = meta.annotation(annotation::SPEC_SHA256).unwrap_or_default();
        Self {
            unreadable,
            spec: Arc::new(spec),
            fingerprint: fingerprint.to_owned(),
            enqueued_at: time(annotation::ENQUEUED_AT).or(meta.creation_timestamp),
            admitted_at: time(annotation::ADMITTED_AT),
            released_at: time(annotation::RELEASED_AT),
            stop: meta.annotation(annotation::STOP).map(str::to_owned),
        }
    }
}

fn time(meta: &Meta, key: &str) -> Option<Timestamp> {
    meta.annotation(key).and_then(|text| text.parse().ok())
}

fn is_gated(pod: &Pod) -> bool {
    let mut gates = pod.spec.scheduling_gates.iter();
    gates.any(|gate| gate.name == GATE)
}

fn foreign_gates(pod: &Pod) -> Box<[Box<str>]> {
    let gates = pod.spec.scheduling_gates.iter();
    let foreign = gates.filter(|gate| gate.name != GATE);
    foreign.map(|gate| gate.name.as_str().into()).collect()
}

/// A terminal phase can be read while containers still run: the slot is free when both are over.
fn holds_slot(pod: &Pod) -> bool {
    let is_over = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    let containers = &pod.status.container_statuses;
    let runs = containers
        .iter()
        .any(|container| container.state.running.is_some());
    !is_over || runs
}

fn is_lost(node: NodeView<'_>) -> bool {
    match node {
        NodeView::Gone => true,
        NodeView::Unknown => false,
        NodeView::Present(node) => {
            let mut taints = node.spec.taints.iter();
            taints.any(|taint| taint.key == OUT_OF_SERVICE)
        }
    }
}

fn is_away(node: NodeView<'_>) -> bool {
    let NodeView::Present(node) = node else {
        return false;
    };
    let ready = node.status.conditions.iter().find(|c| c.kind == "Ready");
    ready.is_some_and(|ready| ready.status != "True")
}

fn main(pod: &Pod) -> Option<&ContainerStatus> {
    let mut containers = pod.status.container_statuses.iter();
    containers.find(|container| container.name == MAIN)
}

/// How its container ended; its pod restarts nothing.
fn ended(main: &ContainerStatus) -> Option<&Terminated> {
    main.state.terminated.as_ref()
}

/// Whether a container ended well only because its node ended it at the deadline of the pod. One that ended before that by
/// itself succeeded, even if the pod shows the deadline.
fn was_ended_late(pod: &Pod, ended: &Terminated) -> bool {
    let deadline = || {
        let seconds = SignedDuration::from_secs(pod.spec.active_deadline_seconds?);
        pod.status.start_time?.checked_add(seconds).ok()
    };
    pod.status.phase == "Failed"
        && pod.status.reason == "DeadlineExceeded"
        && deadline().is_some_and(|deadline| ended.finished_at.is_some_and(|at| at >= deadline))
}

/// Judges a pod: the first row that holds decides (docs/protocol.md#health-of-a-component).
pub fn judge(pod: &Pod) -> Judgement {
    let status = &pod.status;
    let main = main(pod);
    let waiting = main.and_then(|main| main.state.waiting.as_ref());
    if let Some(ended) = main.and_then(ended) {
        let code = i32::try_from(ended.exit_code).unwrap_or(-1);
        return Judgement {
            exit_code: Some(code),
            ..match code {
                0 if was_ended_late(pod, ended) => {
                    Judgement::of(Health::Broken, &status.reason, &status.message)
                }
                0 => Judgement::of(Health::Completed, "", &ended.message),
                // Why its node ended it says more than that it was ended.
                _ if status.phase == "Failed" && !status.reason.is_empty() => {
                    Judgement::of(Health::Broken, &status.reason, &status.message)
                }
                _ => Judgement::of(Health::Broken, &ended.reason, &ended.message),
            }
        };
    }
    match status.phase.as_str() {
        "Failed" => {
            let reason = match status.reason.as_str() {
                "" => "Failed",
                reason => reason,
            };
            return Judgement::of(Health::Broken, reason, &status.message);
        }
        "Succeeded" => return Judgement::of(Health::Completed, "", ""),
        _ => {}
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Judgement::of(Health::Ending, "", "");
    }
    if let Some(gate) = pod.spec.scheduling_gates.first() {
        let reason = match gate.name.as_str() {
            GATE => "",
            foreign => foreign,
        };
        return Judgement::of(Health::Waiting, reason, "");
    }
    let since = |kind: &str| pod.condition(kind).and_then(|c| c.last_transition_time);
    if let Some(waiting) = waiting {
        match waiting.reason.as_str() {
            "InvalidImageName"
            | "ErrImageNeverPull"
            | "CreateContainerError"
            | "RunContainerError"
            | "CrashLoopBackOff" => {
                return Judgement::of(Health::Broken, &waiting.reason, &waiting.message);
            }
            "ErrImagePull" | "ImagePullBackOff" | "CreateContainerConfigError" => {
                let since = since("PodScheduled").or(pod.metadata.creation_timestamp);
                return Judgement {
                    wrong: since.map(|since| (since, Wrong::Image)),
                    ..Judgement::of(Health::NotReady, &waiting.reason, &waiting.message)
                };
            }
            _ => {}
        }
    }
    let scheduled = pod.condition("PodScheduled");
    if let Some(unscheduled) = scheduled.filter(|c| c.status == "False") {
        let wrong = unscheduled
            .last_transition_time
            .filter(|_| unscheduled.reason == "Unschedulable");
        return Judgement {
            wrong: wrong.map(|since| (since, Wrong::Node)),
            ..Judgement::of(Health::NotReady, &unscheduled.reason, &unscheduled.message)
        };
    }
    let is_ready = pod.condition("Ready").is_some_and(|c| c.status == "True");
    match is_ready {
        true => Judgement::of(Health::Ready, "", ""),
        false => Judgement::of(Health::NotReady, waiting.map_or("", |w| &w.reason), ""),
    }
}

impl Judgement {
    fn of(health: Health, reason: &str, message: &str) -> Self {
        Self {
            health,
            reason: reason.into(),
            message: message.into(),
            exit_code: None,
            wrong: None,
        }
    }
}
