//! The end of a pod that is active for too long.

use serde_json::json;

use super::containers::{end, is_running};
use super::{Draft, UNKNOWN_END, killing};
use crate::kubelet::recorder::Note;
use crate::script::{last_exit, never_started};

pub(crate) const REASON: &str = "DeadlineExceeded";
pub(crate) const MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

impl Draft<'_> {
    /// What runs ends as after a SIGTERM; of what did not run only an initialized pod has an end.
    pub(super) fn deadline(&mut self, killed: bool) {
        let (code, reason) = match killed {
            true => (137, "Error".to_owned()),
            false => self.script.exit(),
        };
        let initialized = !never_started(self.pod) || self.pod.is_true("Initialized");
        for status in &mut self.containers {
            if is_running(status) {
                let message = self.script.termination_message.clone();
                end(status, code, &reason, message, self.now);
            } else if initialized && last_exit(status).is_none() {
                let unknown = Some(UNKNOWN_END.to_owned());
                end(status, 137, "ContainerStatusUnknown", unknown, self.now);
            }
        }
        self.set("containerStatuses", json!(self.containers));
        self.end_init_all(killed);
        self.finish("Failed");
        self.set("reason", REASON);
        self.set("message", MESSAGE);
        self.note(Note::normal(REASON, MESSAGE));
        self.report.notes.extend(killing(self.pod));
    }
}
