//! Everything wsman knows of the cluster: watch events in, changes out. Plain data and plain functions.
//!
//! Per pod the newest resourceVersion wins, whichever way it came (watch, list or the answer to a write). Per
//! group versions strictly grow, equal updates are not repeated, and the end comes once and last
//! (docs/protocol.md#what-consumers-of-updates-can-rely-on).

pub mod ended;
pub mod input;
mod nodes;
pub mod noun;
pub mod observed;
pub mod observer;
pub mod served;
mod services;
mod strays;
mod tombstones;
mod warnings;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::action::PodRef;
use crate::objects::Pod;
use crate::updates::Update;
use input::Source;
use nodes::Nodes;
use noun::{Group, Member, Membership, Noun};
use observed::{Objects, Observed};
use observer::Folded;
use services::Services;
pub use strays::only_strayed;
use tombstones::Tombstones;
use warnings::Warnings;
pub use warnings::rank;

/// What an event changed.
#[derive(Debug, PartialEq)]
pub struct Changes<N: Noun> {
    /// Updates to publish, in the order of their versions.
    pub updates: Vec<Arc<N::Update>>,
    /// What was missed up to this version is known only as far as it lasted.
    pub floor: Option<u64>,
    /// Keys of groups whose next decision may differ.
    pub dirty: Vec<Arc<str>>,
    /// Names of pods whose status may differ, though they did not change: they must be read again.
    pub reread: Vec<Arc<str>>,
    /// Names of pods whose marks have become unreadable, and which; or readable again, and nothing.
    pub unreadable: Vec<(Arc<str>, Box<str>)>,
    /// Pods that were folded, and from what; empty where nobody observes.
    pub folded: Vec<Folded<N>>,
    /// What groups share may have changed.
    pub shared: bool,
}

impl<N: Noun> Default for Changes<N> {
    fn default() -> Self {
        Self {
            updates: Vec::new(),
            floor: None,
            dirty: Vec::new(),
            reread: Vec::new(),
            unreadable: Vec::new(),
            folded: Vec::new(),
            shared: false,
        }
    }
}

impl<N: Noun> Changes<N> {
    /// Adds what another event changed.
    pub fn extend(&mut self, more: Self) {
        self.updates.extend(more.updates);
        self.floor = self.floor.max(more.floor);
        self.dirty.extend(more.dirty);
        self.reread.extend(more.reread);
        self.unreadable.extend(more.unreadable);
        self.folded.extend(more.folded);
        self.shared |= more.shared;
    }
}

/// The state of the cluster as far as it was seen.
#[derive(Debug)]
pub struct Index<N: Noun> {
    defaults: N::Defaults,
    /// By the uid of their anchors.
    groups: HashMap<Arc<str>, Group<N>>,
    /// The groups of the pods that are there, by the pods' names.
    pods: HashMap<Arc<str>, Arc<str>>,
    by_id: HashMap<String, Arc<str>>,
    nodes: Nodes,
    warnings: Warnings,
    services: Services,
    /// Pods that we hold and that lost the label by which we find ours, by uid.
    strays: HashMap<Arc<str>, PodRef>,
    /// Pods that are gone, by uid: a late answer brings none back.
    ended: Tombstones,
    /// Ends that a list showed which is not complete yet.
    unpublished: Vec<Arc<N::Update>>,
    /// Version of the last complete list of the pods.
    listed: Option<u64>,
    /// What pods are folded from is kept.
    observed: bool,
}

impl<N: Noun> Default for Index<N> {
    fn default() -> Self {
        Self::new(N::Defaults::default())
    }
}

impl<N: Noun> Index<N> {
    /// Returns an empty index that takes from the configuration what pods do not say.
    pub fn new(defaults: N::Defaults) -> Self {
        Self {
            defaults,
            groups: HashMap::new(),
            pods: HashMap::new(),
            by_id: HashMap::new(),
            nodes: Nodes::default(),
            warnings: Warnings::default(),
            services: Services::default(),
            strays: HashMap::new(),
            ended: Tombstones::default(),
            unpublished: Vec::new(),
            listed: None,
            observed: false,
        }
    }

