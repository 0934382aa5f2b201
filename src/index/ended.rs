//! A bounded memory of workspaces that ended lately: how they were last, when that was, and why.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use crate::proto::answers::EncodedStatus;

/// Workspaces that are remembered.
const MOST: usize = 4096;
/// Bytes of their statuses.
const MOST_BYTES: usize = 8 << 20;

/// A workspace that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Its STOPPED.
    pub status: EncodedStatus,
    /// When this replica learned of it.
    pub at: Timestamp,
}

/// Ends, oldest out first; of each id the last.
#[derive(Debug, Default)]
pub struct Ended {
    by_id: HashMap<String, (u64, End)>,
    order: VecDeque<(u64, String)>,
    count: u64,
    bytes: usize,
}

impl Ended {
    /// Remembers an end.
    pub fn insert(&mut self, status: &EncodedStatus, at: Timestamp) {
        let id = status.id();
        self.remove(&id);
        self.bytes += status.size();
        self.count += 1;
        self.order.push_back((self.count, id.clone()));
        let end = End {
            status: status.clone(),
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

    /// Returns how a workspace ended.
    pub fn get(&self, id: &str) -> Option<&End> {
        self.by_id.get(id).map(|(_, end)| end)
    }

    /// Returns all ends, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &End)> {
        self.by_id.iter().map(|(id, (_, end))| (id.as_str(), end))
    }

    fn remove(&mut self, id: &str) {
        if let Some((_, end)) = self.by_id.remove(id) {
            self.bytes -= end.status.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wsman::WorkspaceStatus;

    fn status(id: &str, size: usize) -> EncodedStatus {
        EncodedStatus::new(WorkspaceStatus {
            id: id.to_owned(),
            message: "m".repeat(size),
            ..WorkspaceStatus::default()
        })
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut ended = Ended::default();
        for n in 0..MOST + 10 {
            ended.insert(&status(&n.to_string(), 1), Timestamp::UNIX_EPOCH);
        }
        assert_eq!(ended.iter().count(), MOST);
        assert!(ended.get("9").is_none() && ended.get("10").is_some());
        // One large one takes the room of many.
        ended.insert(&status("large", MOST_BYTES - 1000), Timestamp::UNIX_EPOCH);
        assert!(ended.bytes <= MOST_BYTES && ended.iter().count() < MOST);
        assert!(ended.get("large").is_some() && ended.get("10").is_none());
        // What cannot be kept at all is not.
        ended.insert(&status("larger", MOST_BYTES + 1), Timestamp::UNIX_EPOCH);
        assert_eq!((ended.iter().count(), ended.bytes), (0, 0));
    }

    #[test]
    fn who_ends_again_is_remembered_once() {
        let mut ended = Ended::default();
        let later = Timestamp::from_second(1).unwrap();
        ended.insert(&status("a", 1), Timestamp::UNIX_EPOCH);
        for n in 0..3 * MOST {
            ended.insert(&status("b", n % 7), later);
        }
        assert_eq!(ended.iter().count(), 2);
        assert_eq!(ended.get("a").unwrap().at, Timestamp::UNIX_EPOCH);
        assert_eq!(
            ended.get("b").unwrap().status,
            status("b", (3 * MOST - 1) % 7)
        );
        assert!(ended.order.len() <= 2 * MOST, "{}", ended.order.len());
        let bytes: usize = ended.iter().map(|(_, end)| end.status.size()).sum();
        assert_eq!(bytes, ended.bytes);
    }
}
