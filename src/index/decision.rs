//! What the lifecycle decides about a workspace that the index knows.

use jiff::Timestamp;

use super::Index;
use crate::workspaces::activity::journal::Journal;
use crate::workspaces::decide::Rules;
use crate::workspaces::lifecycle::{self, Decision, LifecycleInput};

impl Index {
    /// Decides what the workspace under a pod's name needs; `None` if there is none.
    pub fn decide(
        &self,
        name: &str,
        journal: &Journal,
        rules: &Rules,
        now: Timestamp,
    ) -> Option<Decision> {
        if let Some(stray) = self.decide_stray(name) {
            return Some(stray);
        }
        let pod = self.pod(name);
        let pod = pod.as_ref();
        let services = |service: &str| self.service(service, &pod?.pod);
        let input = LifecycleInput {
            pod,
            record: self.record(name),
            activity: pod.and_then(|entry| journal.last(&entry.status.id, entry.facts.created)),
            services: self.has_services().then_some(&services),
        };
        lifecycle::step(input, rules, now)
    }
}
