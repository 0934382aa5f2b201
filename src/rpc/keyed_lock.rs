//! A lock per key: calls that change the same object run one after the other, in the order of their arrival.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

/// A lock per key.
#[derive(Debug, Clone)]
pub struct KeyedLock(Arc<Stripes>);

#[derive(Debug)]
struct Stripes {
    hash: RandomState,
    locks: Vec<Mutex<()>>,
}

/// Keys that share a lock only wait for each other; more locks make that less frequent.
const LOCKS: usize = 256;

impl Default for KeyedLock {
    fn default() -> Self {
        Self(Arc::new(Stripes {
            hash: RandomState::new(),
            locks: std::iter::repeat_with(Mutex::default).take(LOCKS).collect(),
        }))
    }
}

impl KeyedLock {
    /// Waits for the lock of `key`; dropping the guard releases it.
    pub async fn lock(&self, key: &str) -> MutexGuard<'_, ()> {
        // The remainder is less than the number of locks.
        #[allow(clippy::cast_possible_truncation)]
        let lock = (self.0.hash.hash_one(key) % LOCKS as u64) as usize;
        self.0.locks[lock].lock().await
    }
}
