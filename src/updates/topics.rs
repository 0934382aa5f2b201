//! Which subscriber reads what: one log of everything, and one per topic with a subscriber.
//!
//! An update enters the logs of its topics and wakes only their subscribers, so a subscriber costs nothing for updates
//! that its filter rejects. Plain data, except for the channels that wake.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::log::Log;
use super::{Filter, Update};

/// All logs. Positions are the same in all of them.
#[derive(Debug)]
pub(super) struct Topics<U: Update> {
    all: TopicLog<U>,
    by_topic: HashMap<U::Topic, TopicLog<U>>,
    /// Version of the last update.
    version: u64,
    /// Updates up to this version may be missing here.
    floor: u64,
}

/// One log and its subscribers.
#[derive(Debug)]
struct TopicLog<U> {
    log: Log<U>,
    head: watch::Sender<u64>,
    subscribers: usize,
}

impl<U: Update> TopicLog<U> {
    fn starting_at(position: u64) -> Self {
        Self {
            log: Log::after_head(position),
            head: watch::Sender::new(position),
            subscribers: 0,
        }
    }
}

impl<U: Update> Topics<U> {
    pub(super) fn new() -> Self {
        Self {
            all: TopicLog::starting_at(0),
            by_topic: HashMap::new(),
            version: 0,
            floor: 0,
        }
    }

    /// Version of the last update.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Returns a channel that changes with each update.
    pub(super) fn head(&self) -> watch::Receiver<u64> {
        self.all.head.subscribe()
    }

    /// Appends updates in the order of their versions and wakes their subscribers.
    pub(super) fn append(&mut self, updates: impl Iterator<Item = Arc<U>>) {
        let mut position = self.all.log.head();
        for update in updates {
            position += 1;
            self.version = self.version.max(update.version());
            if !self.by_topic.is_empty() {
                for topic in update.topics() {
                    if let Some(topic) = self.by_topic.get_mut(&topic) {
                        topic.log.append(position, Arc::clone(&update));
                        topic.head.send_replace(position);
                    }
                }
            }
            if let Some(forgotten) = self.all.log.append(position, update) {
                self.floor = self.floor.max(forgotten);
            }
        }
        self.all
            .head
            .send_if_modified(|head| std::mem::replace(head, position) != position);
    }

    /// Notes that a list replaced the past up to `version`: changes in between are unknown.
    pub(super) fn raise_floor(&mut self, version: u64) {
        self.floor = self.floor.max(version);
        self.version = self.version.max(version);
    }

    /// Whether every change after `version` is still known.
    pub(super) fn reaches(&self, version: u64) -> bool {
        (self.floor..=self.version).contains(&version)
    }

    /// Returns the last update of every living group that matches.
    pub(super) fn living(&self, filter: &U::Filter) -> Vec<Arc<U>> {
        let latest = self.all.log.latest_after(0);
        latest
            .filter(|update| !update.is_last() && filter.matches(update))
            .cloned()
            .collect()
    }

    /// Returns the last update of every start that matches and changed after `version`.
    pub(super) fn changed_after(&self, version: u64, filter: &U::Filter) -> Vec<Arc<U>> {
        let latest = self.all.log.latest_after(version);
        latest
            .filter(|update| filter.matches(update))
            .cloned()
            .collect()
    }

    /// Adds a subscriber and returns its first position, and what wakes it.
    pub(super) fn join(&mut self, topic: Option<&U::Topic>) -> (u64, watch::Receiver<u64>) {
        let position = self.all.log.head();
        let topic = match topic {
            None => &mut self.all,
            Some(topic) => self
                .by_topic
                .entry(topic.clone())
                .or_insert_with(|| TopicLog::starting_at(position)),
        };
        topic.subscribers += 1;
        (position, topic.head.subscribe())
    }

    /// Removes a subscriber. The log of a topic is dropped with its last one.
    pub(super) fn leave(&mut self, topic: Option<&U::Topic>) {
        let Some(key) = topic else {
            self.all.subscribers -= 1;
            return;
        };
        if let Some(topic) = self.by_topic.get_mut(key) {
            topic.subscribers -= 1;
            if topic.subscribers == 0 {
                self.by_topic.remove(key);
            }
        }
    }

    pub(super) fn subscribers(&self) -> usize {
        let by_topic = self.by_topic.values().map(|topic| topic.subscribers);
        self.all.subscribers + by_topic.sum::<usize>()
    }

    /// Returns the log of a subscriber.
    pub(super) fn log(&self, topic: Option<&U::Topic>) -> &Log<U> {
        topic
            .and_then(|topic| self.by_topic.get(topic))
            .map_or(&self.all.log, |topic| &topic.log)
    }
}
