//! What one session needs: the first row that holds decides (docs/protocol.md#lifecycle-of-a-session).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::marks::{FINALIZER, annotation};
use super::member::{Member, Wrong};
use super::noun::Sessions;
use super::plan::{self, GRACE_SECONDS};
use super::request::SessionRequest;
use super::rules::SessionRules;
use super::status::{Outcome, Pod, Seen};
use super::step::Step;
use super::view::View;
use crate::action::{Action, Dependant, Discard, Mark, PodChange};
use crate::decision::{Decision, Wake};
use crate::index::noun::{Group, Member as Kept};
use crate::proto::wsman::sessions::v1::Health;

/// The call that starts a session makes its pods; after this long the leader makes those that are missing.
const COMPLETE_AFTER: Duration = Duration::from_secs(15);
/// A pod without its anchor is deleted this long after it was made.
const ORPHANED_AFTER: Duration = Duration::from_secs(60);
/// How long a pod may take beyond its grace to end, before it is deleted.
const END_MARGIN: Duration = Duration::from_secs(60);

/// Decides what a session needs. `has_service` says whether its Service is there; `None` where that is not known.
pub fn decide(
    group: &Group<Sessions>,
    has_service: Option<bool>,
    rules: &SessionRules,
    now: Timestamp,
) -> Decision<Step> {
    let Some(view) = View::of(group).filter(|_| group.is_led()) else {
        return orphaned(group, now);
    };
    let session = Session {
        view: &view,
        rules,
        now,
    };
    if view.lead.gone {
        return session.discard("anchor gone");
    }
    if view.is_over() {
        return session.after_its_end();
    }
    if let Some((rule, outcome)) = session.outcome() {
        return session.record(rule, &outcome);
    }
    match view.is_admitted() {
        false => session.complete(has_service),
        true => session.provision(),
    }
}

/// Pods whose anchor is not there: the start was interrupted, or somebody deleted it without its finalizer.
fn orphaned(group: &Group<Sessions>, now: Timestamp) -> Decision<Step> {
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
        actions: group.living().map(|member| discard(member)).collect(),
        ..Decision::default()
    }
}

fn discard(member: &Kept<Sessions>) -> Action {
    Action::Discard(Discard {
        pod: member.pod.clone(),
        finalizer: FINALIZER,
        version: None,
        unless: None,
    })
}

fn wake(at: Timestamp, reason: &'static str) -> Wake {
    Wake {
        at,
        reason,
        source: "",
    }
}

struct Session<'a> {
    view: &'a View<'a>,
    rules: &'a SessionRules,
    now: Timestamp,
}

