//! What a noun registers with the core: where a pod belongs, what is kept of it, how a group folds, and what it needs.

use std::fmt;

use jiff::Timestamp;

use super::Index;
use super::group::Group;
use super::observed::Observed;
use crate::action::PodRef;
use crate::decision::Decision;
use crate::objects::{Event, Pod};
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
    fn id(entry: &Self::Entry) -> String;

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
    ) -> Option<Decision>;

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
