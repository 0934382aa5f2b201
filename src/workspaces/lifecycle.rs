//! One decision: all that is known of one workspace in, everything that it needs now and the next moment to look out.
//!
//! The reconcile loop carries the decision out, `explain` prints it. Neither adds a rule.

use jiff::Timestamp;

use super::decide::{self, BUS_IS_SILENT, Entry, LifecyclePolicy, Wake};
use super::recreate::{self, Record};
use super::services::Served;
use super::sync_services::{self, ServiceSync};
use crate::action::Action;

/// Finds what a Service of a pod serves by the Service's name.
pub type FindService<'a> = dyn Fn(&str) -> Option<Served<'a>> + 'a;

/// What is known of one workspace.
#[derive(Clone, Copy)]
pub struct LifecycleInput<'a> {
    /// Its pod, if there is one.
    pub pod: Option<&'a Entry>,
    /// The record that stands for it while its pod is made again.
    pub record: Option<&'a Record>,
    /// When its user was active last.
    pub activity: Option<Timestamp>,
    /// What a Service of its pod serves by the Service's name; `None` where Services are not known.
    pub services: Option<&'a FindService<'a>>,
}

/// What one workspace needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// The rule that decided.
    pub rule: &'static str,
    /// Writes, in this order; a failed one ends the sequence.
    pub actions: Vec<Action>,
    /// When to look again although nothing happened.
    pub wake_at: Option<Wake>,
    /// The message bus has not confirmed its STOPPED, and the pod waits no longer.
    pub unannounced: bool,
}

/// Decides what a workspace needs at `now`; `None` if there is neither a pod nor a record.
pub fn step(
    input: LifecycleInput<'_>,
    policy: &LifecyclePolicy,
    now: Timestamp,
) -> Option<Decision> {
    if let Some(actions) = recreate::next(input.pod, input.record, policy, now) {
        return Some(Decision {
            rule: "rejected, made again",
            actions,
            ..Decision::default()
        });
    }
    let entry = input.pod?;
    let verdict = decide::decide(entry, input.activity, policy, now);
    let sync = input.services.map_or_else(ServiceSync::default, |served| {
        sync_services::services(entry, policy, now, served)
    });
    let mut actions = verdict.actions;
    actions.extend(sync.action);
    let services = sync.wake_at.map(|at| Wake {
        at,
        reason: "Services looked at again",
        source: "",
    });
    Some(Decision {
        rule: verdict.rule,
        actions,
        wake_at: verdict.wake_at.into_iter().chain(services).min(),
        unannounced: verdict.rule == BUS_IS_SILENT,
    })
}
