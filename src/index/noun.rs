//! What a noun registers with the core: where a pod belongs, what is kept of it, how a group folds, and what it needs;
//! and the groups that the core keeps for it.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::Index;
use super::observed::{Objects, Observed};
use crate::action::PodRef;
use crate::decision::{Decision, Together};
use crate::objects::{Event, Node, Pod};
use crate::updates::Update;

/// Where a pod belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The pod that holds the name of the group and owns what belongs to it. Its uid is that of the start.
    pub anchor: PodRef,
    /// Orders the members; the anchor of a group has the lowest.
    pub rank: u32,
}

/// Who a group is, and why it ends, for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Id of the group, as callers know it.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// What the owner calls it.
    pub meta_id: String,
    /// Why it ends, as far as it is known.
    pub reason: Option<String>,
}

/// A kind of group. The value itself is what the noun keeps beside the index, under the same lock.
///
/// Everything here is called under the lock of the hub: it must be short.
pub trait Noun: fmt::Debug + Clone + PartialEq + Default + Send + Sync + 'static {
    /// What one is called in logs.
    const KIND: &'static str;

    /// What the configuration adds to what is kept.
    type Defaults: fmt::Debug + Clone + Default + PartialEq + Send + Sync;
    /// What is kept of a pod.
    type Entry: fmt::Debug + Clone + PartialEq + Send + Sync;
    /// What is published of a group.
    type Update: Update + Clone + PartialEq;
    /// What the configuration says about decisions.
    type Policy: fmt::Debug + Clone + Send + Sync;
    /// What takes longer than a write, and happens outside of the API server.
    type Step: fmt::Debug + Clone + PartialEq + Send + Sync;
    /// All that a decision was made from, for observers.
    type Case: fmt::Debug + Clone + PartialEq + Send;

    /// Returns where a pod belongs; `None` if it is none of this noun's.
    fn membership(pod: &Pod) -> Option<Membership>;

    /// Whether a pod is one of this noun's that lost the label by which the others are found.
    fn is_stray(_pod: &Pod) -> bool {
        false
    }

    /// Returns what is kept of a pod.
    fn read(observed: &Observed<'_>, defaults: &Self::Defaults) -> Self::Entry;

    /// Returns which marks of a pod cannot be read; empty if there is none.
    fn unreadable(_entry: &Self::Entry) -> &str {
        ""
    }

    /// Whether a warning may matter to any pod.
    fn keeps(_event: &Event) -> bool {
        false
    }

    /// Whether what is kept of a pod may change with a warning about it.
    fn depends_on(_event: &Event, _entry: &Self::Entry) -> bool {
        false
    }

    /// Returns the id of a group, as callers know it.
    fn id(group: &Group<Self>) -> &str;

    /// Whether clients get to see a group whose anchor was seen.
    fn is_visible(_group: &Group<Self>) -> bool {
        true
    }

    /// Folds a group into what is published of it, in the version of the newest of its pods.
    fn fold(group: &Group<Self>, defaults: &Self::Defaults) -> Self::Update;

    /// Returns what is added to the versions of pods.
    fn version_offset(_defaults: &Self::Defaults) -> u64 {
        0
    }

    /// Takes in that a group has ended.
    fn forget(&mut self, _last: &Self::Update) {}

    /// Decides what a group needs at `now`; `None` if there is nothing under the key.
    fn decide(
        &self,
        index: &Index<Self>,
        key: &str,
        policy: &Self::Policy,
        now: Timestamp,
    ) -> Option<Decision<Self::Step>>;

    /// Decides what groups that share something need at `now`: what one of them gets, another cannot have. It is asked
    /// again once the actions of its decisions ended.
    fn decide_together(
        &self,
        _index: &Index<Self>,
        _policy: &Self::Policy,
        _now: Timestamp,
    ) -> Together<Self::Step> {
        Together::default()
    }

    /// Whether what groups share may have changed with a pod. `before` is what was kept of it, `after` what is; `None`
    /// where it is not there.
    fn is_shared(_before: Option<&Self::Entry>, _after: Option<&Self::Entry>) -> bool {
        false
    }

    /// Whether pods of the noun may fold to something else with a change of their node.
    fn depends_on_node(before: &Node, after: &Node) -> bool {
        before.spec.taints != after.spec.taints
    }

    /// Whether what groups share may have changed with a node.
    fn shares_nodes(_before: Option<&Node>, _after: Option<&Node>) -> bool {
        false
    }

    /// Returns all that [`Noun::decide`] makes a decision from.
    fn case(
        &self,
        index: &Index<Self>,
        key: &str,
        policy: &Self::Policy,
        now: Timestamp,
    ) -> Self::Case;

    /// Returns who a group is, and why it ends.
    fn about(group: &Group<Self>) -> About;
}

