//! One decision: all that is known of one workspace in, everything that it needs now and the next moment to look out.
//!
//! The reconcile loop carries the decision out, `explain` prints it. Neither adds a rule.

use jiff::Timestamp;

use super::content::step::Step;
use super::decide::{self, BUS_IS_SILENT, LifecyclePolicy};
use super::entry::Workspace;
use super::{recreate, sync_services};
use crate::decision::{Decision, Wake};
use crate::index::noun::Group;
use crate::index::served::Served;

/// Finds what a Service of a workspace serves by the Service's name.
pub type FindService<'a> = dyn Fn(&str) -> Option<Served<'a>> + 'a;

/// What is known of one workspace.
#[derive(Clone, Copy)]
pub struct LifecycleInput<'a> {
    /// Its pods.
    pub group: &'a Group<Workspace>,
    /// When its user was active last.
    pub activity: Option<Timestamp>,
    /// What a Service of it serves by the Service's name; `None` where Services are not known.
    pub services: Option<&'a FindService<'a>>,
}

/// Decides what a workspace needs at `now`.
pub fn step(
    input: &LifecycleInput<'_>,
    policy: &LifecyclePolicy,
    now: Timestamp,
) -> Decision<Step> {
    let group = input.group;
    if let Some(decision) = recreate::step(group) {
        return decision;
    }
    let mut decision = decide::decide(group, input.activity, policy, now);
    recreate::before_release(group, &mut decision.actions, now);
    let sync = input
        .services
        .map(|served| sync_services::step(group, policy, now, served));
    let sync = sync.unwrap_or_default();
    decision.actions.extend(sync.action);
    let services = sync.wake_at.map(|at| Wake {
        at,
        reason: "Services looked at again",
        source: "",
    });
    decision.wake_at = decision.wake_at.into_iter().chain(services).min();
    decision.unannounced = decision.rule == BUS_IS_SILENT;
    decision
}
