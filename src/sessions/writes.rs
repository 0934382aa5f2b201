//! The writes to the pods of a session, and how they say why.

use std::time::Duration;

use jiff::Timestamp;

use super::Sessions;
use super::marks::{FINALIZER, annotation};
use super::plan::GRACE_SECONDS;
use super::status::Outcome;
use crate::action::{Action, Discard, Mark, PodChange};
use crate::decision::Wake;
use crate::index::noun::Member as Kept;

/// Takes the gate off a pod.
pub fn ungate(member: &Kept<Sessions>) -> Action {
    ungate_with(member, Mark::default())
}

/// Takes the gate off the decider, and says when.
pub fn release(lead: &Kept<Sessions>, now: Timestamp) -> Action {
    let mark = Mark::put(annotation::RELEASED_AT, Some(now.to_string()));
    ungate_with(lead, mark)
}

/// Gates of others stay.
fn ungate_with(member: &Kept<Sessions>, mark: Mark) -> Action {
    let foreign = member.entry.foreign_gates.iter();
    let change = PodChange {
        gates: Some(foreign.map(|gate| gate.to_string()).collect()),
        mark,
        ..PodChange::default()
    };
    Action::ChangePod(member.pod.clone(), change)
}

/// Deletes a pod for good.
pub fn discard(member: &Kept<Sessions>) -> Action {
    Action::Discard(Discard {
        pod: member.pod.clone(),
        finalizer: FINALIZER,
        version: None,
        unless: None,
    })
}

/// Says why a pod ends, and when that was decided.
pub fn mark(outcome: &Outcome<'_>, now: Timestamp) -> Mark {
    let mut mark = Mark::put(annotation::OUTCOME, Some(outcome.text()));
    mark.set
        .insert(annotation::OUTCOME_AT.to_owned(), now.to_string());
    mark
}

/// How long a component has to end.
pub fn grace() -> Duration {
    Duration::from_secs(GRACE_SECONDS.unsigned_abs())
}

/// Returns a moment at which a session is looked at again.
pub fn wake(at: Timestamp, reason: &'static str) -> Wake {
    Wake {
        at,
        reason,
        source: "",
    }
}
