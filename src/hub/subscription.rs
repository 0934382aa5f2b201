//! A reader of updates: a place in a log, and what it has to be told before.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use super::Hub;
use crate::index::Update;
use crate::workspaces::filter::{Filter, Key};

/// Updates handed out under one hold of the lock.
const BATCH: usize = 128;

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the next update.
    Now,
    /// With every workspace as it is.
    Snapshot,
    /// With every workspace as it is, and the ends that are remembered.
    Past,
    /// After everything up to a status version, if that is still known; else with a snapshot.
    Resume(u64),
}

/// What a subscription began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Began {
    /// The next update.
    Live,
    /// A snapshot, because one was asked for or because nothing less is free of gaps.
    Snapshot,
    /// What came after the version that was asked for.
    Resumed,
}

/// What a subscriber is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// A status; of a snapshot until [`Told::Complete`].
    Update(Arc<Update>),
    /// The snapshot is complete up to this version.
    Complete(u64),
}

/// The reader was away for so long that the end of some workspace is no longer known.
#[derive(Debug, PartialEq, Eq)]
pub struct Lagged;

/// Tells of what comes, beside a subscription.
#[derive(Debug)]
pub struct News(watch::Receiver<u64>);

/// A cursor into the log of everything, or of the owner or the meta id that the filter names.
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    filter: Filter,
    key: Option<Key>,
    cursor: u64,
    head: watch::Receiver<u64>,
    began: Began,
    /// Told before anything of the log.
    first: VecDeque<Told>,
}

impl Hub {
    /// Returns a subscription to what matches.
    pub fn subscribe(&self, filter: Filter, start: Start) -> Subscription {
        let key = filter.key();
        let mut state = self.lock();
        let topics = &mut state.topics;
        let (began, first) = match start {
            Start::Now => (Began::Live, Vec::new()),
            Start::Resume(version) if topics.reaches(version) => {
                (Began::Resumed, topics.changed_after(version, &filter))
            }
            Start::Past => (Began::Snapshot, topics.changed_after(0, &filter)),
            Start::Snapshot | Start::Resume(_) => (Began::Snapshot, topics.living(&filter)),
        };
        let mut first: VecDeque<_> = first.into_iter().map(Told::Update).collect();
        if began == Began::Snapshot {
            first.push_back(Told::Complete(topics.version()));
        }
        let (cursor, head) = topics.join(key.as_ref());
        Subscription {
            hub: self.clone(),
            filter,
            key,
            cursor,
            head,
            began,
            first,
        }
    }
}

impl Subscription {
    /// What it began with.
    pub fn began(&self) -> Began {
        self.began
    }

    /// Waits for what matches and returns it in order.
    ///
    /// # Errors
    /// [`Lagged`] when a STOPPED was dropped that this subscriber had not read; it must list again.
    pub async fn next(&mut self) -> Result<Vec<Told>, Lagged> {
        loop {
            let told = self.ready()?;
            if !told.is_empty() {
                return Ok(told);
            }
            // The sender lives in the hub, which this holds.
            let _ = self.head.wait_for(|head| *head > self.cursor).await;
        }
    }

    /// Returns how far this has read.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Returns what tells of the next that may match.
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
    pub fn ready(&mut self) -> Result<Vec<Told>, Lagged> {
        if !self.first.is_empty() {
            let count = self.first.len().min(BATCH);
            return Ok(self.first.drain(..count).collect());
        }
        let state = self.hub.lock();
        let log = state.topics.log(self.key.as_ref());
        if log.lost(self.cursor) {
            return Err(Lagged);
        }
        let mut told = Vec::new();
        for (position, update) in log.after(self.cursor).take(BATCH) {
            self.cursor = position;
            if self.filter.matches(&update.status) {
                told.push(Told::Update(Arc::clone(update)));
            }
        }
        Ok(told)
    }
}

impl News {
    /// Waits for something after what a cursor has read. Returns also when the subscription is gone.
    pub async fn after(&mut self, cursor: u64) {
        let _ = self.0.wait_for(|head| *head > cursor).await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.lock().topics.leave(self.key.as_ref());
    }
}
