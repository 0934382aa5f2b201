//! Who is told what: one log of everything, and one for each owner, meta id and annotation that somebody asked for.
//!
//! An update enters the logs that it matches and wakes their readers only; a filter costs nothing to those whom it
//! keeps quiet. Plain data, but for the channels that wake.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::log::Log;
use crate::index::Update;
use crate::workspaces::filter::{Filter, Key};

/// All logs. Positions are the same in all of them.
#[derive(Debug)]
pub(super) struct Topics {
    all: Topic,
    keyed: HashMap<Key, Topic>,
    /// Version of the last update.
    version: u64,
    /// Updates up to this version may never have been seen here.
    floor: u64,
}

/// One log and those who read it.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) log: Log,
    head: watch::Sender<u64>,
    readers: usize,
}

impl Topic {
    fn starting_at(position: u64) -> Self {
        Self {
            log: Log::after_head(position),
            head: watch::Sender::new(position),
            readers: 0,
        }
    }
}

impl Topics {
    /// Returns topics without a past.
    pub(super) fn new() -> Self {
        Self {
            all: Topic::starting_at(0),
            keyed: HashMap::new(),
            version: 0,
            floor: 0,
        }
    }

    /// Version of the last update of all.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// What is told of each update.
    pub(super) fn head(&self) -> watch::Receiver<u64> {
        self.all.head.subscribe()
    }

    /// Appends updates, in the order of their versions, and wakes whom they concern.
    pub(super) fn append(&mut self, updates: Vec<Update>) {
        let mut position = self.all.log.head();
        for update in updates {
            position += 1;
            self.version = self.version.max(update.status.version());
            let update = Arc::new(update);
            if !self.keyed.is_empty() {
                for key in Key::of(&update.status) {
                    if let Some(topic) = self.keyed.get_mut(&key) {
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

    /// Says that the past up to `version` is known only as far as it lasted: a list replaced it.
    pub(super) fn raise_floor(&mut self, version: u64) {
        self.floor = self.floor.max(version);
        self.version = self.version.max(version);
    }

    /// Whether everything that changed after `version` can still be told.
    pub(super) fn reaches(&self, version: u64) -> bool {
        (self.floor..=self.version).contains(&version)
    }

    /// Returns the last update of every living workspace that matches.
    pub(super) fn living(&self, filter: &Filter) -> Vec<Arc<Update>> {
        let latest = self.all.log.latest_after(0);
        latest
            .filter(|update| !update.is_last() && filter.matches(&update.status))
            .cloned()
            .collect()
    }

    /// Returns the last update of every workspace that matches and changed after `version`.
    pub(super) fn changed_after(&self, version: u64, filter: &Filter) -> Vec<Arc<Update>> {
        let latest = self.all.log.latest_after(version);
        latest
            .filter(|update| filter.matches(&update.status))
            .cloned()
            .collect()
    }

    /// Adds a reader and returns where it begins, and what wakes it.
    pub(super) fn join(&mut self, key: Option<&Key>) -> (u64, watch::Receiver<u64>) {
        let position = self.all.log.head();
        let topic = match key {
            None => &mut self.all,
            Some(key) => self
                .keyed
                .entry(key.clone())
                .or_insert_with(|| Topic::starting_at(position)),
        };
        topic.readers += 1;
        (position, topic.head.subscribe())
    }

    /// Takes a reader away; nobody's log goes with its last one.
    pub(super) fn leave(&mut self, key: Option<&Key>) {
        let Some(key) = key else {
            self.all.readers -= 1;
            return;
        };
        if let Some(topic) = self.keyed.get_mut(key) {
            topic.readers -= 1;
            if topic.readers == 0 {
                self.keyed.remove(key);
            }
        }
    }

    /// How many readers there are.
    pub(super) fn readers(&self) -> usize {
        let keyed = self.keyed.values().map(|topic| topic.readers);
        self.all.readers + keyed.sum::<usize>()
    }

    /// Returns what a reader reads.
    pub(super) fn log(&self, key: Option<&Key>) -> &Log {
        key.and_then(|key| self.keyed.get(key))
            .map_or(&self.all.log, |topic| &topic.log)
    }
}
