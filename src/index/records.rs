//! Workspaces between two pods: what the records of pods that are made again change (`workspaces::recreate`).

use std::collections::HashSet;
use std::sync::Arc;

use super::{Changes, Index, Tracked};
use crate::objects::{ConfigMap, Pod};
use crate::proto::wsman::WorkspacePhase;
use crate::workspaces::decide::Entry;
use crate::workspaces::image;
use crate::workspaces::marks::{RECREATE, label};
use crate::workspaces::recreate::Record;

impl Index {
    /// Takes in a record as it is now.
    pub fn apply_record(&mut self, map: &ConfigMap) -> Changes {
        let mut changes = Changes::default();
        let ours = map.metadata.label(label::RECORD) == Some(RECREATE);
        let Some(mut record) = Record::read(map).filter(|_| ours) else {
            return changes;
        };
        record.over = self.over.contains(&record.run);
        let name: Arc<str> = record.at.name.as_str().into();
        let known = self.records.get(&name);
        if self.ended.contains(&record.at.uid) || known.is_some_and(|k| k.version > record.version)
        {
            return changes;
        }
        changes.dirty.push(Arc::clone(&name));
        self.records.insert(Arc::clone(&name), record);
        self.stand_in(&name, &mut changes);
        if let Some((_, pod)) = self.held.remove(&name) {
            // It is published when it has taken over, which is a change of its own.
            changes.extend(self.see_pod(&pod));
        }
        changes
    }

    /// Lists the workspace of a record whose pod is not known, as after a restart.
    pub(super) fn stand_in(&mut self, name: &str, changes: &mut Changes) {
        let Some(record) = self.records.get(name).filter(|record| !record.owned) else {
            return;
        };
        let (entry, version) = (self.fold(&record.pod), record.version);
        let image = image::recorded(&record.pod.metadata, &entry.status);
        let objects = self.objects(&record.pod);
        if self.over.contains(entry.run()) || self.ended.contains(&entry.pod.uid) {
            return;
        }
        match self.workspaces.get(name) {
            // What is lost under that name was another, and an earlier one: a late record says nothing of its successor.
            Some(known)
                if known.gone
                    && known.run() != entry.run()
                    && known.version < entry.state.version =>
            {
                self.conclude(name, None, version, changes);
            }
            Some(_) => return,
            None => {}
        }
        let version = entry.state.version;
        self.store(entry, image, version, objects, changes);
        if let Some(tracked) = self.workspaces.get_mut(name) {
            tracked.gone = true;
        }
        self.publish(name, changes);
    }

    /// Takes in that a record is gone, with its last state.
    pub fn delete_record(&mut self, map: &ConfigMap) -> Changes {
        let meta = &map.metadata;
        self.drop_record(&meta.name, &meta.uid, Record::read(map), meta.version())
    }

    /// Takes in that a complete list at `version` held only the records in `present`.
    pub fn retain_records(&mut self, present: &HashSet<String>, version: u64) -> Changes {
        let mut changes = Changes::default();
        let records = self.records.iter();
        let gone: Vec<_> = records
            .filter(|(name, known)| known.version <= version && !present.contains(&***name))
            .map(|(_, known)| known.clone())
            .collect();
        for record in gone {
            let at = record.at.clone();
            changes.extend(self.drop_record(&at.name, &at.uid, Some(record), version));
        }
        self.records_listed = true;
        let lost = self.workspaces.keys().filter(|name| self.is_lost(name));
        changes.reread.extend(lost.cloned());
        changes
    }

    fn drop_record(
        &mut self,
        name: &str,
        uid: &str,
        last: Option<Record>,
        version: u64,
    ) -> Changes {
        let mut changes = Changes::default();
        self.ended.insert(uid);
        let known = self.records.get_key_value(name);
        let Some((name, _)) = known.filter(|(_, known)| known.at.uid == uid) else {
            return changes;
        };
        let name = Arc::clone(name);
        self.records.remove(&name);
        changes.dirty.push(Arc::clone(&name));
        if !self.is_lost(&name) {
            return changes;
        }
        match last.filter(|record| !record.ends.is_empty()) {
            // It was asked to stop, and there is no pod.
            Some(record) => {
                let status = self.fold(&record.pod).status;
                self.conclude(&name, Some(status), version, &mut changes);
            }
            // There may be a new pod that was not seen yet.
            None => changes.reread.push(name),
        }
        changes
    }

