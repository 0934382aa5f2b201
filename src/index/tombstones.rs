//! A bounded memory of what has ended.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Uids of ended pods that are remembered, so that a late answer to a write does not bring one back.
const TOMBSTONES: usize = 4096;

/// Uids, oldest out first.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    order: VecDeque<Arc<str>>,
    uids: HashSet<Arc<str>>,
}

impl Tombstones {
    pub(super) fn contains(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }

    pub(super) fn insert(&mut self, uid: &str) {
        if uid.is_empty() || self.contains(uid) {
            return;
        }
        if self.order.len() == TOMBSTONES
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
        let uid: Arc<str> = uid.into();
        self.order.push_back(Arc::clone(&uid));
        self.uids.insert(uid);
    }
}
