//! The log of updates and the subscribers that read it; what an update is about is up to its type.
//!
//! A subscriber is a cursor into a log. Recent updates are all kept; of older ones only the last of each start, so a slow
//! subscriber skips updates but never misses an end, and the number of starts bounds the memory.

mod log;
pub mod resume;
mod subscription;
mod topics;

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use subscription::{Lagged, News, StartedFrom, SubscribeFrom, Subscription, UpdateEvent};
use topics::Topics;

/// A new state of a group: of what belongs together under one id.
///
/// Everything here is called under the lock of the log, so it must be short.
pub trait Update: fmt::Debug + Sized + Send + Sync + 'static {
    /// What a subscriber can ask for without reading everything else.
    type Topic: fmt::Debug + Clone + Eq + Hash + Send;
    /// What a subscriber asks for; by default everything.
    type Filter: Filter<Self> + Default;

    /// Id of the group, as callers know it.
    fn group_id(&self) -> Arc<str>;

    /// uid of the first pod of the group: under the same id another uid is a new start.
    fn start_uid(&self) -> &Arc<str>;

    /// Version of the state. In a log, and per group, versions grow.
    fn version(&self) -> u64;

    /// Whether the group ended: no update of this start follows.
    fn is_last(&self) -> bool;

    /// Returns every topic that the update belongs to.
    fn topics(&self) -> Vec<Self::Topic>;
}

/// Decides which updates a subscriber gets.
pub trait Filter<U: Update>: fmt::Debug + Send {
    /// Whether the subscriber gets the update.
    fn matches(&self, update: &U) -> bool;

    /// Returns a topic of every update that matches, the narrowest that is known; `None` if there is no such topic.
    fn topic(&self) -> Option<U::Topic>;
}

/// The logs behind one lock of their own, for writers and subscribers. The lock is never held across an await, and
/// nothing that is called under it takes another.
#[derive(Debug)]
pub struct Updates<U: Update>(Arc<Mutex<Topics<U>>>);

impl<U: Update> Updates<U> {
    /// Appends updates, in the order of their versions, and wakes the subscribers that they concern. With `floor`, what
    /// happened up to that version is known only as far as it lasted: a list replaced it.
    pub fn publish(&self, updates: Vec<U>, floor: Option<u64>) {
        if updates.is_empty() && floor.is_none() {
            return;
        }
        let mut topics = self.lock();
        topics.append(updates);
        if let Some(floor) = floor {
            topics.raise_floor(floor);
        }
    }

    /// Waits until it is known what happened up to a version.
    pub async fn reached(&self, version: u64) {
        let mut head = self.lock().head();
        while self.lock().version() < version && head.changed().await.is_ok() {}
    }

    /// Returns how many subscriptions there are.
    pub fn subscribers(&self) -> usize {
        self.lock().subscribers()
    }

    fn lock(&self) -> MutexGuard<'_, Topics<U>> {
        // Filters and topics change nothing, so a panic in one leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<U: Update> Default for Updates<U> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Topics::new())))
    }
}

impl<U: Update> Clone for Updates<U> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod toy;
