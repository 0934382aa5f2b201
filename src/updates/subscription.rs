//! A subscriber of updates: a cursor into a log, and what comes before it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Filter, Update, Updates};

/// Updates that are returned under one hold of the lock.
const BATCH: usize = 128;

/// Where a subscription starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeFrom {
    /// At the next update.
    Now,
    /// With the current state of every living group, and of those that ended if they stay.
    Snapshot,
    /// With the current state of every living group, and the ends that are still known.
    Past,
    /// After a version, if everything since then is still known; otherwise with a snapshot.
    Resume(u64),
}

/// Where a subscription started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedFrom {
    /// At the next update.
    Live,
    /// With a snapshot, as requested or because a resume would have a gap.
    Snapshot,
    /// After the version of the token.
    Resumed,
}

/// What a subscriber receives.
#[derive(Debug)]
pub enum UpdateEvent<U> {
    /// A status; part of the snapshot until [`UpdateEvent::SnapshotComplete`].
    Status(Arc<U>),
    /// The snapshot is complete up to this version.
    SnapshotComplete(u64),
}

/// The subscriber was too slow: the end of a group is no longer known.
#[derive(Debug, PartialEq, Eq)]
pub struct Lagged;

/// Wakes for the next update, beside a subscription.
#[derive(Debug)]
pub struct News(watch::Receiver<u64>);

/// A cursor into the log of everything, or of the filter's topic.
#[derive(Debug)]
pub struct Subscription<U: Update> {
    updates: Updates<U>,
    filter: U::Filter,
    topic: Option<U::Topic>,
    cursor: u64,
    head: watch::Receiver<u64>,
    started_from: StartedFrom,
    /// Returned before the updates of the log.
    first: VecDeque<UpdateEvent<U>>,
}

impl<U: Update> Updates<U> {
    /// Returns a subscription to the updates that match.
    pub fn subscribe(&self, filter: U::Filter, from: SubscribeFrom) -> Subscription<U> {
        let topic = filter.topic();
        let mut topics = self.lock();
        let (started_from, first) = match from {
            SubscribeFrom::Now => (StartedFrom::Live, Vec::new()),
            SubscribeFrom::Resume(version) if topics.reaches(version) => {
                let changed = topics.changed_after(version, &filter);
                (StartedFrom::Resumed, changed)
            }
            SubscribeFrom::Past => (StartedFrom::Snapshot, topics.changed_after(0, &filter)),
            SubscribeFrom::Snapshot | SubscribeFrom::Resume(_) => {
                let all = match U::ENDED_STAY {
                    true => topics.changed_after(0, &filter),
                    false => topics.living(&filter),
                };
                (StartedFrom::Snapshot, all)
            }
        };
        let mut first: VecDeque<_> = first.into_iter().map(UpdateEvent::Status).collect();
        if started_from == StartedFrom::Snapshot {
            first.push_back(UpdateEvent::SnapshotComplete(topics.version()));
        }
        let (cursor, head) = topics.join(topic.as_ref());
        Subscription {
            updates: self.clone(),
            filter,
            topic,
            cursor,
            head,
            started_from,
            first,
        }
    }
}

impl<U: Update> Subscription<U> {
    /// Where it started.
    pub fn started_from(&self) -> StartedFrom {
        self.started_from
    }

    /// Waits for matching updates and returns them in order.
    ///
    /// # Errors
    /// [`Lagged`] if the end of a group was dropped before this subscriber read it; it must list again.
    pub async fn next(&mut self) -> Result<Vec<UpdateEvent<U>>, Lagged> {
        loop {
            let events = self.ready()?;
            if !events.is_empty() {
                return Ok(events);
            }
            // The sender lives in the topics, which this holds.
            let _ = self.head.wait_for(|head| *head > self.cursor).await;
        }
    }

    /// Returns the position up to which this has read.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Returns what wakes for the next update that may match.
    pub fn news(&self) -> News {
        News(self.head.clone())
    }

    /// Whether nothing is known to follow. What follows may not match.
    pub fn is_done(&self) -> bool {
        self.first.is_empty() && *self.head.borrow() <= self.cursor
    }

    /// Returns the matching updates that are there, in order; empty after the last one, or if none of them matches.
    ///
    /// # Errors
    /// As for [`Subscription::next`].
    pub fn ready(&mut self) -> Result<Vec<UpdateEvent<U>>, Lagged> {
        if !self.first.is_empty() {
            let count = self.first.len().min(BATCH);
            return Ok(self.first.drain(..count).collect());
        }
        let topics = self.updates.lock();
        let log = topics.log(self.topic.as_ref());
        if log.lost(self.cursor) {
            return Err(Lagged);
        }
        let mut events = Vec::new();
        for (position, update) in log.after(self.cursor).take(BATCH) {
            self.cursor = position;
            if self.filter.matches(update) {
                events.push(UpdateEvent::Status(Arc::clone(update)));
            }
        }
        Ok(events)
    }
}

impl News {
    /// Waits for an update after a cursor. Also returns when the subscription is dropped.
    pub async fn after(&mut self, cursor: u64) {
        let _ = self.0.wait_for(|head| *head > cursor).await;
    }
}

impl<U: Update> Drop for Subscription<U> {
    fn drop(&mut self) {
        self.updates.lock().leave(self.topic.as_ref());
    }
}
