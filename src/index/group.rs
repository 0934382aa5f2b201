//! A group: the pods that belong together under one id, and what was published of them.

use std::sync::Arc;

use super::noun::Noun;
use super::observed::Objects;
use crate::action::PodRef;
use crate::updates::Update;

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
    pub last_published: Option<N::Update>,
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
        self.last_published.as_ref().is_some_and(Update::is_last)
    }

    /// Returns the newest version of a pod.
    pub fn version(&self) -> u64 {
        let members = std::iter::once(&self.newest).chain(&self.older);
        members.map(|member| member.version).max().unwrap_or(0)
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
        let mut members = std::iter::once(&self.newest).chain(&self.older);
        members.find(|member| member.pod.uid == uid)
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
