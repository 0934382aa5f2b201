//! What the lifecycle decides about a workspace that the index knows.

use jiff::Timestamp;

use super::Index;
use crate::workspaces::activity::last_activity::LastActivity;
use crate::workspaces::decide::{Entry, LifecyclePolicy};
use crate::workspaces::lifecycle::{self, Decision, LifecycleInput};
use crate::workspaces::services::Served;

impl Index {
    /// Decides what the workspace under a pod's name needs; `None` if there is none.
    pub fn decide(
        &self,
        name: &str,
        last_activity: &LastActivity,
        policy: &LifecyclePolicy,
        now: Timestamp,
    ) -> Option<Decision> {
        self.decide_seen(name, last_activity, policy, now, &|_, _| {})
    }

    /// Decides, and tells which Services it looked at.
    pub(super) fn decide_seen(
        &self,
        name: &str,
        last_activity: &LastActivity,
        policy: &LifecyclePolicy,
        now: Timestamp,
        looked: &dyn Fn(&str, Served<'_>),
    ) -> Option<Decision> {
        if let Some(stray) = self.decide_stray(name) {
            return Some(stray);
        }
        let pod = self.pod(name);
        let pod = pod.as_ref();
        let services = |service: &str| {
            let served = self.service(service, &pod?.pod)?;
            looked(service, served);
            Some(served)
        };
        let input = LifecycleInput {
            pod,
            record: self.record(name),
            activity: pod.and_then(|entry| activity_of(entry, last_activity)),
            services: self.has_services().then_some(&services),
        };
        lifecycle::step(input, policy, now)
    }
}

/// When the user of a workspace was active last.
pub(super) fn activity_of(entry: &Entry, last_activity: &LastActivity) -> Option<Timestamp> {
    last_activity.last(&entry.status.id, entry.state.created)
}
