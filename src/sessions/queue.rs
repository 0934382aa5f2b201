//! What a pass over all sessions decides: who is admitted, and who begins.

use std::convert::Infallible;
use std::sync::Arc;

use jiff::Timestamp;

use super::Sessions;
use super::admission::{Discipline, Pass, Supply};
use super::marks::annotation;
use super::survey::Survey;
use super::writes::{release, ungate};
use crate::action::{Action, Mark, PodChange};
use crate::decision::{Decision, Together};
use crate::index::noun::Group;

impl Survey<'_> {
    /// Decides on all sessions at once: those that were admitted begin if there are machines for all of them, and those that
    /// wait are admitted to what is left.
    ///
    /// A leader whose lease has ended may have admitted others at the same moment. Their marks are known by now: a session
    /// is decided on when the watch has its newest version, and so everything that was written before. What does not fit
    /// together goes back into the queue before any of it begins.
    pub fn together(&self, now: Timestamp) -> Together<Infallible> {
        let mut free: Vec<u32> = self.supplies.iter().map(Supply::free).collect();
        let mut wanted = vec![0_u32; free.len()];
        for (pool, need) in self.fresh.iter().flat_map(|fresh| &fresh.needs) {
            wanted[*pool] += need;
        }
        let mut decisions = Vec::new();
        for fresh in &self.fresh {
            let fits = fresh
                .needs
                .iter()
                .all(|(pool, _)| wanted[*pool] <= free[*pool]);
            if fresh.group.is_ahead() {
                continue;
            }
            let decision = match fits {
                true => begin(fresh.group, now),
                false => withdraw(fresh.group),
            };
            decisions.push((Arc::clone(&fresh.group.key), decision));
        }
        for (free, wanted) in free.iter_mut().zip(&wanted) {
            *free = free.saturating_sub(*wanted);
        }
        let pass = self.pass(&free, now);
        for place in pass.admitted() {
            let group = self.groups[place];
            if !group.is_ahead() {
                decisions.push((Arc::clone(&group.key), admit(group, now)));
            }
        }
        Together {
            decisions,
            wake_at: self.next_barrier(&pass, now),
        }
    }

    /// The earliest moment at which a session that waits lets nothing pass.
    fn next_barrier(&self, pass: &Pass, now: Timestamp) -> Option<Timestamp> {
        let barriers = self
            .waiting
            .iter()
            .zip(&pass.outcomes)
            .filter_map(|(waiting, outcome)| {
                let Discipline::Backfill { barrier } = self.queues[waiting.queue].discipline else {
                    return None;
                };
                let at = waiting.enqueued_at + barrier;
                (outcome.is_err() && at > now).then_some(at)
            });
        barriers.min()
    }
}

/// Commits to the admission of a session.
fn admit(group: &Group<Sessions>, now: Timestamp) -> Decision<Infallible> {
    change(
        "admit",
        group,
        Mark::put(annotation::ADMITTED_AT, Some(now.to_string())),
    )
}

/// Puts an admitted session back that has not begun.
fn withdraw(group: &Group<Sessions>) -> Decision<Infallible> {
    change("withdraw", group, Mark::put(annotation::ADMITTED_AT, None))
}

fn change(rule: &'static str, group: &Group<Sessions>, mark: Mark) -> Decision<Infallible> {
    let lead = group.members().find(|member| *member.pod.uid == *group.key);
    let change = lead.map(|lead| {
        let change = PodChange::mark_at(lead.version.to_string(), mark);
        Action::ChangePod(lead.pod.clone(), change)
    });
    Decision {
        rule,
        actions: change.into_iter().collect(),
        ..Decision::default()
    }
}

/// Takes the gates off the workers of an admitted session; off its decider, if it has no others.
fn begin(group: &Group<Sessions>, now: Timestamp) -> Decision<Infallible> {
    let is_lead = |uid: &str| *uid == *group.key;
    let mut actions: Vec<_> = group
        .living()
        .filter(|member| !is_lead(&member.pod.uid))
        .map(ungate)
        .collect();
    if actions.is_empty() {
        actions = group.living().map(|lead| release(lead, now)).collect();
    }
    Decision {
        rule: "begin",
        actions,
        ..Decision::default()
    }
}