    /// Changes what the configuration adds. It shows with each pod's next version: statuses are versioned by their pods.
    pub fn set_defaults(&mut self, defaults: N::Defaults) {
        self.defaults = defaults;
    }

    /// Returns what the configuration adds.
    pub fn defaults(&self) -> &N::Defaults {
        &self.defaults
    }

    /// Takes in a pod as the watch sends it, in the order of versions: the only thing that updates are published for, so
    /// that every replica publishes them in the same order.
    pub fn apply_pod(&mut self, pod: &Pod) -> Changes<N> {
        let mut changes = Changes::default();
        if let Some(key) = self.take_in(pod, Source::Watch, &mut changes) {
            self.publish(&key, pod.metadata.version(), false, &mut changes);
        }
        changes
    }

    /// Takes in a pod of a list. It is known from now on, and published when the list is complete.
    pub fn list_pod(&mut self, pod: &Pod) -> Changes<N> {
        let mut changes = Changes::default();
        self.take_in(pod, Source::List, &mut changes);
        self.unpublished.append(&mut changes.updates);
        changes
    }

    /// Takes in a pod as the answer to a call shows it. It is known from now on, and published with the watch.
    pub fn see_pod(&mut self, pod: &Pod) -> Changes<N> {
        let mut changes = Changes::default();
        self.take_in(pod, Source::Answer, &mut changes);
        changes
    }

    /// Takes in that a pod is gone, with its last state. Only the name and the uid need to be readable.
    pub fn delete_pod(&mut self, pod: &Pod) -> Changes<N> {
        let mut changes = Changes::default();
        let meta = &pod.metadata;
        let known = self.known(&meta.name);
        match known.filter(|known| known.pod.uid == meta.uid || meta.uid.is_empty()) {
            Some(_) => {
                let last = N::membership(pod).map(|_| self.read(pod));
                self.end(&meta.name, last, meta.version(), &mut changes);
            }
            None => self.ended.insert(&meta.uid),
        }
        changes
    }

    /// Takes in that a complete list at `version`, whose pods were taken in, held only those named in `present`: all
    /// others are gone. What changed since the last event is published.
    pub fn retain_pods(&mut self, present: &HashSet<String>, version: u64) -> Changes<N> {
        let mut changes = Changes {
            updates: std::mem::take(&mut self.unpublished),
            ..Changes::default()
        };
        let members = self.groups.values().flat_map(|group| {
            let living = group.living();
            living.map(|member| (Arc::clone(&group.key), member))
        });
        // A pod that is newer than the list was created or changed after it.
        let listed = members.filter(|(_, member)| {
            member.version <= version && !self.strays.contains_key(member.pod.uid.as_str())
        });
        let listed: Vec<_> = listed
            .map(|(key, member)| (key, member.pod.name.clone()))
            .collect();
        // What of a group is gone went between two lists, nobody knows in which order: it ends as one.
        for members in listed.chunk_by(|(key, _), (next, _)| key == next) {
            let (key, _) = &members[0];
            let mut ended = false;
            for (_, name) in members.iter().filter(|(_, name)| !present.contains(name)) {
                ended |= self.lose(name, None, version, &mut changes).is_some();
            }
            match ended {
                true => self.close(key, version, &mut changes),
                false => self.publish(key, version, false, &mut changes),
            }
        }
        changes.updates.sort_by_key(|update| update.version());
        changes.floor = Some(version + N::version_offset(&self.defaults));
        self.listed = Some(version);
        changes
    }

    /// Returns the group with an id, as callers know it.
    pub fn by_id(&self, id: &str) -> Option<&Group<N>> {
        self.group(self.by_id.get(id)?)
    }

    /// Returns the group that the pod of a name belongs to.
    pub fn by_pod(&self, pod: &str) -> Option<&Group<N>> {
        self.group(self.pods.get(pod)?)
    }