impl Session<'_> {
    /// Deletes all pods, the anchor last: it owns the others.
    fn discard(&self, rule: &'static str) -> Decision<Step> {
        let living = || self.view.living();
        let others = living().filter(|member| member.pod.uid != self.view.lead.pod.uid);
        let lead = living().filter(|member| member.pod.uid == self.view.lead.pod.uid);
        Decision {
            rule,
            actions: others.chain(lead).map(discard).collect(),
            ..Decision::default()
        }
    }

    /// The session has ended: its pods end, stay readable, and go.
    fn after_its_end(&self) -> Decision<Step> {
        let view = self.view;
        if view.lead.entry.is_deleting {
            return self.let_go();
        }
        let expires = self.expires();
        if let Some(expires) = expires.filter(|expires| *expires <= self.now) {
            let _ = expires;
            return self.discard("expired");
        }
        let running: Vec<_> = view
            .living()
            .filter(|member| member.entry.holds_slot && !member.entry.is_gated)
            .collect();
        let (actions, wake_at) = self.end(&running);
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

    /// Somebody deletes the anchor of a session that has ended: once nothing of it runs, nothing keeps it.
    fn let_go(&self) -> Decision<Step> {
        let lead = self.view.lead;
        let others = self
            .view
            .living()
            .filter(|member| member.pod.uid != lead.pod.uid);
        let stop = others.filter(|member| !member.entry.is_deleting);
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
    fn end(&self, running: &[&Kept<Sessions>]) -> (Vec<Action>, Option<Wake>) {
        let mut actions = Vec::new();
        let mut wake_at = None;
        for member in running {
            let entry = &member.entry;
            let is_lead = member.pod.uid == self.view.lead.pod.uid;
            if entry.active_deadline != Some(1) {
                let mut change = PodChange {
                    active_deadline: Some(1),
                    ..PodChange::default()
                };
                if entry.outcome.is_none() && !is_lead {
                    change.mark = mark(&Outcome::ended(), self.now);
                }
                actions.push(Action::ChangePod(member.pod.clone(), change));
                continue;
            }
            let since = entry.outcome_at.unwrap_or(self.now);
            let limit = since + grace() + END_MARGIN;
            match limit <= self.now {
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
    fn expires(&self) -> Option<Timestamp> {
        let ended = super::status::end(&self.view.lead.entry)?;
        let ttl = self.view.anchor.spec.ttl.as_ref();
        let ttl = SignedDuration::from_secs(ttl.map_or(0, |ttl| ttl.seconds));
        ended.checked_add(ttl).ok()
    }

    /// Records how the session ended, unless its decider did that meanwhile.
    fn record(&self, rule: &'static str, outcome: &Outcome<'_>) -> Decision<Step> {
        let lead = self.view.lead;
        let change = PodChange::mark_at(lead.version.to_string(), mark(outcome, self.now));
        Decision {
            rule,
            actions: vec![Action::ChangePod(lead.pod.clone(), change)],
            ..Decision::default()
        }
    }

    /// Returns how the session ends, if it does, and by which rule.
    fn outcome(&self) -> Option<(&'static str, Outcome<'static>)> {
        let view = self.view;
        if !view.anchor.unreadable.is_empty() {
            let why = view.anchor.unreadable.clone();
            return Some(("unreadable", Outcome::new("Unreadable", why)));
        }
        if view.lead.entry.is_deleting {
            let why = format!("pod {} was deleted", view.lead.pod.name);
            return Some(("anchor deleted", Outcome::new("Deleted", why)));
        }
        if let Some(stop) = &view.anchor.stop {
            let outcome = Outcome::new(Outcome::CANCELLED, stop.clone());
            return Some(("stop requested", outcome));
        }
        for seen in &view.seen {
            if let Some(lost) = self.lost(seen) {
                return Some(lost);
            }
        }
        if !view.is_admitted() {
            return None;
        }
        for seen in &view.seen {
            if let Some(failed) = self.failed(seen) {
                return Some(failed);
            }
        }
        let limit = self.provisioned_by().filter(|limit| *limit <= self.now)?;
        let _ = limit;
        let why = format!(
            "not all components were ready {} s after the admission",
            self.rules.provisioning.as_secs()
        );
        Some(("provisioning", Outcome::new("ProvisioningTimeout", why)))
    }

    /// A component whose pod is gone before its end, or of which an admitted session has none.
    fn lost(&self, seen: &Seen<'_>) -> Option<(&'static str, Outcome<'static>)> {
        let name = &seen.component.name;
        match seen.pod {
            Pod::Gone(member, _) if !member.is_over() => {
                let why = format!("the pod of component {name} was deleted");
                Some(("component lost", Outcome::new("Lost", why)))
            }
            Pod::There(member, _) if member.is_deleting && !member.is_over() => {
                let why = format!("the pod of component {name} is being deleted");
                Some(("component lost", Outcome::new("Lost", why)))
            }
            Pod::Missing if self.view.is_admitted() => {
                let why = format!("component {name} has no pod");
                Some(("gang broken", Outcome::new("GangBroken", why)))
            }
            _ => None,
        }
    }

    /// A component that failed, or for which something was wrong for too long.
    fn failed(&self, seen: &Seen<'_>) -> Option<(&'static str, Outcome<'static>)> {
        let Pod::There(member, _) = seen.pod else {
            return None;
        };
        let name = &seen.component.name;
        let health = &member.health;
        if health.health == Health::Broken {
            let mut why = format!("component {name} failed");
            if let Some(code) = health.exit_code {
                why = format!("component {name} ended with exit code {code}");
            }
            if !health.message.is_empty() {
                why = format!("{why}: {}", health.message);
            }
            let reason = match &*health.reason {
                "" | "Error" => "ComponentFailed".to_owned(),
                reason => reason.to_owned(),
            };
            return Some(("component failed", Outcome::new(reason, why)));
        }
        let (since, wrong) = health.wrong?;
        let (limit, rule) = match wrong {
            Wrong::Image => (self.rules.image, "image"),
            Wrong::Node => (self.rules.unschedulable, "gang broken"),
        };
        // What was wrong while it waited for its admission does not count.
        let since = self
            .view
            .anchor
            .admitted_at
            .map_or(since, |at| at.max(since));
        if since + limit > self.now {
            return None;
        }
        let why = format!("component {name}: {}: {}", health.reason, health.message);
        let reason = match wrong {
            Wrong::Image => health.reason.to_string(),
            Wrong::Node => "GangBroken".to_owned(),
        };
        Some((rule, Outcome::new(reason, why)))
    }

    /// When an admitted session that does not run yet must run.
    fn provisioned_by(&self) -> Option<Timestamp> {
        let is_running = self.view.running_since().is_some();
        let admitted = self.view.anchor.admitted_at.filter(|_| !is_running)?;
        Some(admitted + self.rules.provisioning)
    }

    /// Makes what an interrupted start left out.
    fn complete(&self, has_service: Option<bool>) -> Decision<Step> {
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
        let service = Dependant::Service(Box::new(plan.service));
        let mut actions = vec![Action::CreateDependant(view.lead.pod.clone(), service)];
        let missing = view
            .seen
            .iter()
            .filter(|seen| matches!(seen.pod, Pod::Missing));
        let missing: Vec<_> = missing
            .map(|seen| plan::pod_name(view.id(), &seen.component.name, &view.anchor.spec.decider))
            .collect();
        let pods = plan.members.into_iter().filter(|pod| {
            let name = pod.metadata.name.as_ref();
            name.is_some_and(|name| missing.contains(name))
        });
        actions.extend(pods.map(|pod| {
            let pod = plan::owned(pod, &view.lead.pod);
            Action::CreatePod(Box::new(pod))
        }));
        Decision {
            rule: "incomplete",
            actions,
            ..Decision::default()
        }
    }

    /// An admitted session: its workers lose their gates, then its decider, then its deadline counts.
    fn provision(&self) -> Decision<Step> {
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
        let gated = |seen: &&Seen<'_>| seen.pod.entry().is_some_and(|member| member.is_gated);
        let mut actions: Vec<_> = view
            .workers()
            .filter(gated)
            .filter_map(|seen| self.kept(seen))
            .map(ungate)
            .collect();
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

    /// The earliest moment at which an admitted session fails.
    fn next_limit(&self) -> Option<Wake> {
        let wrong = self.view.seen.iter().filter_map(|seen| {
            let (since, wrong) = seen.pod.entry()?.health.wrong?;
            let since = self
                .view
                .anchor
                .admitted_at
                .map_or(since, |at| at.max(since));
            let limit = match wrong {
                Wrong::Image => self.rules.image,
                Wrong::Node => self.rules.unschedulable,
            };
            Some(wake(since + limit, "it fails"))
        });
        let provisioning = self.provisioned_by();
        let provisioning = provisioning.map(|at| wake(at, "it fails"));
        wrong.chain(provisioning).min()
    }

    /// A running session: its nodes get to know when it must end.
    fn run(&self, since: Timestamp) -> Decision<Step> {
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

    fn kept(&self, seen: &Seen<'_>) -> Option<&Kept<Sessions>> {
        let Pod::There(_, bound) = seen.pod else {
            return None;
        };
        self.view
            .group
            .living()
            .find(|member| member.pod.name == bound.pod)
    }
}

/// Takes the gate off a pod.
pub fn ungate(member: &Kept<Sessions>) -> Action {
    Action::ChangePod(
        member.pod.clone(),
        PodChange {
            gates: Some(foreign(&member.entry)),
            ..PodChange::default()
        },
    )
}

/// Takes the gate off the decider, and says when.
pub fn release(lead: &Kept<Sessions>, now: Timestamp) -> Action {
    Action::ChangePod(
        lead.pod.clone(),
        PodChange {
            gates: Some(foreign(&lead.entry)),
            mark: Mark::put(annotation::RELEASED_AT, Some(now.to_string())),
            ..PodChange::default()
        },
    )
}

fn foreign(entry: &Member) -> Vec<String> {
    entry
        .foreign_gates
        .iter()
        .map(|gate| gate.to_string())
        .collect()
}

fn mark(outcome: &Outcome<'_>, now: Timestamp) -> Mark {
    let mut mark = Mark::put(annotation::OUTCOME, Some(outcome.text()));
    mark.set
        .insert(annotation::OUTCOME_AT.to_owned(), now.to_string());
    mark
}

fn grace() -> Duration {
    Duration::from_secs(GRACE_SECONDS.unsigned_abs())
}
