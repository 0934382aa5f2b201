//! The one lock and the one log: the index behind a short mutex, and the updates that subscribers read from it.
//!
//! A subscriber is a cursor into the log. Recent updates are all kept; of older ones only the last of each workspace,
//! so that a slow reader skips but never lies, and memory is bounded by the number of workspaces. The lock is never
//! held across an await: nothing slow can delay the watch.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::index::{Changes, Index, Update};
use crate::workspaces::filter::Filter;

/// Updates that are kept unmerged.
const RECENT: usize = 1024;
/// Ended workspaces whose STOPPED a slow reader can still get.
const ENDED: usize = 4096;
/// Updates handed out under one hold of the lock.
const BATCH: usize = 128;

/// Shared by everything that writes to or reads from the index.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    head: watch::Sender<u64>,
    dirty: Notify,
    synced: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    index: Index,
    log: Log,
    dirty: HashSet<Arc<str>>,
    activity: HashMap<String, Timestamp>,
}

impl Hub {
    /// Returns a hub over an index.
    pub fn new(index: Index) -> Self {
        let state = State {
            index,
            log: Log::default(),
            dirty: HashSet::new(),
            activity: HashMap::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            head: watch::Sender::new(0),
            dirty: Notify::new(),
            synced: watch::Sender::new(false),
        }))
    }

    /// Changes the index and sends what came of it. Returns the pods that must be read again.
    pub fn change(&self, change: impl FnOnce(&mut Index) -> Changes) -> Vec<Arc<str>> {
        let mut state = self.lock();
        let changes = change(&mut state.index);
        for update in changes.updates {
            if update.is_last() {
                state.activity.remove(&update.status.id());
            }
            state.log.append(update);
        }
        let head = state.log.head;
        let woken = !changes.dirty.is_empty();
        state.dirty.extend(changes.dirty);
        // Sent under the lock, so that the head never runs backwards.
        self.0
            .head
            .send_if_modified(|known| std::mem::replace(known, head) != head);
        drop(state);
        if woken {
            self.0.dirty.notify_one();
        }
        changes.reread
    }

    /// Reads the index. The closure must be short.
    pub fn read<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.lock().index)
    }

    /// Records a sign of life.
    pub fn mark_active(&self, id: &str, now: Timestamp) {
        let mut state = self.lock();
        let Some(name) = state
            .index
            .by_id(id)
            .map(|tracked| Arc::from(tracked.pod.name.as_str()))
        else {
            return;
        };
        let last = state.activity.entry(id.to_owned()).or_insert(now);
        *last = now.max(*last);
        state.dirty.insert(name);
        drop(state);
        self.0.dirty.notify_one();
    }

    /// Returns the last sign of life.
    pub fn last_activity(&self, id: &str) -> Option<Timestamp> {
        self.lock().activity.get(id).copied()
    }

    /// Waits for pods whose next decision may differ and returns their names, each once.
    pub async fn dirty(&self) -> Vec<Arc<str>> {
        loop {
            let woken = self.0.dirty.notified();
            let names: Vec<_> = self.lock().dirty.drain().collect();
            if !names.is_empty() {
                return names;
            }
            woken.await;
        }
    }

    /// Returns a subscription to the updates from now on.
    pub fn subscribe(&self, filter: Filter) -> Subscription {
        let head = self.0.head.subscribe();
        let cursor = self.lock().log.head;
        Subscription {
            hub: self.clone(),
            filter,
            cursor,
            head,
        }
    }

    /// Says that the first complete list of everything is in, or that it has become too old to serve.
    pub fn set_synced(&self, synced: bool) {
        self.0
            .synced
            .send_if_modified(|known| std::mem::replace(known, synced) != synced);
    }

    /// Whether the index can be served from.
    pub fn synced(&self) -> watch::Receiver<bool> {
        self.0.synced.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The index has no invariant that a panic in a reader could break.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cursor into the log.
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    filter: Filter,
    cursor: u64,
    head: watch::Receiver<u64>,
}

/// The reader was away for so long that the end of some workspace is no longer known.
#[derive(Debug, PartialEq, Eq)]
pub struct Lagged;

impl Subscription {
    /// Waits for updates that match and returns them in order.
    ///
    /// # Errors
    /// [`Lagged`] when a STOPPED was dropped that this subscriber had not read; it must list again.
    pub async fn next(&mut self) -> Result<Vec<Arc<Update>>, Lagged> {
        loop {
            let updates = self.poll()?;
            if !updates.is_empty() {
                return Ok(updates);
            }
            // The sender lives in the hub, which this holds.
            let _ = self.head.wait_for(|head| *head > self.cursor).await;
        }
    }

    fn poll(&mut self) -> Result<Vec<Arc<Update>>, Lagged> {
        let state = self.hub.lock();
        if self.cursor < state.log.horizon {
            return Err(Lagged);
        }
        let mut updates = Vec::new();
        for (position, update) in state.log.after(self.cursor).take(BATCH) {
            self.cursor = position;
            if self.filter.matches(&update.status) {
                updates.push(Arc::clone(update));
            }
        }
        Ok(updates)
    }
}

/// Updates by position: all recent ones, and the last of each workspace before.
#[derive(Debug, Default)]
struct Log {
    head: u64,
    /// Positions up to here may have lost a STOPPED.
    horizon: u64,
    old: BTreeMap<u64, Arc<Update>>,
    recent: BTreeMap<u64, Arc<Update>>,
    /// Position of the last update of each pod, by uid.
    last: HashMap<Arc<str>, u64>,
    ended: std::collections::VecDeque<(u64, Arc<str>)>,
}

impl Log {
    fn append(&mut self, update: Update) {
        self.head += 1;
        if let Some(before) = self.last.insert(update.uid.clone(), self.head) {
            self.old.remove(&before);
        }
        if update.is_last() {
            self.ended.push_back((self.head, update.uid.clone()));
        }
        self.recent.insert(self.head, Arc::new(update));
        if self.recent.len() > RECENT
            && let Some((position, update)) = self.recent.pop_first()
            && self.last.get(&update.uid) == Some(&position)
        {
            self.old.insert(position, update);
        }
        if self.ended.len() > ENDED
            && let Some((position, uid)) = self.ended.pop_front()
        {
            self.last.remove(&uid);
            self.old.remove(&position);
            self.recent.remove(&position);
            self.horizon = position;
        }
    }

    fn after(&self, position: u64) -> impl Iterator<Item = (u64, &Arc<Update>)> {
        let next = position + 1;
        self.old
            .range(next..)
            .chain(self.recent.range(next..))
            .map(|(position, update)| (*position, update))
    }
}

#[cfg(test)]
mod tests;
