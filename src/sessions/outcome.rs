//! How a session ends that its decider does not end: the first row that holds decides
//! (docs/protocol.md#lifecycle-of-a-session).

use jiff::Timestamp;

use super::member::{Member, Wrong};
use super::rules::SessionRules;
use super::status::{Outcome, Pod, Seen};
use super::view::View;
use super::writes::wake;
use crate::decision::Wake;
use crate::proto::wsman::sessions::v1::Health;

/// A session that has not ended.
#[derive(Debug, Clone, Copy)]
pub struct Living<'a> {
    pub view: &'a View<'a>,
    pub rules: &'a SessionRules,
    pub now: Timestamp,
}

/// A rule, and how it ends the session.
pub type Ruled = (&'static str, Outcome<'static>);

impl Living<'_> {
    /// Returns how the session ends, if it does, and by which rule.
    pub fn outcome(&self) -> Option<Ruled> {
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
        if self.provisioned_by().is_none_or(|limit| limit > self.now) {
            return None;
        }
        let why = format!(
            "not all components were ready {} s after the admission",
            self.rules.provisioning.as_secs()
        );
        Some(("provisioning", Outcome::new("ProvisioningTimeout", why)))
    }

    /// A component whose pod or node is gone before its end, or of which an admitted session has none.
    fn lost(&self, seen: &Seen<'_>) -> Option<Ruled> {
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
            Pod::There(member, bound) if member.node_is_lost && !member.is_over() => {
                let why = format!("node {} of component {name} is gone", bound.node);
                Some(("node lost", Outcome::new("NodeLost", why)))
            }
            Pod::Missing if self.view.is_admitted() => {
                let why = format!("component {name} has no pod");
                Some(("gang broken", Outcome::new("GangBroken", why)))
            }
            _ => None,
        }
    }

    /// A component that failed, or for which something was wrong for too long.
    fn failed(&self, seen: &Seen<'_>) -> Option<Ruled> {
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
        let (wrong, limit) = self.wrong_until(member)?;
        if limit > self.now {
            return None;
        }
        let why = format!("component {name}: {}: {}", health.reason, health.message);
        Some(match wrong {
            Wrong::Image => ("image", Outcome::new(health.reason.to_string(), why)),
            Wrong::Node => ("gang broken", Outcome::new("GangBroken", why)),
        })
    }

    /// What is wrong with a component, and until when it may be. The time before the admission does not count.
    fn wrong_until(&self, member: &Member) -> Option<(Wrong, Timestamp)> {
        let (since, wrong) = member.health.wrong?;
        let admitted = self.view.anchor.admitted_at;
        let since = admitted.map_or(since, |at| at.max(since));
        let limit = match wrong {
            Wrong::Image => self.rules.image,
            Wrong::Node => self.rules.unschedulable,
        };
        Some((wrong, since + limit))
    }

    /// When an admitted session that does not run yet must run.
    fn provisioned_by(&self) -> Option<Timestamp> {
        let is_running = self.view.running_since().is_some();
        let admitted = self.view.anchor.admitted_at.filter(|_| !is_running)?;
        Some(admitted + self.rules.provisioning)
    }

    /// The earliest moment at which an admitted session fails.
    pub fn next_limit(&self) -> Option<Wake> {
        let wrong = self.view.seen.iter().filter_map(|seen| {
            let (_, limit) = self.wrong_until(seen.pod.entry()?)?;
            Some(wake(limit, "it fails"))
        });
        let provisioning = self.provisioned_by();
        let provisioning = provisioning.map(|at| wake(at, "it fails"));
        wrong.chain(provisioning).min()
    }
}
