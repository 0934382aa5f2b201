//! Everything wsman knows of the cluster: watch events in, changes out. Plain data and plain functions.
//!
//! Per pod the newest resourceVersion wins, whichever way it came (watch, list or the answer to a write). Per
//! workspace versions strictly grow, equal statuses are not repeated, and STOPPED comes once and last
//! (docs/protocol.md#what-consumers-of-updates-can-rely-on).

mod decision;
pub mod ended;
pub mod input;
mod nodes;
pub mod observer;
mod records;
mod services;
mod strays;
mod tombstones;
mod warnings;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::action::PodRef;
use crate::objects::{Meta, Pod};
use crate::proto::answers::EncodedStatus;
use crate::proto::wsman::WorkspaceStatus;
use crate::workspaces::case::Objects;
use crate::workspaces::decide::Entry;
use crate::workspaces::filter::Filter;
use crate::workspaces::image;
use crate::workspaces::marks::{FINALIZER, annotation, label};
use crate::workspaces::pod_state::{self, PodState};
use crate::workspaces::recreate::Record;
use crate::workspaces::status::{self, Defaults, Observed, Why};
use crate::workspaces::update::{StatusUpdate, is_last};
use input::Source;
use nodes::Nodes;
use observer::Folded;
use services::Services;
use tombstones::Tombstones;
use warnings::Warnings;

/// What an event changed.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// Updates to publish, in the order of their versions.
    pub updates: Vec<StatusUpdate>,
    /// What was missed up to this version is known only as far as it lasted.
    pub floor: Option<u64>,
    /// Names of pods whose next decision may differ.
    pub dirty: Vec<Arc<str>>,
    /// Names of pods whose status may differ, though they did not change: they must be read again.
    pub reread: Vec<Arc<str>>,
    /// Names of pods whose marks have become unreadable, and which; or readable again, and nothing.
    pub unreadable: Vec<(Arc<str>, Box<str>)>,
    /// Statuses that were folded, and from what; empty where nobody observes.
    pub folded: Vec<Folded>,
}

impl Changes {
    /// Adds what another event changed.
    pub fn extend(&mut self, more: Self) {
        self.updates.extend(more.updates);
        self.floor = self.floor.max(more.floor);
        self.dirty.extend(more.dirty);
        self.reread.extend(more.reread);
        self.unreadable.extend(more.unreadable);
        self.folded.extend(more.folded);
    }
}

/// The state of the cluster as far as it was seen.
#[derive(Debug, Default)]
pub struct Index {
    defaults: Defaults,
    workspaces: HashMap<Arc<str>, Tracked>,
    by_id: HashMap<String, Arc<str>>,
    nodes: Nodes,
    warnings: Warnings,
    services: Services,
    /// Workspaces whose pod is being made again, by the pod's name.
    records: HashMap<Arc<str>, Record>,
    records_listed: bool,
    /// Pods that we hold and that lost the label by which we find ours, by name.
    strays: HashMap<Arc<str>, PodRef>,
    /// New pods whose record was not seen: it comes yet, or they were made too late.
    held: HashMap<Arc<str>, (Entry, Pod)>,
    /// Pods and records that are gone, by uid: a late answer brings none back.
    ended: Tombstones,
    /// Starts whose STOPPED was published, by the uid of their first pod: one stream may lag behind the other.
    over: Tombstones,
    /// Ends that a list showed which is not complete yet.
    unpublished: Vec<StatusUpdate>,
    /// Version of the last complete list of the pods.
    listed: Option<u64>,
    /// What statuses are folded from is kept.
    observed: bool,
}

/// One workspace as it is kept: its status as bytes.
#[derive(Debug)]
pub struct Tracked {
    pub pod: PodRef,
    /// What the lifecycle needs beside the status.
    pub state: PodState,
    /// What clients see.
    pub status: EncodedStatus,
    /// Which rules made it.
    pub why: Why,
    /// What a registry facade may ask for.
    pub image: image::Recorded,
    /// The node it is on; empty before there is one.
    node: Box<str>,
    version: u64,
    /// The pod ended, but it is made again: the workspace goes on without one.
    gone: bool,
    /// What was published last. The answer to a write runs ahead of the watch, so `status` may be newer.
    last_published: Option<EncodedStatus>,
    /// What the status was folded from, where somebody observes.
    objects: Option<Arc<Objects>>,
}

