//! Everything wsman knows of the cluster: watch events in, changes out. Plain data and plain functions.
//!
//! Per pod the newest resourceVersion wins, whichever way it came (watch, list or the answer to a write). Per
//! workspace versions strictly grow, equal statuses are not repeated, and STOPPED comes once and last (design 3).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::action::PodRef;
use crate::objects::{Event, Meta, Node, Pod};
use crate::proto::encoded::Encoded;
use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};
use crate::workspaces::decide::Entry;
use crate::workspaces::facts::{self, Facts};
use crate::workspaces::filter::Filter;
use crate::workspaces::marks::{annotation, label};
use crate::workspaces::status::{self, Defaults, NodeView, Observed};

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
}

impl Update {
    /// Whether this is the last update of its pod.
    pub fn is_last(&self) -> bool {
        self.status.phase() == WorkspacePhase::Stopped
    }
}

/// What an event changed.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// Updates to send, in order.
    pub updates: Vec<Update>,
    /// Names of pods whose next decision may differ.
    pub dirty: Vec<Arc<str>>,
    /// Names of pods whose status may differ, though they did not change: they must be read again.
    pub reread: Vec<Arc<str>>,
}

impl Changes {
    /// Adds what another event changed.
    pub fn extend(&mut self, more: Self) {
        self.updates.extend(more.updates);
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
    /// Version of the last complete list of nodes; 0 where there was none, as without the right to.
    nodes_listed: u64,
    events: HashMap<Arc<str>, VecDeque<Event>>,
    services: HashMap<Arc<str>, Arc<str>>,
    ended: Tombstones,
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
    /// The node it is on; empty before there is one.
    node: Box<str>,
    version: u64,
    /// Version of the last update that was sent.
    published: u64,
    /// The entry tells something that was not sent: it changed without its pod.
    unsent: bool,
    /// STOPPED was sent. The answer to a write may run ahead of the watch, so the entry alone does not tell.
    stopped: bool,
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

    /// Takes in a pod as it is now.
    pub fn apply_pod(&mut self, pod: &Pod) -> Changes {
        let mut changes = Changes::default();
        if !is_workspace(&pod.metadata) || self.ended.contains(&pod.metadata.uid) {
            return changes;
        }
        let version = pod.metadata.version();
        if let Some(known) = self.workspaces.get(pod.metadata.name.as_str()) {
            if known.pod.uid != pod.metadata.uid {
                if known.version > version {
                    return changes;
                }
                let name = pod.metadata.name.clone();
                self.end(&name, None, &mut changes);
            } else if known.version > version {
                return changes;
            }
        }
        let entry = self.fold(pod);
        self.store(entry, version, &mut changes);
        changes
    }

    /// Takes in that a pod is gone, with its last state. Only the name and the uid need to be readable.
    pub fn delete_pod(&mut self, pod: &Pod) -> Changes {
        let mut changes = Changes::default();
        let name = pod.metadata.name.as_str();
        match self.workspaces.get(name) {
            Some(known) if known.pod.uid == pod.metadata.uid || pod.metadata.uid.is_empty() => {
                let last = is_workspace(&pod.metadata)
                    .then(|| (self.fold(pod).status, pod.metadata.version()));
                self.end(name, last, &mut changes);
            }
            _ => self.ended.insert(&pod.metadata.uid),
        }
        changes
    }

    /// Takes in that a complete list at `version` held only the pods named in `present`: all others are gone.
    pub fn retain_pods(&mut self, present: &HashSet<String>, version: u64) -> Changes {
        let mut changes = Changes::default();
        let gone: Vec<Arc<str>> = self
            .workspaces
            .iter()
            // A pod that is newer than the list was created after it.
            .filter(|(name, known)| known.version <= version && !present.contains(&***name))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in gone {
            self.end(&name, None, &mut changes);
        }
        self.events
            .retain(|pod, _| self.workspaces.contains_key(pod));
        self.listed = true;
        changes
    }

    /// Takes in a node.
    pub fn apply_node(&mut self, node: Node) -> Changes {
        let name = node.metadata.name.clone();
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
        self.nodes_listed = self.nodes_listed.max(version);
        self.on_node(name)
    }

    /// Takes in that a complete list at `version` held only the nodes in `present`.
    pub fn retain_nodes(&mut self, present: &HashSet<String>, version: u64) -> Changes {
        self.nodes.retain(|name, _| present.contains(name));
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

    /// Takes in a Service that belongs to the workspace pod named `owner`.
    pub fn apply_service(&mut self, service: &str, owner: &str) -> Changes {
        self.services.insert(service.into(), owner.into());
        Changes::default()
    }

    /// Takes in that a Service is gone.
    pub fn delete_service(&mut self, service: &str) -> Changes {
        let owner = self.services.remove(service);
        let dirty = owner
            .filter(|owner| self.workspaces.contains_key(owner))
            .into_iter()
            .collect();
        Changes {
            dirty,
            ..Changes::default()
        }
    }

    /// Takes in that a complete list held only the Services in `present`.
    pub fn retain_services(&mut self, present: &HashSet<String>) -> Changes {
        let gone: Vec<_> = self
            .services
            .keys()
            .filter(|name| !present.contains(&***name))
            .cloned()
            .collect();
        let mut changes = Changes::default();
        for name in gone {
            changes.dirty.extend(self.delete_service(&name).dirty);
        }
        changes
    }

    /// Whether a Service of that name was seen.
    pub fn has_service(&self, name: &str) -> bool {
        self.services.contains_key(name)
    }

    /// Returns the workspace with an instance id.
    pub fn by_id(&self, id: &str) -> Option<&Tracked> {
        self.by_name(self.by_id.get(id)?)
    }

    /// Returns the workspace of a pod.
    pub fn by_name(&self, pod: &str) -> Option<&Tracked> {
        self.workspaces.get(pod)
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
        let pod = PodRef {
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
        };
        Entry { pod, status, facts }
    }

    /// A node that is not known is gone only if it was not there in a list that is newer than the pod: the news of a
    /// new node may come after those of its first pods.
    fn node(&self, pod: &Pod) -> NodeView<'_> {
        match self.nodes.get(&pod.spec.node_name) {
            Some(node) => NodeView::Present(node),
            None if !pod.spec.node_name.is_empty()
                && pod.metadata.version() <= self.nodes_listed =>
            {
                NodeView::Gone
            }
            None => NodeView::Unknown,
        }
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

    fn store(&mut self, entry: Entry, version: u64, changes: &mut Changes) {
        let Entry { pod, status, facts } = entry;
        let name: Arc<str> = pod.name.as_str().into();
        let known = self.workspaces.get(&name);
        let published = known.map_or(0, |known| known.published);
        let stopped = known.is_some_and(|known| known.stopped);
        let node = status
            .runtime
            .as_ref()
            .map(|runtime| runtime.node_name.as_str())
            .unwrap_or_default()
            .into();
        self.by_id.insert(status.id.clone(), Arc::clone(&name));
        let status = match known.filter(|known| known.stopped) {
            Some(known) => known.status.clone(),
            None => Encoded::new(status),
        };
        let news = known.is_none_or(|known| known.unsent || !known.status.same(&status));
        // What changes without the pod (an event, a node) is sent with the pod's next version (design 3).
        let send = news && !stopped && version > published;
        if send {
            changes.updates.push(Update {
                uid: pod.uid.as_str().into(),
                status: status.clone(),
            });
        }
        changes.dirty.push(Arc::clone(&name));
        let stopped = stopped || (send && status.phase() == WorkspacePhase::Stopped);
        self.workspaces.insert(
            name,
            Tracked {
                pod,
                facts,
                status,
                node,
                version,
                published: if send { version } else { published },
                unsent: news && !send,
                stopped,
            },
        );
    }

    /// Ends the pod under `name`: its STOPPED is sent unless it was.
    fn end(&mut self, name: &str, last: Option<(WorkspaceStatus, u64)>, changes: &mut Changes) {
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
        if tracked.stopped {
            return;
        }
        // A deletion that a list revealed has no version of its own: the next one is its lowest bound.
        let (status, version) = last.unwrap_or_else(|| (tracked.status.read(), 0));
        let version = version.max(tracked.version + 1).max(tracked.published + 1);
        let status = status::gone(status, Some(version + self.defaults.version_offset));
        changes.updates.push(Update {
            uid: tracked.pod.uid.into(),
            status: Encoded::new(status),
        });
    }
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
