//! A subscriber of updates: a place in a log, and what comes before it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Filter, Update, Updates};

/// Updates handed out under one hold of the lock.
const BATCH: usize = 128;

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeFrom {
    /// With the next update.
    Now,
    /// With every living group as it is.
    Snapshot,
    /// With every living group as it is, and the ends that are remembered.
    Past,
    /// After everything up to a version, if that is still known; else with a snapshot.
    Resume(u64),
}

/// Where a subscription began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedFrom {
    /// The next update.
    Live,
    /// A snapshot, because one was asked for or because nothing less is free of gaps.
    Snapshot,
    /// What came after the version that was asked for.
    Resumed,
}

/// What a subscriber gets.
#[derive(Debug)]
pub enum UpdateEvent<U> {
    /// A status; of a snapshot until [`UpdateEvent::SnapshotComplete`].
    Status(Arc<U>),
    /// The snapshot is complete up to this version.
    SnapshotComplete(u64),
}

/// The subscriber was away for so long that the end of some group is no longer known.
#[derive(Debug, PartialEq, Eq)]
pub struct Lagged;

/// Wakes whoever waits for the next update, beside a subscription.
#[derive(Debug)]
pub struct News(watch::Receiver<u64>);

/// A cursor into the log of everything, or of the topic that the filter names.
#[derive(Debug)]
pub struct Subscription<U: Update> {
    updates: Updates<U>,
    filter: U::Filter,
    topic: Option<U::Topic>,
    cursor: u64,
    head: watch::Receiver<u64>,
    started_from: StartedFrom,
    /// Handed out before anything of the log.
    first: VecDeque<UpdateEvent<U>>,
}

impl<U: Update> Updates<U> {
    /// Returns a subscription to what matches.
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
                (StartedFrom::Snapshot, topics.living(&filter))
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
    /// Where it began.
    pub fn started_from(&self) -> StartedFrom {
        self.started_from
    }

    /// Waits for what matches and returns it in order.
    ///
    /// # Errors
    /// [`Lagged`] when the end of a group was dropped that this subscriber had not read; it must list again.
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

    /// Returns how far this has read.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Returns what wakes for the next update that may match.
    pub fn news(&self) -> News {
        News(self.head.clone())
    }

    /// Whether nothing is known to be ahead. What is ahead may turn out not to match.
    pub fn is_done(&self) -> bool {
        self.first.is_empty() && *self.head.borrow() <= self.cursor
    }

    /// Returns what matches and is there now, in order; nothing once all was read, or if it only did not match.
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
    /// Waits for something after what a cursor has read. Returns also when the subscription is gone.
    pub async fn after(&mut self, cursor: u64) {
        let _ = self.0.wait_for(|head| *head > cursor).await;
    }
}

impl<U: Update> Drop for Subscription<U> {
    fn drop(&mut self) {
        self.updates.lock().leave(self.topic.as_ref());
    }
}
