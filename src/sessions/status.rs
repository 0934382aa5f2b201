//! The status of a session: what its pods come to, in one version.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use jiff::Timestamp;
use pbjson_types::Timestamp as WireTime;

use super::member::{Anchor, Member};
use crate::proto::wsman::sessions::v1::{
    Component, ComponentStatus, Health, Phase, SessionStatus, Times,
};

/// A component of the spec, and its pod as far as it was seen.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub component: &'a Component,
    pub pod: Pod<'a>,
}

/// What became of the pod of a component.
#[derive(Debug, Clone, Copy)]
pub enum Pod<'a> {
    /// It was not made yet.
    Missing,
    There(&'a Member, Bound<'a>),
    /// It was deleted, and this is what it was last.
    Gone(&'a Member, Bound<'a>),
}

/// Where the pod of a component is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bound<'a> {
    pub pod: &'a str,
    /// Empty before it is bound.
    pub node: &'a str,
}

impl Pod<'_> {
    fn is_there(self) -> bool {
        matches!(self, Self::There(..))
    }
}

/// Why a session ended, as wsman recorded it on the anchor: `<Reason>: <message>`.
pub struct Outcome<'a> {
    pub reason: Cow<'a, str>,
    pub message: Cow<'a, str>,
}

impl<'a> Outcome<'a> {
    /// What ends the sessions that were stopped by request.
    pub const CANCELLED: &'static str = "Cancelled";

