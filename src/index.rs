//! Everything wsman knows of the cluster: watch events in, changes out. Plain data and plain functions.
//!
//! Per pod the newest resourceVersion wins, whichever way it came (watch, list or the answer to a write). Per
//! workspace versions strictly grow, equal statuses are not repeated, and STOPPED comes once and last (design 3).

mod services;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock};

use crate::action::PodRef;
use crate::objects::{Event, Meta, Node, Pod};
use crate::proto::encoded::{Encoded, SubscribeResponse};
use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};
use crate::workspaces::decide::Entry;
use crate::workspaces::facts::{self, Facts};
use crate::workspaces::filter::Filter;
use crate::workspaces::image;
use crate::workspaces::marks::{annotation, label};
use crate::workspaces::status::{self, Defaults, NodeView, Observed};
use services::Services;

/// Uids of ended pods that are remembered, so that a late answer to a write does not bring one back.
const TOMBSTONES: usize = 4096;
/// Warning events kept per pod.
const EVENTS: usize = 8;

/// A status that subscribers get to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// uid of the pod: a new pod under an old id is a new start.
    pub uid: Arc<str>,
    /// The status, with its version.
    pub status: Encoded,
    /// The message that streams send for it, once one did.
    pub message: OnceLock<SubscribeResponse>,
}

impl Update {
    /// Returns the update of a pod.
    pub fn new(uid: &str, status: Encoded) -> Self {
        Self {
            uid: uid.into(),
            status,
            message: OnceLock::new(),
        }
    }

    /// Whether this is the last update of its pod.
    pub fn is_last(&self) -> bool {
        is_last(&self.status)
    }
}

/// What an event changed.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// Updates to send, in the order of their versions.
    pub updates: Vec<Update>,
    /// What was missed up to this version is known only as far as it lasted.
    pub floor: Option<u64>,
    /// Names of pods whose next decision may differ.
    pub dirty: Vec<Arc<str>>,
    /// Names of pods whose status may differ, though they did not change: they must be read again.
    pub reread: Vec<Arc<str>>,
}

impl Changes {
    /// Adds what another event changed.
    pub fn extend(&mut self, more: Self) {
        self.updates.extend(more.updates);
        self.floor = self.floor.max(more.floor);
        self.dirty.extend(more.dirty);
        self.reread.extend(more.reread);
    }
}

/// The state of the cluster as far as it was seen.
#[derive(Debug, Default)]
pub struct Index {
    defaults: Defaults,
    workspaces: HashMap<Arc<str>, Tracked>,
    by_id: HashMap<String, Arc<str>>,
    nodes: HashMap<String, Node>,
    /// Nodes that are gone while pods name them. Those pods go on changing: their versions no longer tell.
    gone: HashSet<String>,
    /// Version of the last complete list of nodes; 0 where there was none, as without the right to.
    nodes_listed: u64,
    events: HashMap<Arc<str>, VecDeque<Event>>,
    services: Services,
    ended: Tombstones,
    /// Ends that a list showed which is not complete yet.
    untold: Vec<Update>,
    listed: bool,
}

/// One workspace as it is kept: its status as bytes.
#[derive(Debug)]
pub struct Tracked {
    /// The pod.
    pub pod: PodRef,
    /// What the lifecycle needs beside the status.
    pub facts: Facts,
    /// What clients see.
    pub status: Encoded,
    /// What a registry facade may ask for.
    pub image: image::Recorded,
    /// The node it is on; empty before there is one.
    node: Box<str>,
    version: u64,
    /// What was told last. The answer to a write runs ahead of the watch, so `status` alone does not tell.
    told: Option<Encoded>,
}

