//! The rows for a workspace that ends: finish what has ended, and escalate what does not end, each rung once
//! (docs/protocol.md#lifecycle).

use jiff::{SignedDuration, Timestamp};

use super::{Case, NODE_VANISHED};
use crate::action::Action;
use crate::proto::wsman::WorkspacePhase;
use crate::workspaces::content::Content;
use crate::workspaces::content::last_backup::{self, LastBackup};
use crate::workspaces::content::report::{Saved, Saving};
use crate::workspaces::content::step::{LookUp, Step};
use crate::workspaces::content::volume;
use crate::workspaces::marks::{FINALIZER, annotation};
use crate::workspaces::pod_state::{Disposal, PodPhase};

/// A pod that nothing keeps any more is gone by then, but for what the API server left half done.
const HALF_DELETED: SignedDuration = SignedDuration::from_mins(1);

// === Predicates ===

impl Case<'_> {
    pub(super) fn is_deleting(&self) -> bool {
        self.state.deleting.is_some()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.phase() == WorkspacePhase::Stopped
    }

    pub(super) fn is_half_deleted(&self) -> bool {
        self.half_deleted_at().is_some_and(|at| at <= self.now)
    }

    /// When a pod that has no grace left and no finalizer counts as forgotten: the API server deletes in two steps, and
    /// one that was cut off between them leaves the pod behind for ever.
    pub(super) fn half_deleted_at(&self) -> Option<Timestamp> {
        let state = self.state;
        let kept = state.held || state.held_by_others || state.grace != Some(0);
        let deleted = state.deleting.filter(|_| !kept)?;
        deleted.checked_add(HALF_DELETED).ok()
    }

    /// Its STOPPED survives the daemon as long as the pod is there (messagebus.stoppedTimeout).
    pub(super) fn awaits_bus(&self) -> bool {
        self.is_unannounced() && self.silent_at().is_none_or(|at| at > self.now)
    }

    pub(super) fn bus_is_silent(&self) -> bool {
        self.is_unannounced() && !self.awaits_bus()
    }

    fn is_unannounced(&self) -> bool {
        let state = self.state;
        self.policy.announce_within.is_some()
            && self.is_stopped()
            && self.is_deleting()
            && state.held
            && !self.group.announced
    }

    /// When the message bus is not waited for any longer.
    pub(super) fn silent_at(&self) -> Option<Timestamp> {
        let since = self.stopped_at().filter(|_| self.is_unannounced())?;
        since.checked_add(self.policy.announce_within?).ok()
    }

    /// Since when the workspace is STOPPED. A moment that is yet to come was written by somebody else.
    fn stopped_at(&self) -> Option<Timestamp> {
        self.state.stopped_at.filter(|at| *at <= self.now)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.phase() == WorkspacePhase::Stopping && self.is_deleting()
    }

    /// A volume outlives its node: its pod is deleted by force, and the snapshot is made without it.
    pub(super) fn stops_on_lost_node(&self) -> bool {
        let detached = self.awaits_snapshot() && self.state.grace == Some(0);
        self.is_stopping() && self.node_is_lost() && !detached
    }

    /// Nothing runs any more that could write to its volume.
    pub(super) fn snapshots_volume(&self) -> bool {
        self.awaits_snapshot_only() && !self.limit_reached()
    }

    pub(super) fn snapshot_volume(&self) -> Step {
        Step::SnapshotVolume(Box::new(volume::ending(self.group)))
    }

    fn awaits_snapshot_only(&self) -> bool {
        self.is_stopping() && self.has_ended() && self.awaits_snapshot()
    }

    /// Its content is on a volume, and no snapshot keeps it yet. What never started has no content of its own.
    pub(super) fn awaits_snapshot(&self) -> bool {
        let state = self.state;
        let is_ours = self.policy.content != Content::WsDaemon;
        let has_content = state.on_volume && state.started && !self.failed_to_start();
        is_ours && has_content && !state.abort && state.disposal != Disposal::Finished
    }

    /// Nothing runs any more, and nobody has content to save.
    pub(super) fn stops_and_ended(&self) -> bool {
        self.is_stopping() && self.has_ended() && !self.awaits_disposal()
    }

    /// It is about to be STOPPED without its last save, and nobody has looked yet what the store has of it.
    pub(super) fn seeks_backup(&self) -> bool {
        let ends = self.stops_on_lost_node() || self.stops_and_ended() || self.stop_expired();
        ends && self.policy.has_backups
            && self.state.last_backup.is_none()
            && self.lost().is_some_and(|(_, known)| known.is_none())
    }

    /// What finds out what the store has of it.
    pub(super) fn look_up(&self) -> Step {
        let status = self.group.status().read();
        let metadata = status.metadata.unwrap_or_default();
        Step::LastBackup(LookUp {
            pod: self.pod.clone(),
            owner: metadata.owner,
            meta_id: metadata.meta_id,
            instance: status.id,
        })
    }

    /// Why the guest did not save the content at the end, and which backup it knows; `None` where it did, or had nothing
    /// to save.
    fn lost(&self) -> Option<(&str, Option<&last_backup::Saved>)> {
        let state = self.state;
        if state.disposal == Disposal::Finished || state.abort {
            return None;
        }
        match &state.saving {
            Saving::Never => None,
            Saving::Waits => Some((self.unsaved(), None)),
            Saving::Ended(saved) if saved.failure.is_empty() => None,
            Saving::Ended(saved) => Some((&saved.failure, saved.last.as_ref())),
        }
    }

    /// Why a guest that should save never will.
    fn unsaved(&self) -> &'static str {
        match self.node_is_lost() {
            true => NODE_VANISHED,
            false => "the pod was deleted by force before its content was saved",
        }
    }

    pub(super) fn stop_expired(&self) -> bool {
        self.is_stopping() && self.limit_reached()
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck_at().is_some_and(|at| at <= self.now)
    }

    /// Its container ended; besides, what was never bound or has no grace left cannot run, and a pod that ended has no
    /// containers.
    pub(super) fn has_ended(&self) -> bool {
        let state = self.state;
        state.container_ended
            || !state.bound
            || state.grace == Some(0)
            || matches!(state.pod_phase, PodPhase::Succeeded | PodPhase::Failed)
            || state.evicted_at.is_some_and(|at| at <= self.now)
    }

    pub(super) fn awaits_disposal(&self) -> bool {
        let state = self.state;
        if self.awaits_snapshot() {
            return true;
        }
        let works = match self.policy.content {
            // What was on no node has no content there.
            Content::WsDaemon => state.bound && !self.failed_to_start(),
            // What cannot run any more saves nothing.
            Content::None | Content::Guest => {
                let runs = state.bound && state.grace != Some(0);
                runs && !matches!(state.pod_phase, PodPhase::Unknown) && self.saves()
            }
        };
        works && state.disposal != Disposal::Finished && !state.abort
    }

    fn failed_to_start(&self) -> bool {
        self.state.failed_before_stopping && self.state.never_ready
    }

    /// Nobody has asked for this end, so its reason has to be recorded.
    fn is_unexplained(&self) -> bool {
        let state = self.state;
        state.stop_grace.is_none() && !state.timed_out && self.failure().is_empty()
    }

    /// When a pod that still stops is reported.
    pub(super) fn stuck_at(&self) -> Option<Timestamp> {
        let waits = self.disposes() || self.awaits_snapshot_only();
        let reports = self.is_stopping() && !self.state.stuck && !waits;
        let grace_over = self.state.deleting.filter(|_| reports)?;
        grace_over.checked_add(self.policy.report_stuck_after?).ok()
    }
}

