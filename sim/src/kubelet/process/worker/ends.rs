//! How a pod ends that still runs: it is deleted, or active for too long.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Worker;
use crate::kubelet::pods::version;
use crate::kubelet::process::order::{MINIMUM_GRACE, Stop};
use crate::kubelet::recorder::Note;
use crate::kubelet::report::deadline;

impl Worker {
    /// Takes the newest state of the pod; a deletion starts or shortens the grace period.
    pub(super) fn take(&mut self) {
        let update = self.updates.borrow_and_update().clone();
        if version(&update.pod) >= version(&self.pod) {
            self.pod = update.pod;
        }
        let meta = &self.pod.metadata;
        let deleted = meta.deletion_timestamp.is_some() && !update.lost;
        let grace = meta.deletion_grace_period_seconds.filter(|_| deleted);
        let grace = if update.gone { Some(0) } else { grace };
        if grace.is_some() && grace != self.grace {
            self.grace = grace;
            self.end_within(SignedDuration::from_secs(grace.unwrap_or(0)));
        }
        if self.deadline().is_some_and(|at| at <= Timestamp::now()) {
            self.expired = true;
            self.note(Note::normal(deadline::REASON, deadline::MESSAGE));
            self.end_within(self.own_grace());
        }
    }

    /// When the pod is active for too long, unless it ends already.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.pod.spec.active_deadline_seconds?;
        let started = self.pod.status.start_time.as_ref()?.0;
        let open = self.ending.is_none() && self.finished.is_none();
        open.then(|| started + SignedDuration::from_secs(seconds))
    }

    /// The grace period of the spec.
    pub(super) fn own_grace(&self) -> SignedDuration {
        let grace = self.pod.spec.termination_grace_period_seconds;
        SignedDuration::from_secs(grace.unwrap_or(30))
    }

    pub(super) fn end_within(&mut self, grace: SignedDuration) {
        let deadline = Timestamp::now() + grace.max(MINIMUM_GRACE);
        let known = self.ending.unwrap_or(deadline);
        self.ending = Some(known.min(deadline));
    }

    /// SIGTERM, after the hook that the container has for it.
    pub(super) fn terminate(&mut self, index: usize, now: Timestamp) {
        self.stop(index, Stop::Terminated(now));
        let Some((running, _)) = self.running.get(&index) else {
            return;
        };
        let hooks = self.specs[index].lifecycle.as_ref();
        let hook = hooks.and_then(|hooks| hooks.pre_stop.as_ref()?.exec.as_ref()?.command.clone());
        let Some(line) = hook else {
            return running.terminate();
        };
        let left = self.ending.unwrap_or(now).duration_since(now);
        let limit = Duration::try_from(left).unwrap_or_default();
        let (running, groups) = (running.clone(), self.shared.groups.clone());
        self.helpers.spawn(async move {
            tokio::select! {
                result = running.environment.run(&line, limit, &groups) => {
                    if let Err(why) = result {
                        tracing::debug!(why, "a preStop hook failed");
                    }
                }
                () = running.ended.cancelled() => {}
            }
            running.terminate();
        });
    }
}
