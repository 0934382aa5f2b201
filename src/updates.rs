//! The log of updates and its subscribers, generic over the update.
//!
//! A subscriber is a cursor into a log. All recent updates are kept; of older ones only the last of each start. So a
//! slow subscriber skips updates but never misses an end, and the number of starts bounds the memory.

mod log;
pub mod resume;
mod subscription;
mod topics;

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use subscription::{Lagged, News, StartedFrom, SubscribeFrom, Subscription, UpdateEvent};
use topics::Topics;

/// A new state of a group: the pods that share one id.
///
/// Everything here runs under the lock of the log, so it must be short.
pub trait Update: fmt::Debug + Sized + Send + Sync + 'static {
    /// What a subscriber can read without reading everything else.
    type Topic: fmt::Debug + Clone + Eq + Hash + Send;
    /// What a subscriber selects; by default everything.
    type Filter: Filter<Self> + Default;

    /// Groups that ended stay for a while, so a snapshot has them, too.
    const ENDED_STAY: bool = false;

    /// Id of the group, as in the API.
    fn group_id(&self) -> Arc<str>;

    /// uid of the first pod of the group: another uid under the same id is a new start.
    fn start_uid(&self) -> &Arc<str>;

    /// Version of the state. Versions grow, per log and per group.
    fn version(&self) -> u64;

    /// Whether the group ended: no update of this start follows.
    fn is_last(&self) -> bool;

    /// Returns every topic of the update.
    fn topics(&self) -> Vec<Self::Topic>;

    /// Whether both say the same, whatever their versions.
    fn same(&self, other: &Self) -> bool;

    /// Returns the same in another version.
    fn at(&self, version: u64) -> Self;

    /// Returns how many bytes it takes, about.
    fn size(&self) -> usize;
}

/// Selects the updates of a subscriber.
pub trait Filter<U: Update>: fmt::Debug + Send {
    fn matches(&self, update: &U) -> bool;

    /// Returns a topic that has every matching update, the narrowest one; `None` if there is none.
    fn topic(&self) -> Option<U::Topic>;
}

/// The logs behind their own lock, for writers and subscribers. The lock is never held across an await, and nothing
/// takes another lock under it.
#[derive(Debug)]
pub struct Updates<U: Update>(Arc<Mutex<Topics<U>>>);

impl<U: Update> Updates<U> {
    /// Appends updates in the order of their versions and wakes their subscribers. With `floor`, a list replaces
    /// the past up to that version: changes in between are unknown.
    pub fn publish(
        &self,
        updates: impl IntoIterator<Item = impl Into<Arc<U>>>,
        floor: Option<u64>,
    ) {
        let mut updates = updates.into_iter().map(Into::into).peekable();
        if updates.peek().is_none() && floor.is_none() {
            return;
        }
        let mut topics = self.lock();
        topics.append(updates);
        if let Some(floor) = floor {
            topics.raise_floor(floor);
        }
    }

    /// Waits until the log reaches a version.
    pub async fn reached(&self, version: u64) {
        let mut head = self.lock().head();
        while self.lock().version() < version && head.changed().await.is_ok() {}
    }

    pub fn subscribers(&self) -> usize {
        self.lock().subscribers()
    }

    fn lock(&self) -> MutexGuard<'_, Topics<U>> {
        // Filters and topics change nothing, so a panic in one leaves no partial change.
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