// === Actions ===

impl Case<'_> {
    pub(super) fn delete_again(&self) -> Vec<Action> {
        vec![Action::ForceDelete(self.pod.clone())]
    }

    /// STOPPED was seen: the pod may go.
    pub(super) fn let_go(&self) -> Vec<Action> {
        let mut actions = self.forget_node();
        if self.state.held {
            actions.push(self.release());
        }
        actions
    }

    /// STOPPED is on its way to the message bus. A pod whose disposal ended by itself does not say since when.
    pub(super) fn hold(&self) -> Vec<Action> {
        let mut actions = self.forget_node();
        if self.stopped_at().is_none() {
            actions.push(self.mark(vec![self.stopped_now()]));
        }
        actions
    }

    fn forget_node(&self) -> Vec<Action> {
        let waits = self.is_deleting() && self.node_is_lost() && self.state.grace != Some(0);
        let force = waits.then(|| Action::ForceDelete(self.pod.clone()));
        force.into_iter().collect()
    }

    /// The pod ended by itself. Without a content backend disposal is finished at once, and no mark says so: the
    /// finalizer's removal does.
    pub(super) fn finish(&self) -> Vec<Action> {
        let mut marks = Vec::new();
        let recorded = self.state.explicit_fail || self.state.failure_recorded;
        if self.failed_to_start() && !recorded {
            let why = match self.failure() {
                "" => "workspace failed to start.",
                why => why,
            };
            marks.push((annotation::EXPLICIT_FAIL, why.to_owned()));
        }
        marks.extend(self.saved());
        self.end(marks, false)
    }

    /// What became of the content: what the guest reported, and where it was not saved, how old it is.
    fn saved(&self) -> Vec<(&'static str, String)> {
        if self.state.disposal == Disposal::Finished || self.state.abort {
            return Vec::new();
        }
        let unreported = Saved::default();
        let saved = match &self.state.saving {
            Saving::Never => return Vec::new(),
            Saving::Waits => &unreported,
            Saving::Ended(saved) => saved,
        };
        let failure = self.lost().map(|(why, known)| self.with_age(why, known));
        let disposal = saved.disposal(&failure.unwrap_or_default());
        let mut marks = vec![(annotation::DISPOSAL_STATUS, disposal)];
        if self.is_headless() && !saved.name.is_empty() {
            marks.push((annotation::SNAPSHOT, saved.name.clone()));
        }
        marks
    }

    /// Why the content was not saved, and how old it is; empty where it was saved, but not reported.
    fn with_age(&self, why: &str, known: Option<&last_backup::Saved>) -> String {
        let known = known.cloned().map(LastBackup::Backup);
        match self.state.last_backup.as_deref().or(known.as_ref()) {
            None => why.to_owned(),
            Some(last) if last.is_final() => String::new(),
            Some(last) => format!("{why}; {}", last.age(self.content_ended_at())),
        }
    }

    /// When the workspace last changed its content: at the end of its container or, where nobody reported that, when it was
    /// asked to end.
    fn content_ended_at(&self) -> Timestamp {
        let state = self.state;
        let grace = SignedDuration::from_secs(state.grace.unwrap_or_default());
        let asked = state.deleting.and_then(|end| end.checked_sub(grace).ok());
        state.ended_at.or(asked).unwrap_or(self.now).min(self.now)
    }

    /// The node will never report the end of the pod.
    pub(super) fn force(&self) -> Vec<Action> {
        let mut marks = Vec::new();
        if self.is_unexplained() {
            marks.push((annotation::EXPLICIT_FAIL, NODE_VANISHED.to_owned()));
        }
        marks.extend(self.saved());
        let snapshots = self.awaits_snapshot();
        let by_daemon = self.policy.content == Content::WsDaemon && self.awaits_disposal();
        if by_daemon && !snapshots && !self.state.never_ready && !self.is_headless() {
            marks.push((annotation::DISPOSAL_STATUS, finished(NODE_VANISHED)));
        }
        let by_force = self.state.grace != Some(0);
        if by_force {
            let why = match self.state.node_gone {
                true => "its node is gone",
                false => "its node is lost",
            };
            marks.push((annotation::FORCED, why.to_owned()));
        }
        match snapshots {
            true => vec![self.mark(marks), Action::ForceDelete(self.pod.clone())],
            false => self.end(marks, by_force),
        }
    }

    pub(super) fn report_stuck(&self) -> Vec<Action> {
        let since = self.state.deleting.map(|at| at.to_string());
        let node = &self.group.newest().node;
        let why = format!(
            "grace ended at {}, but node {} has not reported the end of the pod",
            since.unwrap_or_default(),
            node,
        );
        vec![self.mark(vec![(annotation::STUCK, why)])]
    }

    /// The last rung: STOPPED is published although the pod may still be there. It is not deleted by force, because its node
    /// lives and may still run it.
    pub(super) fn give_up(&self) -> Vec<Action> {
        let Some(limit) = self.expired() else {
            return Vec::new();
        };
        let message = limit.message(self.now);
        let why = match self.awaits_disposal() && self.has_ended() {
            true => format!("its content was not saved within {}", limit.limit()),
            false => format!("its pod did not end within {}", limit.limit()),
        };
        let mut marks = vec![(annotation::FORCED, why)];
        let mut actions = Vec::new();
        if self.awaits_snapshot() {
            let late = format!("was not ready within {}", limit.limit());
            let ending = volume::ending(self.group);
            let late = volume::kept(&ending.plan, &late);
            marks.push((annotation::DISPOSAL_STATUS, finished(&late)));
            actions.push(Action::KeepPvc(ending.owner, ending.plan.pvc));
        } else if self.awaits_disposal() {
            let failure = self.with_age(&message, None);
            marks.push((annotation::DISPOSAL_STATUS, finished(&failure)));
        } else {
            marks.extend(self.saved());
        }
        if !self.state.timed_out {
            marks.push((annotation::TIMED_OUT, message));
        }
        actions.extend(self.end(marks, false));
        actions
    }

    /// Makes the workspace STOPPED: a released pod is, and where a bus has to hear of it first, one that is marked.
    fn end(&self, mut marks: Vec<(&str, String)>, by_force: bool) -> Vec<Action> {
        let announces = self.policy.announce_within.is_some() && self.state.held;
        if announces {
            marks.push(self.stopped_now());
        }
        let mut actions = Vec::new();
        if !marks.is_empty() {
            actions.push(self.mark(marks));
        }
        if by_force {
            actions.push(Action::ForceDelete(self.pod.clone()));
        }
        if !announces {
            actions.push(self.release());
        }
        actions
    }

    fn stopped_now(&self) -> (&'static str, String) {
        (annotation::STOPPED, self.now.to_string())
    }

    fn release(&self) -> Action {
        Action::RemoveFinalizer(self.pod.clone(), FINALIZER)
    }
}

/// A disposal that ended without a report.
fn finished(backup_failure: &str) -> String {
    Saved::default().disposal(backup_failure)
}