impl Tracked {
    /// Returns the workspace with its status decoded, for deciding on it.
    pub fn entry(&self) -> Entry {
        Entry {
            pod: self.pod.clone(),
            status: self.status.read(),
            facts: self.facts.clone(),
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

    /// Takes in a pod as the watch tells it, in the order of versions: the only thing that updates are sent for, so that
    /// every replica sends them in the same order.
    pub fn apply_pod(&mut self, pod: &Pod) -> Changes {
        let mut changes = Changes::default();
        let version = pod.metadata.version();
        if let Some(known) = self.workspaces.get(pod.metadata.name.as_str())
            && known.pod.uid != pod.metadata.uid
            && known.version < version
            && is_workspace(&pod.metadata)
        {
            // Its deletion was before this.
            let name = pod.metadata.name.clone();
            self.end(&name, None, version - 1, &mut changes);
        }
        if self.store(pod, &mut changes) {
            self.tell(&pod.metadata.name, &mut changes);
        }
        changes
    }

    /// Takes in a pod of a list. It is known from now on, and told when the list is complete.
    pub fn list_pod(&mut self, pod: &Pod) -> Changes {
        let mut changes = Changes::default();
        if let Some(known) = self.workspaces.get(pod.metadata.name.as_str())
            && known.pod.uid != pod.metadata.uid
            && known.version < pod.metadata.version()
            && is_workspace(&pod.metadata)
        {
            let (name, before) = (pod.metadata.name.clone(), pod.metadata.version() - 1);
            self.end(&name, None, before, &mut changes);
            self.untold.append(&mut changes.updates);
        }
        self.store(pod, &mut changes);
        changes
    }

    /// Takes in a pod as the answer to a call shows it. It is known from now on, and told with the watch.
    pub fn see_pod(&mut self, pod: &Pod) -> Changes {
        let mut changes = Changes::default();
        let known = self.workspaces.get(pod.metadata.name.as_str());
        // The end of an earlier pod of that name is told first.
        if known.is_none_or(|known| known.pod.uid == pod.metadata.uid) {
            self.store(pod, &mut changes);
        }
        changes
    }

    /// Takes in that a pod is gone, with its last state. Only the name and the uid need to be readable.
    pub fn delete_pod(&mut self, pod: &Pod) -> Changes {
        let mut changes = Changes::default();
        let name = pod.metadata.name.as_str();
        match self.workspaces.get(name) {
            Some(known) if known.pod.uid == pod.metadata.uid || pod.metadata.uid.is_empty() => {
                let last = is_workspace(&pod.metadata).then(|| self.fold(pod).status);
                self.end(name, last, pod.metadata.version(), &mut changes);
            }
            _ => self.ended.insert(&pod.metadata.uid),
        }
        changes
    }

    /// Takes in that a complete list at `version`, whose pods were taken in, held only those named in `present`: all
    /// others are gone. What changed since the last event is told.
    pub fn retain_pods(&mut self, present: &HashSet<String>, version: u64) -> Changes {
        let mut changes = Changes {
            updates: std::mem::take(&mut self.untold),
            ..Changes::default()
        };
        let listed: Vec<Arc<str>> = self
            .workspaces
            .iter()
            // A pod that is newer than the list was created or changed after it.
            .filter(|(_, known)| known.version <= version)
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in listed {
            if present.contains(&*name) {
                self.tell(&name, &mut changes);
            } else {
                self.end(&name, None, version, &mut changes);
            }
        }
        changes
            .updates
            .sort_by_key(|update| update.status.version());
        changes.floor = Some(version + self.defaults.version_offset);
        self.events
            .retain(|pod, _| self.workspaces.contains_key(pod));
        self.listed = true;
        changes
    }

    /// Takes in a node.
    pub fn apply_node(&mut self, node: Node) -> Changes {
        let name = node.metadata.name.clone();
        self.gone.remove(&name);
        let nodes = &mut self.nodes;
        let same = nodes
            .get(&name)
            .is_some_and(|known| known.spec.taints == node.spec.taints);
        nodes.insert(name.clone(), node);
        if same {
            Changes::default()
        } else {
            self.on_node(&name)
        }
    }

    /// Takes in that a node is gone since `version`.
    pub fn delete_node(&mut self, name: &str, version: u64) -> Changes {
        self.nodes.remove(name);
        self.gone.insert(name.to_owned());
        self.forget_nodes();
        self.nodes_listed = self.nodes_listed.max(version);
        self.on_node(name)
    }

    /// Takes in that a complete list at `version` held only the nodes in `present`.
    pub fn retain_nodes(&mut self, present: &HashSet<String>, version: u64) -> Changes {
        let gone = self.nodes.extract_if(|name, _| !present.contains(name));
        self.gone.extend(gone.map(|(name, _)| name));
        self.forget_nodes();
        self.nodes_listed = version;
        let gone = |node: &str| !node.is_empty() && !present.contains(node);
        let reread = self
            .workspaces
            .iter()
            .filter(|(_, tracked)| gone(&tracked.node));
        Changes {
            reread: reread.map(|(name, _)| Arc::clone(name)).collect(),
            ..Changes::default()
        }
    }

    /// Takes in a warning about a pod.
    pub fn apply_event(&mut self, event: Event) -> Changes {
        let mut changes = Changes::default();
        let Some((name, _)) = self
            .workspaces
            .get_key_value(event.involved_object.name.as_str())
        else {
            return changes;
        };
        let known = self.events.entry(Arc::clone(name)).or_default();
        if known
            .iter()
            .any(|e| e.reason == event.reason && e.message == event.message)
        {
            return changes;
        }
        if known.len() == EVENTS {
            known.pop_front();
        }
        if status::depends_on(&event) {
            changes.reread.push(Arc::clone(name));
        }
        known.push_back(event);
        changes
    }

    /// Returns what the pod of an instance id holds of its image spec.
    pub fn image_by_id(&self, id: &str) -> Option<&image::Recorded> {
        let tracked = self.workspaces.get(self.by_id.get(id)?)?;
        Some(&tracked.image)
    }

    /// Returns the workspace with an instance id.
    pub fn by_id(&self, id: &str) -> Option<&Tracked> {
        self.by_name(self.by_id.get(id)?)
    }

    /// Returns the workspace of a pod.
    pub fn by_name(&self, pod: &str) -> Option<&Tracked> {
        self.workspaces.get(pod)
    }

    /// Returns the names of all pods.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.workspaces.keys()
    }

    /// Returns every workspace that matches, in no particular order.
    pub fn list<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Encoded> {
        self.workspaces
            .values()
            .map(|tracked| &tracked.status)
            .filter(|status| filter.matches(status))
    }

    /// Whether a complete list of the pods was seen: only then the index may answer for all of them.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    fn fold(&self, pod: &Pod) -> Entry {
        let events: Vec<Event> = self
            .events
            .get(pod.metadata.name.as_str())
            .map(|e| e.iter().cloned().collect())
            .unwrap_or_default();
        let observed = Observed {
            pod,
            events: &events,
            node: self.node(pod),
        };
        let status = status::of(&observed, &self.defaults)
            .unwrap_or_else(|why| status::unreadable(pod, &why, &self.defaults));
        let facts = facts::of(&observed);
        Entry {
            pod: reference(pod),
            status,
            facts,
        }
    }