/// One pod of a group.
#[derive(Debug)]
pub struct Member<N: Noun> {
    pub pod: PodRef,
    /// Version of the pod; of one that is gone, that of its end.
    pub version: u64,
    /// The pod is gone. It counts until its group is over.
    pub gone: bool,
    /// What the noun keeps of it.
    pub entry: N::Entry,
    /// The node it is on; empty before there is one.
    pub node: Box<str>,
    /// Orders the members.
    pub rank: u32,
    /// What it was folded from, where somebody observes.
    pub objects: Option<Arc<Objects<N::Defaults>>>,
}

/// The pods of one start.
#[derive(Debug)]
pub struct Group<N: Noun> {
    /// uid of the anchor, which names the start.
    pub key: Arc<str>,
    /// Name of the anchor.
    pub name: Arc<str>,
    /// The message bus has confirmed the last update.
    pub announced: bool,
    /// The member with the highest rank.
    newest: Member<N>,
    /// Version up to which the watch has sent its pods.
    watched: u64,
    /// The others, by rank.
    older: Vec<Member<N>>,
    is_led: bool,
    /// What was published last. The answer to a write runs ahead of the watch, so its pods may be newer.
    pub last_published: Option<Arc<N::Update>>,
}

impl<N: Noun> Group<N> {
    /// Returns a group of one pod.
    pub fn new(anchor: &PodRef, member: Member<N>) -> Self {
        Self {
            key: anchor.uid.as_str().into(),
            name: anchor.name.as_str().into(),
            announced: false,
            is_led: member.pod.uid == anchor.uid,
            newest: member,
            watched: 0,
            older: Vec::new(),
            last_published: None,
        }
    }

    /// Returns the anchor as actions name it, whether it is there or not.
    pub fn anchor(&self) -> PodRef {
        PodRef {
            name: self.name.to_string(),
            uid: self.key.to_string(),
        }
    }

    /// Returns the member with the highest rank, also if it is gone.
    pub fn newest(&self) -> &Member<N> {
        &self.newest
    }

    /// Returns all pods, by rank, also those that are gone.
    pub fn members(&self) -> impl Iterator<Item = &Member<N>> {
        self.older.iter().chain(Some(&self.newest))
    }

    /// Returns the pods that are there and older than the newest, by rank.
    pub fn older(&self) -> impl Iterator<Item = &Member<N>> {
        self.older.iter().filter(|member| !member.gone)
    }

    /// Returns the pods that are there, by rank.
    pub fn living(&self) -> impl Iterator<Item = &Member<N>> {
        let newest = Some(&self.newest).filter(|member| !member.gone);
        self.older().chain(newest)
    }

    /// Whether the anchor was seen: until then the others may have been made too late.
    pub fn is_led(&self) -> bool {
        self.is_led
    }

    /// Whether the last update was published: whatever becomes of its pods, the group has ended.
    pub fn is_over(&self) -> bool {
        self.last_published.as_deref().is_some_and(Update::is_last)
    }

    /// Returns the newest version of a pod.
    pub fn version(&self) -> u64 {
        let versions = self.members().map(|member| member.version);
        versions.max().unwrap_or(0)
    }

    /// Whether an answer showed a pod that the watch has yet to send. Until then nothing is published of the group, and
    /// nothing decided: its subscribers see every state that led to an action.
    pub fn is_ahead(&self) -> bool {
        self.version() > self.watched
    }

    /// Takes in that the watch has sent everything up to a version.
    pub(super) fn watch(&mut self, version: u64) {
        self.watched = version.max(self.watched);
    }

    /// Takes in that the anchor was seen.
    pub fn lead(&mut self) {
        self.is_led = true;
    }

    pub(super) fn member(&self, uid: &str) -> Option<&Member<N>> {
        self.members().find(|member| member.pod.uid == uid)
    }

    pub(super) fn member_mut(&mut self, uid: &str) -> Option<&mut Member<N>> {
        let mut members = std::iter::once(&mut self.newest).chain(&mut self.older);
        members.find(|member| member.pod.uid == uid)
    }

    /// Puts a member in its place.
    pub fn put(&mut self, member: Member<N>) {
        self.is_led |= member.pod.uid == *self.key;
        if let Some(known) = self.member_mut(&member.pod.uid) {
            *known = member;
        } else if member.rank >= self.newest.rank {
            let older = std::mem::replace(&mut self.newest, member);
            self.older.push(older);
        } else {
            self.older.push(member);
        }
        self.older.sort_by_key(|member| member.rank);
    }
}
