//! A bounded memory of groups that ended lately: how they were last, when that was, and why.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use crate::updates::Update;

/// Groups that are remembered.
const MOST: usize = 4096;
/// Bytes of their last updates.
const MOST_BYTES: usize = 8 << 20;

/// A group that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End<U> {
    /// Its last update.
    pub update: U,
    /// When this replica learned of it.
    pub at: Timestamp,
}

/// Ends, oldest out first; of each id the last.
#[derive(Debug)]
pub struct Ended<U> {
    by_id: HashMap<Arc<str>, (u64, End<U>)>,
    order: VecDeque<(u64, Arc<str>)>,
    count: u64,
    bytes: usize,
}

impl<U> Default for Ended<U> {
    fn default() -> Self {
        Self {
            by_id: HashMap::new(),
            order: VecDeque::new(),
            count: 0,
            bytes: 0,
        }
    }
}

impl<U: Update + Clone> Ended<U> {
    /// Remembers an end.
    pub fn insert(&mut self, last: &U, at: Timestamp) {
        let id = last.group_id();
        self.remove(&id);
        self.bytes += last.size();
        self.count += 1;
        self.order.push_back((self.count, Arc::clone(&id)));
        let end = End {
            update: last.clone(),
            at,
        };
        self.by_id.insert(id, (self.count, end));
        while self.by_id.len() > MOST || self.bytes > MOST_BYTES {
            let Some((count, id)) = self.order.pop_front() else {
                return;
            };
            // One that ended again later has a place of its own.
            if self.by_id.get(&id).is_some_and(|(last, _)| *last == count) {
                self.remove(&id);
            }
        }
        // Places of those that ended again are dropped before they pile up.
        if self.order.len() > 2 * MOST {
            let by_id = &self.by_id;
            self.order
                .retain(|(count, id)| by_id.get(id).is_some_and(|(last, _)| last == count));
        }
    }

    /// Returns how a group ended.
    pub fn get(&self, id: &str) -> Option<&End<U>> {
        self.by_id.get(id).map(|(_, end)| end)
    }

    /// Returns all ends, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &End<U>)> {
        self.by_id.iter().map(|(id, (_, end))| (&**id, end))
    }

    fn remove(&mut self, id: &str) {
        if let Some((_, end)) = self.by_id.remove(id) {
            self.bytes -= end.update.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::updates::toy::Toy;

    /// An end whose id takes some bytes, all of its size.
    fn last(id: &str) -> Toy {
        Toy::last(id, 1)
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut ended = Ended::default();
        for n in 0..MOST + 10 {
            ended.insert(&last(&n.to_string()), Timestamp::UNIX_EPOCH);
        }
        assert_eq!(ended.iter().count(), MOST);
        assert!(ended.get("9").is_none() && ended.get("10").is_some());
        // One large one takes the room of many.
        let large = "l".repeat(MOST_BYTES - 1000);
        ended.insert(&last(&large), Timestamp::UNIX_EPOCH);
        assert!(ended.bytes <= MOST_BYTES && ended.iter().count() < MOST);
        assert!(ended.get(&large).is_some() && ended.get("10").is_none());
        // What cannot be kept at all is not.
        ended.insert(&last(&"l".repeat(MOST_BYTES + 1)), Timestamp::UNIX_EPOCH);
        assert_eq!((ended.iter().count(), ended.bytes), (0, 0));
    }

    #[test]
    fn who_ends_again_is_remembered_once() {
        let mut ended = Ended::default();
        let later = Timestamp::from_second(1).unwrap();
        ended.insert(&last("a"), Timestamp::UNIX_EPOCH);
        for n in 0..3 * MOST {
            ended.insert(&Toy::last("b", n as u64), later);
        }
        assert_eq!(ended.iter().count(), 2);
        assert_eq!(ended.get("a").unwrap().at, Timestamp::UNIX_EPOCH);
        assert_eq!(ended.get("b").unwrap().update.version, 3 * MOST as u64 - 1);
        assert!(ended.order.len() <= 2 * MOST, "{}", ended.order.len());
        let bytes: usize = ended.iter().map(|(_, end)| end.update.size()).sum();
        assert_eq!(bytes, ended.bytes);
    }
}
