//! What the message bus has not confirmed yet: one lane per group, merged while it waits. Plain data and functions.
//!
//! A lane has at most one message in flight, so a group's messages stay in order; lanes are independent of each other.
//! A newer update replaces a waiting one, with two exceptions: a last update, because updates of another start follow
//! it, and a message that was sent without a confirm. The broker may have stored that, so it is sent again, under the
//! same id, before anything newer.

pub mod message;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::retry::Backoff;
use crate::updates::Update;

/// Last updates that wait for the bus; of more than these the oldest are dropped and counted. While their pods keep the
/// finalizer they are not lost: this is for a longer outage of the bus.
const ENDED: usize = 16_384;
/// After the bus refused a message.
const BACKOFF: Backoff = Backoff::millis(1_000, 30_000);

/// Updates that the bus must still store.
#[derive(Debug)]
pub struct Outbox<U> {
    lanes: HashMap<Arc<str>, Lane<U>>,
    /// Lanes with a message to send, each once.
    ready: VecDeque<Arc<str>>,
    /// Lanes whose message was rejected, by the time of their retry.
    paused: BTreeSet<(Instant, Arc<str>)>,
    /// Last updates without a confirm, oldest first: their numbers and lanes.
    ends: BTreeMap<u64, Arc<str>>,
    numbers: u64,
    waiting: usize,
    under_way: usize,
    dropped: u64,
}

/// One group.
#[derive(Debug)]
struct Lane<U> {
    waiting: VecDeque<Item<U>>,
    under_way: Option<Item<U>>,
    /// The newest update that was pushed: one that is not newer is a repeat.
    newest: Option<Arc<U>>,
    rejections: u32,
    is_listed: bool,
}

#[derive(Debug)]
struct Item<U> {
    update: Arc<U>,
    /// Number of a last update.
    end: Option<u64>,
    /// It was sent before, without a confirm.
    again: bool,
}

#[derive(Debug)]
pub struct Outgoing<U> {
    /// The lane, for [`Outbox::confirm`] and [`Outbox::refuse`].
    pub lane: Arc<str>,
    pub update: Arc<U>,
    /// It was sent before, without a confirm.
    pub again: bool,
}

impl<U: Update> Outbox<U> {
    pub fn push(&mut self, update: Arc<U>) {
        let key = update.group_id();
        let lane = self.lanes.entry(Arc::clone(&key)).or_default();
        let is_repeat = lane.newest.as_ref().is_some_and(|newest| {
            newest.start_uid() == update.start_uid() && newest.version() >= update.version()
        });
        if is_repeat {
            return;
        }
        lane.newest = Some(Arc::clone(&update));
        let merges = |last: &Item<U>| !last.again && last.update.start_uid() == update.start_uid();
        if lane.waiting.back().is_some_and(merges) {
            lane.waiting.pop_back();
            self.waiting -= 1;
        }
        let end = update.is_last().then_some(self.numbers);
        if let Some(number) = end {
            self.numbers += 1;
            self.ends.insert(number, Arc::clone(&key));
        }
        lane.waiting.push_back(Item {
            update,
            end,
            again: false,
        });
        self.waiting += 1;
        self.list(&key);
        self.shrink();
    }