    /// Reads the annotation.
    pub fn read(text: &'a str) -> Self {
        let (reason, message) = text.split_once(": ").unwrap_or((text, ""));
        Self {
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// Returns one to record.
    pub fn new(reason: impl Into<Cow<'a, str>>, message: impl Into<Cow<'a, str>>) -> Self {
        Self {
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// Returns that of a pod whose session has ended.
    pub fn ended() -> Self {
        Self::new("SessionEnded", "the session ended")
    }

    /// Returns the annotation.
    pub fn text(&self) -> String {
        format!("{}: {}", self.reason, self.message)
    }
}

/// Folds a session: the first row that holds decides (docs/protocol.md#phases-of-a-session). `seen` are all components, in
/// the order of the spec; `decider` is the place of the deciding one.
pub fn fold(anchor: &Anchor, seen: &[Seen<'_>], decider: usize, version: u64) -> SessionStatus {
    let judged = judge(anchor, seen, decider);
    let components: Vec<_> = seen.iter().map(component).collect();
    let decides = seen.get(decider).and_then(|seen| seen.pod.entry());
    let done = matches!(
        judged.phase,
        Phase::Succeeded | Phase::Failed | Phase::Cancelled
    );
    let finished = decides.and_then(end);
    let running = decides
        .and_then(|member| member.started)
        .map(|started| anchor.released_at.map_or(started, |at| at.max(started)));
    // Kubernetes has whole seconds.
    let running = running.map(|at| anchor.admitted_at.map_or(at, |admitted| admitted.max(at)));
    let finished = finished.map(|at| running.map_or(at, |running| running.max(at)));
    let finished = finished.filter(|_| done);
    let ttl = anchor.spec.ttl.as_ref().map_or(0, |ttl| ttl.seconds);
    let expires = finished.and_then(|at| at.checked_add(jiff::SignedDuration::from_secs(ttl)).ok());
    SessionStatus {
        phase: judged.phase.into(),
        reason: judged.reason,
        message: judged.message,
        components,
        queue: None,
        times: Some(Times {
            enqueued: anchor.enqueued_at.map(wire),
            admitted: anchor.admitted_at.map(wire),
            running: running.map(wire),
            finished: finished.map(wire),
            expires: expires.map(wire),
        }),
        done,
        version,
        result: decides
            .map(|member| member.health.message.to_string())
            .unwrap_or_default(),
        exit_code: decides.and_then(|member| member.health.exit_code),
    }
}

/// The status of a session whose anchor is gone before its end.
pub fn lost(status: SessionStatus, anchor: &str) -> SessionStatus {
    SessionStatus {
        phase: Phase::Failed.into(),
        reason: "Lost".to_owned(),
        message: format!("pod {anchor} was deleted"),
        done: true,
        ..status
    }
}

struct Judged {
    phase: Phase,
    reason: String,
    message: String,
}

impl Judged {
    fn new(phase: Phase, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            phase,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

fn judge(anchor: &Anchor, seen: &[Seen<'_>], decider: usize) -> Judged {
    let decides = seen.get(decider).and_then(|seen| seen.pod.entry());
    let Some(decides) = decides else {
        return Judged::new(Phase::Failed, "Unreadable", anchor.unreadable.clone());
    };
    // What wsman recorded is final: whatever the decider does while it is being ended.
    if let Some(outcome) = decides.outcome.as_deref().map(Outcome::read) {
        let runs = seen.iter().any(|seen| {
            seen.pod.is_there()
                && seen
                    .pod
                    .entry()
                    .is_some_and(|m| m.holds_slot && !m.is_gated)
        });
        let phase = match (&*outcome.reason, runs) {
            (Outcome::CANCELLED, true) => Phase::Stopping,
            (Outcome::CANCELLED, false) => Phase::Cancelled,
            _ => Phase::Failed,
        };
        return Judged::new(phase, outcome.reason, outcome.message);
    }
    match decides.health.health {
        Health::Completed => return Judged::new(Phase::Succeeded, "", ""),
        Health::Broken => {
            let message = match decides.health.exit_code {
                Some(code) => format!("its decider ended with exit code {code}"),
                None => format!("its decider failed: {}", decides.health.message),
            };
            return Judged::new(Phase::Failed, &*decides.health.reason, message);
        }
        _ => {}
    }
    if let Some(why) = &anchor.stop {
        return Judged::new(Phase::Stopping, Outcome::CANCELLED, why.clone());
    }
    if anchor.admitted_at.is_none() {
        return Judged::new(Phase::Queued, "", "");
    }
    let away = seen.iter().find_map(|seen| {
        let member = seen.pod.entry().filter(|member| member.node_is_away)?;
        Some(&*member.component)
    });
    let runs = anchor.released_at.is_some() && decides.started.is_some();
    match (runs, away) {
        (_, Some(component)) => {
            let message = format!("the node of component {component} is not ready");
            Judged::new(Phase::Interrupted, "NodeNotReady", message)
        }
        (true, None) => Judged::new(Phase::Running, "", ""),
        (false, None) => {
            let waits = seen.iter().find(|seen| {
                let member = seen.pod.entry();
                member.is_none_or(|member| member.health.health != Health::Ready)
            });
            let message = waits.map(|seen| waiting_for(seen)).unwrap_or_default();
            Judged::new(Phase::Provisioning, "", message)
        }
    }
}

fn waiting_for(seen: &Seen<'_>) -> String {
    let name = &seen.component.name;
    let health = seen.pod.entry().map(|member| &member.health);
    match health.filter(|health| !health.reason.is_empty()) {
        Some(health) => format!("component {name} is not ready: {}", health.reason),
        None => format!("component {name} is not ready"),
    }
}

fn component(seen: &Seen<'_>) -> ComponentStatus {
    let component = seen.component;
    let mut status = ComponentStatus {
        name: component.name.clone(),
        role: component.role.clone(),
        pool: component.pool.clone(),
        health: Health::Waiting.into(),
        ..ComponentStatus::default()
    };
    let (Pod::There(member, bound) | Pod::Gone(member, bound)) = seen.pod else {
        return status;
    };
    let health = &member.health;
    bound.pod.clone_into(&mut status.pod);
    bound.node.clone_into(&mut status.node);
    status.health = health.health.into();
    status.reason = health.reason.to_string();
    status.message = health.message.to_string();
    status.exit_code = health.exit_code;
    status.started = member.started.map(wire);
    status.finished = member.finished.map(wire);
    if !seen.pod.is_there() && !member.is_over() {
        status.health = Health::Broken.into();
        "Lost".clone_into(&mut status.reason);
        "its pod was deleted before it ended".clone_into(&mut status.message);
    }
    if let Some(outcome) = member.outcome.as_deref().map(Outcome::read) {
        // What people are to see is why it was ended, and not the word of the kubelet for it.
        status.reason = outcome.reason.into_owned();
        status.message = outcome.message.into_owned();
    }
    status
}

/// When a session ended, by the pod of its decider.
pub fn end(decider: &Member) -> Option<Timestamp> {
    let ended = decider.finished.or(decider.changed).or(decider.created);
    match decider.outcome {
        Some(_) => decider.outcome_at.or(ended),
        None => ended,
    }
}

/// Returns a time as the wire has it.
pub fn wire(at: Timestamp) -> WireTime {
    WireTime {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond(),
    }
}
