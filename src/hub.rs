//! The one lock and the one log: the index behind a short mutex, and the updates that subscribers read from it.
//!
//! A subscriber is a cursor into the log. Recent updates are all kept; of older ones only the last of each workspace,
//! so that a slow reader skips but never lies, and memory is bounded by the number of workspaces. The lock is never
//! held across an await: nothing slow can delay the watch.

mod log;
mod subscription;
mod topics;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::index::{Changes, Index};
pub use subscription::{Began, Lagged, Start, Subscription, Told};
use topics::Topics;

/// Shared by everything that writes to or reads from the index.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    dirty: Notify,
    synced: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    index: Index,
    topics: Topics,
    dirty: HashSet<Arc<str>>,
    activity: HashMap<String, Timestamp>,
}

impl Hub {
    /// Returns a hub over an index.
    pub fn new(index: Index) -> Self {
        let state = State {
            index,
            topics: Topics::new(),
            dirty: HashSet::new(),
            activity: HashMap::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            dirty: Notify::new(),
            synced: watch::Sender::new(false),
        }))
    }

    /// Changes the index and sends what came of it. Returns the pods that must be read again.
    pub fn change(&self, change: impl FnOnce(&mut Index) -> Changes) -> Vec<Arc<str>> {
        let mut state = self.lock();
        let changes = change(&mut state.index);
        for update in changes.updates.iter().filter(|update| update.is_last()) {
            state.activity.remove(&update.status.id());
        }
        // Sent under the lock, so that positions never run backwards.
        state.topics.append(changes.updates);
        if let Some(floor) = changes.floor {
            state.topics.raise_floor(floor);
        }
        let woken = !changes.dirty.is_empty();
        state.dirty.extend(changes.dirty);
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

#[cfg(test)]
mod tests;
