//! Native sidecars: they start among the init containers, and end after the containers.

use k8s_openapi::api::core::v1::ContainerStatus;
use serde_json::json;

use super::Draft;
use super::conditions::{Owned, incomplete};
use super::containers::{end, is_running, phase_of};
use crate::script::last_exit;

impl Draft<'_> {
    /// `Initialized`: every init container is done, every sidecar has started.
    pub(super) fn initialized(&self) -> Owned {
        let is_done = |status: &ContainerStatus| match self.pod.is_sidecar(&status.name) {
            true => is_running(status),
            false => last_exit(status) == Some(0),
        };
        let open = self.init.iter().filter(|status| !is_done(status));
        let names: Vec<_> = open.map(|status| status.name.as_str()).collect();
        incomplete(&names)
    }

    /// Whether sidecars run, which keep the pod from its end.
    pub(super) fn has_sidecars(&self) -> bool {
        let mut running = self.init.iter().filter(|status| is_running(status));
        running.any(|status| self.pod.is_sidecar(&status.name))
    }

    /// The last end of a pod.
    pub(super) fn end_sidecars(&mut self, killed: bool) {
        self.end_init_all(killed);
        self.finish(phase_of(&self.containers));
    }

    /// Ends what runs of the init containers: sidecars as the script has it, others are always killed.
    pub(super) fn end_init_all(&mut self, killed: bool) {
        let mut changed = false;
        for status in self.init.iter_mut().filter(|status| is_running(status)) {
            let by_itself = self.pod.is_sidecar(&status.name) && !killed;
            let code = match by_itself {
                true => self.script.sidecar_exit_code.unwrap_or(0),
                false => 137,
            };
            let reason = if code == 0 { "Completed" } else { "Error" };
            let message = self.script.sidecar_message.clone();
            end(
                status,
                code,
                reason,
                message.filter(|_| by_itself),
                self.now,
            );
            changed = true;
        }
        if changed {
            self.report
                .status
                .insert("initContainerStatuses".to_owned(), json!(self.init));
        }
    }
}