impl Tracked {
    /// Returns the workspace with its status decoded, for deciding on it.
    pub fn entry(&self) -> Entry {
        Entry {
            pod: self.pod.clone(),
            status: self.status.read(),
            state: self.state.clone(),
            why: self.why,
        }
    }

    fn run(&self) -> &str {
        self.state.lineage.run(&self.pod)
    }

    fn update(&self, status: EncodedStatus) -> StatusUpdate {
        StatusUpdate {
            trace: self.state.trace.clone(),
            ..StatusUpdate::new(self.run(), status)
        }
    }
}

impl Index {
    /// Returns an empty index whose statuses take their defaults from the configuration.
    pub fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            ..Self::default()
        }
    }

    /// Changes what statuses show where their pods have no mark. It shows with each pod's next version: statuses are
    /// versioned by their pods. The version offset stays, lest versions run backwards.
    pub fn set_defaults(&mut self, defaults: Defaults) {
        self.defaults = Defaults {
            version_offset: self.defaults.version_offset,
            ..defaults
        };
    }

    /// Takes in a pod as the watch tells it, in the order of versions: the only thing that updates are published for, so
    /// that every replica publishes them in the same order.
    pub fn apply_pod(&mut self, pod: &Pod) -> Changes {
        let mut changes = Changes::default();
        if self.take_in(pod, Source::Watch, &mut changes) {
            self.publish(&pod.metadata.name, &mut changes);
        }
        changes
    }

    /// Takes in a pod of a list. It is known from now on, and published when the list is complete.
    pub fn list_pod(&mut self, pod: &Pod) -> Changes {
        let mut changes = Changes::default();
        self.take_in(pod, Source::List, &mut changes);
        self.unpublished.append(&mut changes.updates);
        changes
    }

    /// Takes in a pod as the answer to a call shows it. It is known from now on, and published with the watch.
    pub fn see_pod(&mut self, pod: &Pod) -> Changes {
        let mut changes = Changes::default();
        self.take_in(pod, Source::Answer, &mut changes);
        changes
    }

    /// Takes in that a pod is gone, with its last state. Only the name and the uid need to be readable.
    pub fn delete_pod(&mut self, pod: &Pod) -> Changes {
        let mut changes = Changes::default();
        let name = pod.metadata.name.as_str();
        match self.workspaces.get(name) {
            Some(known) if known.pod.uid == pod.metadata.uid || pod.metadata.uid.is_empty() => {
                let last = is_workspace(&pod.metadata).then(|| self.fold(pod));
                self.end(name, last, pod.metadata.version(), &mut changes);
            }
            _ => {
                self.ended.insert(&pod.metadata.uid);
                self.held
                    .retain(|_, (held, _)| held.pod.uid != pod.metadata.uid);
                // What was put aside for a lost workspace is gone: only a look tells what became of it.
                if self.is_lost(name) {
                    changes.reread.push(name.into());
                }
            }
        }
        changes
    }

    /// Takes in that a complete list at `version`, whose pods were taken in, held only those named in `present`: all
    /// others are gone. What changed since the last event is published.
    pub fn retain_pods(&mut self, present: &HashSet<String>, version: u64) -> Changes {
        let mut changes = Changes {
            updates: std::mem::take(&mut self.unpublished),
            ..Changes::default()
        };
        let listed: Vec<Arc<str>> = self
            .workspaces
            .iter()
            // A pod that is newer than the list was created or changed after it.
            .filter(|(name, known)| known.version <= version && !self.strays.contains_key(*name))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in listed {
            if present.contains(&*name) {
                self.publish(&name, &mut changes);
            } else {
                self.end(&name, None, version, &mut changes);
            }
        }
        changes
            .updates
            .sort_by_key(|update| update.status.version());
        changes.floor = Some(version + self.defaults.version_offset);
        self.held
            .retain(|name, (held, _)| held.state.version > version || present.contains(&**name));
        self.listed = Some(version);
        changes
    }

    /// Returns the workspace with an instance id.
    pub fn by_id(&self, id: &str) -> Option<&Tracked> {
        self.by_name(self.by_id.get(id)?)
    }

    /// Returns the workspace of a pod's name, whether its pod is there or is being made again.
    pub fn by_name(&self, pod: &str) -> Option<&Tracked> {
        self.workspaces.get(pod)
    }

    /// Returns the name of every pod that there is something to decide about.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let names = self.workspaces.keys().chain(self.records.keys());
        names.chain(self.held.keys()).chain(self.strays.keys())
    }

    /// Returns every workspace that matches, in no particular order.
    pub fn list<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a EncodedStatus> {
        self.workspaces
            .values()
            .map(|tracked| &tracked.status)
            .filter(|status| filter.matches(status))
    }

    /// Whether a complete list of the pods was seen, and of the records if there may be any: only then the index may
    /// answer for all of them.
    pub fn is_listed(&self) -> bool {
        self.listed.is_some() && (self.records_listed || self.defaults.max_recreations == 0)
    }

    /// Takes in that the message bus has confirmed the STOPPED of a pod.
    pub fn announced(&mut self, last: &StatusUpdate) -> Changes {
        let mut changes = Changes::default();
        let name = self.by_id.get(&last.status.id());
        if let Some((name, tracked)) =
            name.and_then(|name| Some((name, self.workspaces.get_mut(name)?)))
            && *tracked.run() == *last.start_uid
            && !std::mem::replace(&mut tracked.state.announced, true)
        {
            changes.dirty.push(Arc::clone(name));
        }
        changes
    }

    fn fold(&self, pod: &Pod) -> Entry {
        let observed = Observed {
            pod,
            events: self.warnings.of(&pod.metadata.name),
            node: self.node(pod),
        };
        let folded = status::fold(&observed, &self.defaults);
        let state = PodState {
            unreadable: folded.unreadable.into(),
            ..pod_state::of(&observed)
        };
        Entry {
            pod: reference(pod),
            status: folded.status,
            state,
            why: folded.why,
        }
    }

    /// Takes in a pod, unless it is over or something newer is known. Returns whether it is known now.
    fn take_in(&mut self, pod: &Pod, source: Source, changes: &mut Changes) -> bool {
        if !is_workspace(&pod.metadata) || self.ended.contains(&pod.metadata.uid) {
            return false;
        }
        let (name, version) = (pod.metadata.name.as_str(), pod.metadata.version());
        let known = self.workspaces.get(name);
        if known.is_some_and(|known| known.version > version) {
            return false;
        }
        self.miss_node(pod);
        let entry = self.fold(pod);
        if self.holds(&entry, pod, changes) || self.over.contains(entry.run()) {
            return false;
        }
        if let Some(known) = self.workspaces.get(name)
            && known.pod.uid != entry.pod.uid
        {
            let another = known.run() != entry.run();
            if another && source == Source::Answer {
                // The watch tells the end of the earlier one first.
                return false;
            }
            self.ended.insert(&known.pod.uid);
            if another {
                // Its deletion was before this.
                self.conclude(name, None, version - 1, changes);
            }
        }
        let image = image::recorded(&pod.metadata, &entry.status);
        let objects = self.objects(pod);
        self.store(entry, image, version, objects, changes);
        true
    }

    fn store(
        &mut self,
        entry: Entry,
        image: image::Recorded,
        version: u64,
        objects: Option<Arc<Objects>>,
        changes: &mut Changes,
    ) {
        let folded = objects.iter().map(|objects| Folded {
            objects: Arc::clone(objects),
            status: entry.status.clone(),
            why: entry.why,
        });
        changes.folded.extend(folded);
        let Entry {
            pod,
            status,
            mut state,
            why,
        } = entry;
        let name: Arc<str> = pod.name.as_str().into();
        let known = self.workspaces.get(&name);
        state.announced = known.is_some_and(|known| known.state.announced);
        if known.map_or("", |known| &known.state.unreadable) != &*state.unreadable {
            changes
                .unreadable
                .push((Arc::clone(&name), state.unreadable.clone()));
        }
        let before = known.map(|known| known.status.id());
        let last_published = known.and_then(|known| known.last_published.clone());
        let node = status
            .runtime
            .as_ref()
            .map(|runtime| runtime.node_name.as_str())
            .unwrap_or_default()
            .into();
        if let Some(before) = before.filter(|before| *before != status.id)
            && self.by_id.get(&before) == Some(&name)
        {
            self.by_id.remove(&before);
        }
        self.by_id.insert(status.id.clone(), Arc::clone(&name));
        // Whatever becomes of the pod, its workspace has stopped.
        let status = match last_published.as_ref().filter(|last| is_last(last)) {
            Some(last) => last.clone(),
            None => EncodedStatus::new(status),
        };
        changes.dirty.push(Arc::clone(&name));
        self.workspaces.insert(
            name,
            Tracked {
                pod,
                state,
                status,
                why,
                image,
                node,
                version,
                gone: false,
                last_published,
                objects,
            },
        );
    }

    /// Publishes what is known of a workspace, unless it was. What changes without the pod (an event, a node) is published
    /// with the pod's next version.
    fn publish(&mut self, name: &str, changes: &mut Changes) {
        let Some(tracked) = self.workspaces.get_mut(name) else {
            return;
        };
        let news = tracked.last_published.as_ref().is_none_or(|last| {
            tracked.status.version() > last.version() && !last.same(&tracked.status)
        });
        if news {
            tracked.last_published = Some(tracked.status.clone());
            changes.updates.push(tracked.update(tracked.status.clone()));
        }
    }

    /// Ends the pod under `name` as of `version`, and the workspace with it unless its pod is made again.
    fn end(&mut self, name: &str, last: Option<Entry>, version: u64, changes: &mut Changes) {
        let Some(tracked) = self.workspaces.get(name) else {
            return;
        };
        self.ended.insert(&tracked.pod.uid);
        let stopped = tracked.last_published.as_ref().is_some_and(is_last);
        let entry = last.clone().unwrap_or_else(|| tracked.entry());
        let unseen = last.is_none() && self.may_be_replaced(&entry);
        if tracked.gone || (!stopped && (unseen || self.is_replaced(&entry))) {
            self.vacate(name, version, changes);
        } else {
            self.conclude(name, last.map(|entry| entry.status), version, changes);
        }
        self.stand_in(name, changes);
    }

    /// Ends the workspace under `name` as of `version`: its STOPPED is published unless it was.
    fn conclude(
        &mut self,
        name: &str,
        last: Option<WorkspaceStatus>,
        version: u64,
        changes: &mut Changes,
    ) {
        let Some((name, tracked)) = self.workspaces.remove_entry(name) else {
            return;
        };
        self.estrange(&name);
        self.over.insert(tracked.run());
        if let Some(mut record) = self.records.remove(&*name) {
            record.over |= record.run == tracked.run();
            self.records.insert(Arc::clone(&name), record);
        }
        let id = tracked.status.id();
        if self.by_id.get(&id) == Some(&name) {
            self.by_id.remove(&id);
        }
        changes.dirty.push(name);
        if tracked.last_published.as_ref().is_some_and(is_last) {
            return;
        }
        let status = last.unwrap_or_else(|| tracked.status.read());
        // Should a server not tell when a pod went, its STOPPED is still newer than all before.
        let published = tracked
            .last_published
            .as_ref()
            .map_or(0, EncodedStatus::version);
        let version = (version + self.defaults.version_offset).max(published + 1);
        let status = EncodedStatus::new(status::gone(status, Some(version)));
        changes.updates.push(tracked.update(status));
    }
}

/// Returns what actions on a pod name it by.
pub fn reference(pod: &Pod) -> PodRef {
    PodRef {
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    }
}

/// A pod with the label by which we find ours is a workspace if it has an id, or if we hold it: its id may have been taken
/// off since.
fn is_workspace(meta: &Meta) -> bool {
    let given = [
        meta.annotation(annotation::ID),
        meta.label(label::WORKSPACE_ID),
    ];
    let has_id = given.into_iter().flatten().any(|id| !id.is_empty());
    let held = meta.finalizers.iter().any(|f| f == FINALIZER);
    meta.label(label::MARKER) == Some("true") && (has_id || held && status::id(meta).is_some())
}

#[cfg(test)]
mod tests;