    fn node(&self, pod: &Pod) -> NodeView<'_> {
        let name = &pod.spec.node_name;
        match self.nodes.get(name) {
            Some(node) => NodeView::Present(node),
            None if self.gone.contains(name) => NodeView::Gone,
            None => NodeView::Unknown,
        }
    }

    /// A node that was never known is gone only if it was not there in a list that is newer than the pod: the news of a
    /// new node may come after those of its first pods.
    fn miss_node(&mut self, pod: &Pod) {
        let name = &pod.spec.node_name;
        let listed = pod.metadata.version() <= self.nodes_listed;
        if listed && !name.is_empty() && !self.nodes.contains_key(name) {
            self.gone.insert(name.clone());
        }
    }

    /// Only what a workspace names is kept.
    fn forget_nodes(&mut self) {
        let named = self.workspaces.values();
        let named: HashSet<&str> = named.map(|tracked| &*tracked.node).collect();
        self.gone.retain(|name| named.contains(name.as_str()));
    }

    /// The pods of a node whose taints changed, or that came or went.
    fn on_node(&self, node: &str) -> Changes {
        let there = self
            .workspaces
            .iter()
            .filter(|(_, tracked)| &*tracked.node == node);
        Changes {
            reread: there.map(|(name, _)| Arc::clone(name)).collect(),
            ..Changes::default()
        }
    }

    /// Keeps a pod, unless it is over or something newer is known. Returns whether it was kept.
    fn store(&mut self, pod: &Pod, changes: &mut Changes) -> bool {
        if !is_workspace(&pod.metadata) || self.ended.contains(&pod.metadata.uid) {
            return false;
        }
        let version = pod.metadata.version();
        let known = self.workspaces.get(pod.metadata.name.as_str());
        if known.is_some_and(|known| known.version > version) {
            return false;
        }
        let told = known.and_then(|known| known.told.clone());
        self.miss_node(pod);
        let image = image::recorded(&pod.metadata);
        let Entry { pod, status, facts } = self.fold(pod);
        let name: Arc<str> = pod.name.as_str().into();
        let node = status
            .runtime
            .as_ref()
            .map(|runtime| runtime.node_name.as_str())
            .unwrap_or_default()
            .into();
        self.by_id.insert(status.id.clone(), Arc::clone(&name));
        // Whatever becomes of the pod, its workspace has stopped.
        let status = match told.as_ref().filter(|told| is_last(told)) {
            Some(told) => told.clone(),
            None => Encoded::new(status),
        };
        changes.dirty.push(Arc::clone(&name));
        self.workspaces.insert(
            name,
            Tracked {
                pod,
                facts,
                status,
                image,
                node,
                version,
                told,
            },
        );
        true
    }

    /// Sends what is known of a workspace, unless it was. What changes without the pod (an event, a node) is sent with
    /// the pod's next version (design 3).
    fn tell(&mut self, name: &str, changes: &mut Changes) {
        let Some(tracked) = self.workspaces.get_mut(name) else {
            return;
        };
        let news = tracked.told.as_ref().is_none_or(|told| {
            tracked.status.version() > told.version() && !told.same(&tracked.status)
        });
        if news {
            tracked.told = Some(tracked.status.clone());
            let update = Update::new(&tracked.pod.uid, tracked.status.clone());
            changes.updates.push(update);
        }
    }

    /// Ends the pod under `name` as of `version`: its STOPPED is sent unless it was.
    fn end(
        &mut self,
        name: &str,
        last: Option<WorkspaceStatus>,
        version: u64,
        changes: &mut Changes,
    ) {
        let Some((name, tracked)) = self.workspaces.remove_entry(name) else {
            return;
        };
        self.ended.insert(&tracked.pod.uid);
        self.events.remove(&*name);
        let id = tracked.status.id();
        if self.by_id.get(&id) == Some(&name) {
            self.by_id.remove(&id);
        }
        changes.dirty.push(name);
        if tracked.told.as_ref().is_some_and(is_last) {
            return;
        }
        let status = last.unwrap_or_else(|| tracked.status.read());
        // Should a server not tell when a pod went, its STOPPED is still newer than all before.
        let told = tracked.told.map_or(0, |told| told.version());
        let version = (version + self.defaults.version_offset).max(told + 1);
        let status = Encoded::new(status::gone(status, Some(version)));
        changes.updates.push(Update::new(&tracked.pod.uid, status));
    }
}

/// Returns what actions on a pod name it by.
pub fn reference(pod: &Pod) -> PodRef {
    PodRef {
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    }
}

fn is_last(status: &Encoded) -> bool {
    status.phase() == WorkspacePhase::Stopped
}

fn is_workspace(meta: &Meta) -> bool {
    meta.annotation(annotation::ID)
        .is_some_and(|id| !id.is_empty())
        && meta.label(label::MARKER) == Some("true")
}

/// The uids of pods that ended, oldest out first.
#[derive(Debug, Default)]
struct Tombstones {
    order: VecDeque<Arc<str>>,
    uids: HashSet<Arc<str>>,
}

impl Tombstones {
    fn contains(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }

    fn insert(&mut self, uid: &str) {
        if uid.is_empty() || self.contains(uid) {
            return;
        }
        if self.order.len() == TOMBSTONES
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
        let uid: Arc<str> = uid.into();
        self.order.push_back(Arc::clone(&uid));
        self.uids.insert(uid);
    }
}

#[cfg(test)]
mod tests;
