//! The end of a session: its pods end, stay readable for a while, and go.

use std::convert::Infallible;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Sessions;
use super::marks::FINALIZER;
use super::status::{self, Outcome};
use super::view::View;
use super::writes::{discard, grace, mark, wake};
use crate::action::{Action, PodChange};
use crate::decision::{Decision, Wake};
use crate::index::noun::{Group, Member as Kept};

/// A pod without its anchor is deleted this long after it was made.
const ORPHANED_AFTER: Duration = Duration::from_secs(60);
/// How long a pod may take beyond its grace to end, before it is deleted.
const END_MARGIN: Duration = Duration::from_secs(60);

/// Pods whose anchor is not there: the start was interrupted, or somebody deleted it without its finalizer.
pub fn orphaned(group: &Group<Sessions>, now: Timestamp) -> Decision<Infallible> {
    let newest = group
        .living()
        .filter_map(|member| member.entry.created)
        .max();
    let at = newest.map(|created| created + ORPHANED_AFTER);
    if let Some(at) = at.filter(|at| *at > now) {
        return Decision {
            rule: "without an anchor",
            wake_at: Some(wake(at, "its pods are deleted")),
            ..Decision::default()
        };
    }
    Decision {
        rule: "orphaned",
        actions: group.living().map(discard).collect(),
        ..Decision::default()
    }
}

/// The session has ended: its pods end, stay readable, and go.
pub fn after(view: &View<'_>, now: Timestamp) -> Decision<Infallible> {
    if view.lead.entry.is_deleting {
        return let_go(view);
    }
    let expires = expires(view);
    if expires.is_some_and(|expires| expires <= now) {
        return discard_all(view, "expired");
    }
    let running: Vec<_> = view
        .living()
        .filter(|member| member.entry.holds_slot && !member.entry.is_gated)
        .collect();
    let (actions, wake_at) = end(view, &running, now);
    let expiry = expires.map(|at| wake(at, "its pods are deleted"));
    Decision {
        rule: match running.is_empty() {
            true => "ended",
            false => "ending",
        },
        actions,
        wake_at: [wake_at, expiry].into_iter().flatten().min(),
        ..Decision::default()
    }
}

/// Deletes all pods, the anchor last: it owns the others.
pub fn discard_all(view: &View<'_>, rule: &'static str) -> Decision<Infallible> {
    let lead = Some(view.lead).filter(|lead| !lead.gone);
    Decision {
        rule,
        actions: view.others().chain(lead).map(discard).collect(),
        ..Decision::default()
    }
}

/// Somebody deletes the anchor of a session that has ended: once nothing of it runs, nothing keeps it.
fn let_go(view: &View<'_>) -> Decision<Infallible> {
    let lead = view.lead;
    let stop = view.others().filter(|member| !member.entry.is_deleting);
    let mut actions: Vec<_> = stop
        .map(|member| Action::Stop(member.pod.clone(), grace()))
        .collect();
    if actions.is_empty() && !lead.entry.holds_slot {
        actions.push(Action::RemoveFinalizer(lead.pod.clone(), FINALIZER));
    }
    Decision {
        rule: "deleted",
        actions,
        ..Decision::default()
    }
}

/// Ends pods: their nodes end the containers, and the objects stay. What has not ended in time is deleted.
fn end(
    view: &View<'_>,
    running: &[&Kept<Sessions>],
    now: Timestamp,
) -> (Vec<Action>, Option<Wake>) {
    let mut actions = Vec::new();
    let mut wake_at = None;
    for member in running {
        let entry = &member.entry;
        let is_lead = member.pod.uid == view.lead.pod.uid;
        if entry.active_deadline != Some(1) {
            let mut change = PodChange {
                active_deadline: Some(1),
                ..PodChange::default()
            };
            if entry.outcome.is_none() && !is_lead {
                change.mark = mark(&Outcome::ended(), now);
            }
            actions.push(Action::ChangePod(member.pod.clone(), change));
            continue;
        }
        let since = entry.outcome_at.unwrap_or(now);
        let limit = since + grace() + END_MARGIN;
        match limit <= now {
            true if entry.is_deleting => {}
            true => actions.push(Action::Stop(member.pod.clone(), Duration::ZERO)),
            false => {
                let at = wake(limit, "a pod that has not ended is deleted");
                wake_at = [wake_at, Some(at)].into_iter().flatten().min();
            }
        }
    }
    (actions, wake_at)
}

/// When an ended session goes.
fn expires(view: &View<'_>) -> Option<Timestamp> {
    let ended = status::end(&view.lead.entry)?;
    let ttl = view.anchor.spec.ttl.as_ref();
    let ttl = SignedDuration::from_secs(ttl.map_or(0, |ttl| ttl.seconds));
    ended.checked_add(ttl).ok()
}
