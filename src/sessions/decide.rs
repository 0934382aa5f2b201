//! What one session needs: the first row that holds decides (docs/protocol.md#lifecycle-of-a-session).

use std::convert::Infallible;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Sessions;
use super::ending;
use super::outcome::Living;
use super::plan;
use super::request::SessionRequest;
use super::rules::SessionRules;
use super::status::Outcome;
use super::view::View;
use super::writes::{mark, release, ungate, wake};
use crate::action::{Action, PodChange};
use crate::decision::Decision;
use crate::index::noun::Group;
use crate::proto::wsman::sessions::v1::Health;

/// The call that starts a session makes its pods; after this long the leader makes those that are missing.
const COMPLETE_AFTER: Duration = Duration::from_secs(15);

/// Decides what a session needs. `has_service` says whether its Service is there; `None` where that is not known.
pub fn decide(
    group: &Group<Sessions>,
    has_service: Option<bool>,
    rules: &SessionRules,
    now: Timestamp,
) -> Decision<Infallible> {
    let Some(view) = View::of(group).filter(|_| group.is_led()) else {
        return ending::orphaned(group, now);
    };
    let session = Living {
        view: &view,
        rules,
        now,
    };
    if view.lead.gone {
        return ending::discard_all(&view, "anchor gone");
    }
    if view.is_over() {
        return ending::after(&view, now);
    }
    if let Some((rule, outcome)) = session.outcome() {
        return session.record(rule, &outcome);
    }
    match view.is_admitted() {
        false => session.complete(has_service),
        true => session.provision(),
    }
}

impl Living<'_> {
    /// Records how the session ended, unless its decider did that meanwhile.
    fn record(&self, rule: &'static str, outcome: &Outcome<'_>) -> Decision<Infallible> {
        let lead = self.view.lead;
        let change = PodChange::mark_at(lead.version.to_string(), mark(outcome, self.now));
        Decision {
            rule,
            actions: vec![Action::ChangePod(lead.pod.clone(), change)],
            ..Decision::default()
        }
    }

    /// Makes what an interrupted start left out.
    fn complete(&self, has_service: Option<bool>) -> Decision<Infallible> {
        let view = self.view;
        if view.is_complete() && has_service != Some(false) {
            return Decision {
                rule: "queued",
                ..Decision::default()
            };
        }
        let created = view.lead.entry.created.unwrap_or(self.now);
        let at = created + COMPLETE_AFTER;
        if at > self.now {
            return Decision {
                rule: "starting",
                wake_at: Some(wake(at, "missing pods are created")),
                ..Decision::default()
            };
        }
        let request = SessionRequest {
            id: view.id().to_owned(),
            spec: (*view.anchor.spec).clone(),
            fingerprint: view.anchor.fingerprint.clone(),
        };
        let enqueued = view.anchor.enqueued_at.unwrap_or(created);
        let Ok(plan) = plan::plan(&request, self.rules, enqueued) else {
            let outcome = Outcome::new("Unreadable", "its spec makes no pods".to_owned());
            return self.record("unreadable", &outcome);
        };
        let is_there = |name: &str| view.living().any(|member| member.pod.name == name);
        Decision {
            rule: "incomplete",
            actions: plan.dependants(&view.lead.pod, is_there),
            ..Decision::default()
        }
    }

    /// An admitted session: its workers lose their gates, then its decider, then its deadline counts.
    fn provision(&self) -> Decision<Infallible> {
        let view = self.view;
        if let Some(since) = view.running_since() {
            return self.run(since);
        }
        let all_gated = view.living().all(|member| member.entry.is_gated);
        let wake_at = self.next_limit();
        if all_gated && view.seen.len() > 1 {
            // The pass over all sessions takes off the first gate: only it knows whether the machines are there.
            return Decision {
                rule: "admitted",
                wake_at,
                ..Decision::default()
            };
        }
        let gated = view.others().filter(|member| member.entry.is_gated);
        let mut actions: Vec<_> = gated.map(ungate).collect();
        let are_ready = view.workers().all(|seen| {
            let member = seen.pod.entry();
            member.is_some_and(|member| {
                matches!(member.health.health, Health::Ready | Health::Completed)
            })
        });
        if are_ready && view.lead.entry.is_gated {
            actions.push(release(view.lead, self.now));
        }
        Decision {
            rule: match are_ready {
                true => "released",
                false => "provisioning",
            },
            actions,
            wake_at,
            ..Decision::default()
        }
    }

    /// A running session: its nodes get to know when it must end.
    fn run(&self, since: Timestamp) -> Decision<Infallible> {
        let deadline = self.view.anchor.spec.deadline.as_ref();
        let deadline = SignedDuration::from_secs(deadline.map_or(0, |deadline| deadline.seconds));
        let must_end = since.checked_add(deadline).unwrap_or(Timestamp::MAX);
        let actions = self.view.living().filter_map(|member| {
            let entry = &member.entry;
            let taken = entry.taken.filter(|_| entry.holds_slot)?;
            let seconds = must_end.duration_since(taken).as_secs().max(1);
            let lower = entry.active_deadline.is_none_or(|now| now > seconds);
            lower.then(|| {
                let change = PodChange {
                    active_deadline: Some(seconds),
                    ..PodChange::default()
                };
                Action::ChangePod(member.pod.clone(), change)
            })
        });
        Decision {
            rule: "running",
            actions: actions.collect(),
            ..Decision::default()
        }
    }
}
