//! Updates by position: all recent ones, and of older ones the last of each start. Plain data.
//!
//! Positions grow with the pods' resourceVersions, so a version is a position in the log of every replica.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::Update;

/// Updates that are kept unmerged.
pub(super) const RECENT: usize = 1024;
/// Ended groups whose last update a slow subscriber can still get.
pub(super) const ENDED: usize = 4096;

#[derive(Debug)]
pub(super) struct Log<U> {
    head: u64,
    /// Up to this position, last updates may be lost.
    lost: u64,
    old: BTreeMap<u64, Arc<U>>,
    recent: BTreeMap<u64, Arc<U>>,
    /// Position of the last update of each start, by uid.
    last: HashMap<Arc<str>, u64>,
    ended: VecDeque<(u64, Arc<str>)>,
}

impl<U: Update> Log<U> {
    /// Returns an empty log that continues after `head`.
    pub(super) fn after_head(head: u64) -> Self {
        Self {
            head,
            lost: 0,
            old: BTreeMap::new(),
            recent: BTreeMap::new(),
            last: HashMap::new(),
            ended: VecDeque::new(),
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// Whether a subscriber at `position` missed the end of a group for good.
    pub(super) fn lost(&self, position: u64) -> bool {
        position < self.lost
    }

    /// Appends an update at `position`, after the head. Returns the version up to which an end was dropped for it.
    pub(super) fn append(&mut self, position: u64, update: Arc<U>) -> Option<u64> {
        self.head = position;
        let uid = update.start_uid();
        if let Some(before) = self.last.insert(Arc::clone(uid), position) {
            self.old.remove(&before);
        }
        if update.is_last() {
            self.ended.push_back((position, Arc::clone(uid)));
        }
        self.recent.insert(position, update);
        if self.recent.len() > RECENT
            && let Some((position, update)) = self.recent.pop_first()
            && self.last.get(update.start_uid()) == Some(&position)
        {
            self.old.insert(position, update);
        }
        if self.ended.len() <= ENDED {
            return None;
        }
        let (position, uid) = self.ended.pop_front()?;
        self.last.remove(&uid);
        self.lost = position;
        let forgotten = self.old.remove(&position);
        let forgotten = forgotten.or_else(|| self.recent.remove(&position));
        forgotten.map(|update| update.version())
    }

    /// Returns the updates after a position, in order.
    pub(super) fn after(&self, position: u64) -> impl Iterator<Item = (u64, &Arc<U>)> {
        let next = position + 1;
        self.old
            .range(next..)
            .chain(self.recent.range(next..))
            .map(|(position, update)| (*position, update))
    }

    /// Returns the last update of every start, in order; only those after `version`.
    pub(super) fn latest_after(&self, version: u64) -> impl Iterator<Item = &Arc<U>> {
        self.after(0)
            .filter(|(position, update)| self.last.get(update.start_uid()) == Some(position))
            .map(|(_, update)| update)
            .filter(move |update| update.version() > version)
    }
}
