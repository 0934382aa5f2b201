//! What stands for a workspace while calls reach it: its pod, or its record while the pod is made again; and whether
//! maintenance is in the way.

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::errors;
use super::workspaces::Workspaces;
use crate::action::{Action, Mark, Recreate};
use crate::cluster::act::Outcome;
use crate::error::Error;
use crate::index;
use crate::objects::Pod;
use crate::workspaces::maintenance::{self, FOR_EVER};
use crate::workspaces::plan::Plan;
use crate::workspaces::repeat;

/// How often a call looks for what stands for its workspace.
pub(super) const ATTEMPTS: usize = 5;

impl Workspaces {
    /// Returns the pod of a workspace whose pod is made again, as it is or as it was: at no moment may a start take its
    /// name.
    pub(super) async fn replaced(
        &self,
        plan: &Plan,
        name: &str,
        due: Instant,
    ) -> Result<Option<Pod>, Error> {
        if !self.hub.read(|index| index.is_made_again(name)) {
            return Ok(None);
        }
        if let Some(pod) = self.actor.read_pod(name, due).await? {
            return Ok(Some(pod));
        }
        self.actor.find_records(&plan.id, due).await?;
        let record = self.hub.read(|index| index.record(name).cloned());
        match record {
            Some(record) if !record.ends.is_empty() => Err(repeat::stopping(&plan.id)),
            record => Ok(record.map(|record| record.pod)),
        }
    }

    /// Marks whatever stands for a workspace: its pod or, while that is made again, its record. What is gone by then is
    /// looked for at the API server, a few times because the workspace may move on meanwhile.
    pub(super) async fn stop(&self, id: &str, mark: &Mark, due: Instant) -> Result<(), Error> {
        let (mut pods, mut records) = self.hub.read(|index| {
            let name = index.by_id(id).map(|entry| entry.pod.name.as_str());
            let pod = name.and_then(|name| index.pod(name));
            let record = name.and_then(|name| index.record(name));
            let pods: Vec<_> = pod.map(|entry| entry.pod.clone()).into_iter().collect();
            let records: Vec<_> = record.map(|record| record.at.clone()).into_iter().collect();
            (pods, records)
        });
        for _ in 0..ATTEMPTS {
            if pods.is_empty() && records.is_empty() {
                records = self.actor.find_records(id, due).await?;
                let found = self.actor.find_pods(id, due).await?;
                pods = found.iter().map(index::reference).collect();
            }
            let marks = |pod| Action::Mark(pod, mark.clone());
            let record_marks = |at| Action::Recreate(Recreate::MarkRecord(at, mark.clone()));
            let all = pods.drain(..).map(marks);
            let all: Vec<_> = all.chain(records.drain(..).map(record_marks)).collect();
            if all.is_empty() {
                return Ok(());
            }
            let mut marked = false;
            for action in &all {
                marked |= matches!(self.actor.act(action, due).await?, Outcome::Done);
            }
            if marked {
                return Ok(());
            }
        }
        Err(keeps_changing(id))
    }

    /// Waits until it is known what there is and whether maintenance is under way: right after the daemon's start.
    pub(super) async fn await_listed(&self, due: Instant) -> Result<(), Status> {
        if self.listed().is_err() {
            let mut synced = self.hub.synced();
            // Whatever ends the wait, what is known then counts.
            let _ = timeout_at(due, synced.wait_for(|synced| *synced)).await;
        }
        self.listed()
    }

    /// Returns until when maintenance lasts, if it does now.
    pub fn maintenance(&self) -> Option<Timestamp> {
        let configured = self.settings().manager.maintenance_mode.then_some(FOR_EVER);
        let end = self.maintenance.borrow().end(configured);
        end.filter(|end| *end > self.clock.now())
    }

    /// Refuses what must not begin in maintenance (spec 5.8).
    pub(super) fn refuse_in_maintenance(&self) -> Result<(), Status> {
        match self.maintenance() {
            None => Ok(()),
            Some(end) => Err(errors::status(maintenance::refusal(end))),
        }
    }
}

/// The error of a call that found something else each time.
pub(super) fn keeps_changing(id: &str) -> Error {
    Error::Aborted {
        why: format!("workspace {id} keeps changing"),
    }
}