    /// Returns the pod of that name if it is there, also one that waits for its record.
    pub fn pod(&self, name: &str) -> Option<Entry> {
        let tracked = self.workspaces.get(name).filter(|tracked| !tracked.gone);
        let held = || self.held.get(name).map(|(entry, _)| entry.clone());
        tracked.map(Tracked::entry).or_else(held)
    }

    /// Returns the record under a pod's name.
    pub fn record(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    /// Whether a pod was rejected and is, or is going to be, made again.
    pub fn is_made_again(&self, name: &str) -> bool {
        let rejected = |tracked: &Tracked| {
            tracked.state.rejected && tracked.status.phase() == WorkspacePhase::Pending
        };
        self.records.contains_key(name) || self.by_name(name).is_some_and(rejected)
    }

    /// Whether neither the pod nor the record of a workspace is there, as far as was seen: then only a look tells what
    /// became of it.
    pub fn is_lost(&self, name: &str) -> bool {
        let gone = self
            .workspaces
            .get(name)
            .is_some_and(|tracked| tracked.gone);
        gone && !self.records.contains_key(name)
    }

    /// Takes in that a look found neither record nor pod of a workspace that is lost.
    pub fn lose(&mut self, name: &str) -> Changes {
        let mut changes = Changes::default();
        if self.is_lost(name) {
            let known = self.workspaces.get(name).map_or(0, |known| known.version);
            let version = self.listed.unwrap_or(0).max(known + 1);
            self.conclude(name, None, version, &mut changes);
        }
        changes
    }

    /// Whether the end of a pod is not that of its workspace: it was committed to a record, or there is a record that it
    /// has nothing to do with.
    pub(super) fn is_replaced(&self, entry: &Entry) -> bool {
        let lineage = &entry.state.lineage;
        let committed = entry.state.rejected
            && entry.status.phase() == WorkspacePhase::Pending
            && !entry.state.is_asked_to_end()
            && !lineage.replaced_by.is_empty();
        let record = self.records.get(entry.pod.name.as_str());
        let other = record.filter(|record| {
            let of_pod = record.pod.metadata.uid == entry.pod.uid;
            !record.owned && record.ends.is_empty() && !of_pod && record.at.uid != lineage.made_from
        });
        committed || other.is_some_and(|record| record.run == entry.run())
    }

    /// Whether a pod whose end was not seen may have been rejected and replaced meanwhile; only a look tells.
    pub(super) fn may_be_replaced(&self, entry: &Entry) -> bool {
        let state = &entry.state;
        let ends = state.is_asked_to_end() || state.explicit_fail;
        self.defaults.max_recreations > 0 && state.never_ready && !ends
    }

    /// The pod ended, and the workspace goes on without one.
    pub(super) fn vacate(&mut self, name: &str, version: u64, changes: &mut Changes) {
        let Some((name, _)) = self.workspaces.get_key_value(name) else {
            return;
        };
        let name = Arc::clone(name);
        if let Some(tracked) = self.workspaces.get_mut(&name)
            && !tracked.gone
        {
            tracked.gone = true;
            tracked.version = version.max(tracked.version);
            let version = tracked.version + self.defaults.version_offset;
            tracked.status = tracked.status.at(version);
        }
        if self.is_lost(&name) {
            changes.reread.push(Arc::clone(&name));
        }
        changes.dirty.push(name);
    }

    /// Puts a new pod aside whose record was not seen: it comes too early or too late.
    pub(super) fn holds(&mut self, entry: &Entry, pod: &Pod, changes: &mut Changes) -> bool {
        let name = entry.pod.name.as_str();
        let stale = |(held, _): &(Entry, Pod)| held.state.version > entry.state.version;
        if self.held.get(name).is_some_and(stale) {
            return true;
        }
        self.held.remove(name);
        let lineage = &entry.state.lineage;
        let record = self.records.get(name);
        let seen = record.is_some_and(|record| record.at.uid == lineage.made_from);
        let tracked = self.workspaces.get(name);
        let known = tracked.is_some_and(|known| known.pod.uid == entry.pod.uid);
        let over = self.over.contains(entry.run());
        if !lineage.provisional || (seen && !over) || known {
            return false;
        }
        let name: Arc<str> = name.into();
        changes.dirty.push(Arc::clone(&name));
        self.held.insert(name, (entry.clone(), pod.clone()));
        true
    }
}
