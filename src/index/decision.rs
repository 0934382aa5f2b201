//! What the lifecycle decides about a workspace that the index knows.

use jiff::Timestamp;

use super::Index;
use crate::workspaces::activity::journal::Journal;
use crate::workspaces::decide::{Entry, Rules};
use crate::workspaces::lifecycle::{self, Decision, LifecycleInput};
use crate::workspaces::services::Served;

impl Index {
    /// Decides what the workspace under a pod's name needs; `None` if there is none.
    pub fn decide(
        &self,
        name: &str,
        journal: &Journal,
        rules: &Rules,
        now: Timestamp,
    ) -> Option<Decision> {
        self.decide_seen(name, journal, rules, now, &|_, _| {})
    }

    /// Decides, and tells which Services it looked at.
    pub(super) fn decide_seen(
        &self,
        name: &str,
        journal: &Journal,
        rules: &Rules,
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
            activity: pod.and_then(|entry| last_activity(entry, journal)),
            services: self.has_services().then_some(&services),
        };
        lifecycle::step(input, rules, now)
    }
}

/// When the user of a workspace was active last.
pub(super) fn last_activity(entry: &Entry, journal: &Journal) -> Option<Timestamp> {
    journal.last(&entry.status.id, entry.facts.created)
}
