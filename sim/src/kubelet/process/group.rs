//! Process groups: a container is signalled by its group, and no group outlives its kubelet.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

use super::leftovers;

/// The groups that run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups(Arc<Mutex<BTreeSet<i32>>>);

/// The group of one process that leads it. Dropping it kills what is left of the group.
#[derive(Debug)]
pub(crate) struct Group {
    leader: Pid,
    groups: Groups,
    /// Identifies it for the next kubelet, if this one is killed.
    record: Option<PathBuf>,
}

impl Groups {
    /// The group of a process that was started as a leader, in the directory of its container; none if it has ended
    /// and was waited for.
    pub(crate) fn register(&self, leader: Option<u32>, home: &Path) -> Option<Group> {
        let leader = Pid::from_raw(i32::try_from(leader?).ok()?)?;
        let id = leader.as_raw_pid();
        self.lock().insert(id);
        let record = leftovers::record(home, id)
            .inspect_err(|error| tracing::warn!(%error, "a process is not recorded"));
        Some(Group {
            leader,
            groups: self.clone(),
            record: record.ok(),
        })
    }

    /// Kills all groups.
    pub(crate) fn kill_all(&self) {
        for leader in std::mem::take(&mut *self.lock()) {
            if let Some(leader) = Pid::from_raw(leader) {
                let _ = kill_process_group(leader, Signal::KILL);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    /// Signals every process of the group, if it has not ended.
    pub(crate) fn signal(&self, signal: Signal) {
        // Under the lock: the number of a group that has ended may belong to another one.
        let groups = self.groups.lock();
        if groups.contains(&self.leader.as_raw_pid()) {
            let _ = kill_process_group(self.leader, signal);
        }
    }

    /// Kills what the leader left behind; later signals reach nobody.
    pub(crate) fn end(&self) {
        let mut groups = self.groups.lock();
        if groups.remove(&self.leader.as_raw_pid()) {
            let _ = kill_process_group(self.leader, Signal::KILL);
        }
        if let Some(record) = &self.record {
            let _ = fs::remove_file(record);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}