    /// Returns the group under a key.
    pub fn group(&self, key: &str) -> Option<&Group<N>> {
        self.groups.get(key)
    }

    /// Returns the key of everything that there is something to decide about.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.groups.keys().chain(self.strays.keys())
    }

    /// Returns every group that clients get to see, in no particular order.
    pub fn visible(&self) -> impl Iterator<Item = &Group<N>> {
        self.groups.values().filter(|group| is_visible(group))
    }

    /// Whether a complete list of the pods was seen: only then the index may answer for all of them.
    pub fn is_listed(&self) -> bool {
        self.listed.is_some()
    }

    /// Takes in that the message bus has confirmed the last update of a start.
    pub fn announced(&mut self, last: &N::Update) -> Changes<N> {
        let mut changes = Changes::default();
        if let Some(group) = self.groups.get_mut(last.start_uid())
            && !std::mem::replace(&mut group.announced, true)
        {
            changes.dirty.push(Arc::clone(&group.key));
        }
        changes
    }

    fn known(&self, pod: &str) -> Option<&Member<N>> {
        let group = self.by_pod(pod)?;
        group.living().find(|member| member.pod.name == pod)
    }

    fn observe_pod<'a>(&'a self, pod: &'a Pod) -> Observed<'a> {
        Observed {
            pod,
            events: self.warnings.of(&pod.metadata.name),
            node: self.node(pod),
        }
    }

    fn read(&self, pod: &Pod) -> N::Entry {
        N::read(&self.observe_pod(pod), &self.defaults)
    }

    /// Takes in a pod, unless it is over or something newer is known. Returns the key of its group if it is known now.
    fn take_in(&mut self, pod: &Pod, source: Source, changes: &mut Changes<N>) -> Option<Arc<str>> {
        let membership = N::membership(pod)?;
        let (meta, version) = (&pod.metadata, pod.metadata.version());
        if self.ended.contains(&meta.uid) {
            return None;
        }
        if let Some(known) = self.known(&meta.name) {
            let other = known.pod.uid != meta.uid;
            // The watch sends the end of the earlier pod first.
            if known.version > version || (other && source == Source::Answer) {
                return None;
            }
            if other {
                // It went before this one came.
                self.end(&meta.name, None, version - 1, changes);
            }
        }
        self.miss_node(pod);
        let observed = self.observe_pod(pod);
        let objects = self
            .observed
            .then(|| Arc::new(Objects::of(&observed, &self.defaults)));
        let member = Member {
            pod: reference(pod),
            version,
            gone: false,
            entry: N::read(&observed, &self.defaults),
            node: pod.spec.node_name.as_str().into(),
            rank: membership.rank,
            objects,
        };
        Some(self.store(&membership, member, changes))
    }

    fn store(
        &mut self,
        membership: &Membership,
        member: Member<N>,
        changes: &mut Changes<N>,
    ) -> Arc<str> {
        let folded = member.objects.iter().map(|objects| Folded {
            objects: Arc::clone(objects),
            entry: member.entry.clone(),
        });
        changes.folded.extend(folded);
        let group = self.groups.get(membership.anchor.uid.as_str());
        let before = group.map(|group| N::id(group).to_owned());
        let known = group.and_then(|group| group.member(&member.pod.uid));
        changes.shared |= N::is_shared(known.map(|known| &known.entry), Some(&member.entry));
        let name: Arc<str> = member.pod.name.as_str().into();
        let unreadable = N::unreadable(&member.entry);
        if known.map_or("", |known| N::unreadable(&known.entry)) != unreadable {
            let unreadable = unreadable.into();
            changes.unreadable.push((Arc::clone(&name), unreadable));
        }
        let key = match self.groups.get_mut(membership.anchor.uid.as_str()) {
            Some(group) => {
                group.put(member);
                Arc::clone(&group.key)
            }
            None => {
                let group = Group::new(&membership.anchor, member);
                let key = Arc::clone(&group.key);
                self.groups.insert(Arc::clone(&key), group);
                key
            }
        };
        if let Some(group) = self.groups.get(&key) {
            let id = N::id(group);
            if let Some(before) = before.filter(|before| before != id)
                && self.by_id.get(&before) == Some(&key)
            {
                self.by_id.remove(&before);
            }
            if is_visible(group) && self.by_id.get(id) != Some(&key) {
                self.by_id.insert(id.to_owned(), Arc::clone(&key));
            }
        }
        self.pods.insert(name, Arc::clone(&key));
        changes.dirty.push(Arc::clone(&key));
        key
    }

    /// Publishes what is known of a group, unless it was. What changes without its pods (an event, a node) is published
    /// with their next version. The watch is at `version`: a pod that is newer was seen in an answer, and is published when
    /// the watch sends it. With `ended` that is the version of the end of a pod.
    fn publish(&mut self, key: &str, version: u64, ended: bool, changes: &mut Changes<N>) {
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        let was_ahead = group.is_ahead();
        group.watch(version);
        if was_ahead && !group.is_ahead() {
            changes.dirty.push(Arc::clone(&group.key));
            changes.shared = true;
        }
        if !is_visible(group) || group.is_over() || group.is_ahead() {
            return;
        }
        let mut update = N::fold(group, &self.defaults);
        let last = group.last_published.as_deref();
        if ended {
            let version = version + N::version_offset(&self.defaults);
            // Should a server not say when a pod went, its end is still newer than all before.
            update = update.at(version.max(last.map_or(0, Update::version) + 1));
        }
        if last.is_none_or(|last| update.version() > last.version() && !last.same(&update)) {
            let update = Arc::new(update);
            group.last_published = Some(Arc::clone(&update));
            changes.updates.push(update);
        }
    }

    /// Ends the pod under `name` as of `version`, and its group with it if that was the last.
    fn end(&mut self, name: &str, last: Option<N::Entry>, version: u64, changes: &mut Changes<N>) {
        if let Some((key, version)) = self.lose(name, last, version, changes) {
            self.close(&key, version, changes);
        }
    }

    /// Takes in that the pod under `name` is gone as of `version`. Returns the key of its group, and the version of the
    /// end: that of the pod, should it be newer.
    fn lose(
        &mut self,
        name: &str,
        last: Option<N::Entry>,
        version: u64,
        changes: &mut Changes<N>,
    ) -> Option<(Arc<str>, u64)> {
        let key = self.pods.remove(name)?;
        self.estrange(name);
        let group = self.groups.get_mut(&key)?;
        let uid = group.living().find(|member| member.pod.name == name);
        let uid = uid.map(|member| member.pod.uid.clone()).unwrap_or_default();
        self.ended.insert(&uid);
        let mut version = version;
        if let Some(member) = group.member_mut(&uid) {
            version = version.max(member.version);
            member.gone = true;
            member.version = version;
            changes.shared |= N::is_shared(Some(&member.entry), None);
            member.entry = last.unwrap_or_else(|| member.entry.clone());
        }
        changes.dirty.push(Arc::clone(&key));
        Some((key, version))
    }

    /// Publishes a group that lost pods as of `version`, and forgets it if those were the last.
    fn close(&mut self, key: &Arc<str>, version: u64, changes: &mut Changes<N>) {
        let is_last = |group: &Group<N>| group.living().next().is_none();
        let is_last = self.groups.get(key).is_some_and(is_last);
        self.publish(key, version, true, changes);
        if is_last && let Some(group) = self.groups.remove(key) {
            let id = N::id(&group);
            if self.by_id.get(id) == Some(key) {
                self.by_id.remove(id);
            }
        }
    }
}

fn is_visible<N: Noun>(group: &Group<N>) -> bool {
    group.is_led() && N::is_visible(group)
}

/// Returns what actions on a pod name it by.
pub fn reference(pod: &Pod) -> PodRef {
    PodRef {
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    }
}

#[cfg(test)]
mod tests;