    /// Takes the next message to send: it is in flight until it is confirmed or rejected, or until
    /// [`Outbox::lose`].
    pub fn take(&mut self, now: Instant) -> Option<Outgoing<U>> {
        while let Some((retry, key)) = self
            .paused
            .first()
            .filter(|(retry, _)| *retry <= now)
            .cloned()
        {
            self.paused.remove(&(retry, Arc::clone(&key)));
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.is_listed = false;
            }
            self.list(&key);
        }
        loop {
            let key = self.ready.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&key) else {
                continue;
            };
            lane.is_listed = false;
            let Some(item) = lane.waiting.pop_front() else {
                continue;
            };
            let (update, again) = (Arc::clone(&item.update), item.again);
            lane.under_way = Some(item);
            self.waiting -= 1;
            self.under_way += 1;
            return Some(Outgoing {
                lane: key,
                update,
                again,
            });
        }
    }

    /// Notes that the bus confirmed the message of a lane, and returns its update.
    pub fn confirm(&mut self, key: &Arc<str>) -> Option<Arc<U>> {
        let lane = self.lanes.get_mut(key)?;
        let Item { update, end, .. } = lane.under_way.take()?;
        lane.rejections = 0;
        self.under_way -= 1;
        if let Some(number) = end {
            self.ends.remove(&number);
            if lane.waiting.is_empty() {
                self.lanes.remove(key);
            }
        }
        self.list(key);
        Some(update)
    }

    /// Notes that the bus rejected the message of a lane: it is retried after a growing backoff.
    pub fn refuse(&mut self, key: &Arc<str>, now: Instant) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        let Some(refused) = lane.under_way.take() else {
            return;
        };
        self.under_way -= 1;
        let pause = BACKOFF.after(lane.rejections);
        lane.rejections += 1;
        // It was rejected: unlike a message without an answer it is not stored, so a newer one may replace it.
        let mut next = lane.waiting.front().into_iter();
        if !next.any(|next| next.update.start_uid() == refused.update.start_uid()) {
            lane.waiting.push_front(Item {
                again: false,
                ..refused
            });
            self.waiting += 1;
        }
        lane.is_listed = true;
        self.paused.insert((now + pause, Arc::clone(key)));
    }

    /// Notes that the outcome of all messages in flight is unknown: they are sent again first.
    pub fn lose(&mut self) {
        for lane in self.lanes.values_mut() {
            if let Some(lost) = lane.under_way.take() {
                lane.waiting.push_front(Item {
                    again: true,
                    ..lost
                });
                self.under_way -= 1;
                self.waiting += 1;
            }
        }
        // A new connection has no backoff.
        self.paused.clear();
        self.ready.clear();
        for (key, lane) in &mut self.lanes {
            lane.rejections = 0;
            lane.is_listed = !lane.waiting.is_empty();
            match lane.waiting.front() {
                None => {}
                Some(item) if item.again => self.ready.push_front(Arc::clone(key)),
                Some(_) => self.ready.push_back(Arc::clone(key)),
            }
        }
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Messages that were sent, without an answer yet.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether the bus confirmed everything.
    pub fn is_empty(&self) -> bool {
        self.waiting() == 0 && self.under_way == 0
    }

    /// When a rejected message is retried.
    pub fn next_retry(&self) -> Option<Instant> {
        self.paused.first().map(|(retry, _)| *retry)
    }

    /// Last updates that were dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Lists a lane with a message to send and none in flight.
    fn list(&mut self, key: &Arc<str>) {
        if let Some(lane) = self.lanes.get_mut(key)
            && !lane.is_listed
            && lane.under_way.is_none()
            && !lane.waiting.is_empty()
        {
            lane.is_listed = true;
            self.ready.push_back(Arc::clone(key));
        }
    }

    /// Drops the oldest last update if too many wait.
    fn shrink(&mut self) {
        if self.ends.len() <= ENDED {
            return;
        }
        let lanes = &self.lanes;
        let oldest = self.ends.iter().find_map(|(number, key)| {
            let mut waiting = lanes.get(key)?.waiting.iter();
            let index = waiting.position(|item| item.end == Some(*number))?;
            Some((*number, Arc::clone(key), index))
        });
        let Some((number, key, index)) = oldest else {
            return;
        };
        self.ends.remove(&number);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.waiting.remove(index);
            self.waiting -= 1;
            self.dropped += 1;
            if lane.waiting.is_empty() && lane.under_way.is_none() {
                self.lanes.remove(&key);
            }
        }
    }
}

impl<U> Default for Outbox<U> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            paused: BTreeSet::new(),
            ends: BTreeMap::new(),
            numbers: 0,
            waiting: 0,
            under_way: 0,
            dropped: 0,
        }
    }
}

impl<U> Default for Lane<U> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            under_way: None,
            newest: None,
            rejections: 0,
            is_listed: false,
        }
    }
}

#[cfg(test)]
mod tests;
