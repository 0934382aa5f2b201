//! Rate limits of unary methods: a token bucket per method, or one per value of some request fields
//! (docs/protocol.md#what-each-call-checks).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use lru::LruCache;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use super::methods::Methods;
use crate::clock::Clock;
use crate::config::RateLimit;
use crate::error::Error;
use crate::proto::method::{FieldPath, Unary};

/// The rate limits of a server; empty, they cost nothing.
#[derive(Debug, Clone, Default)]
pub struct Limits(Arc<HashMap<String, Limit>>);

/// The limit of one method.
struct Limit {
    method: Unary,
    key: Vec<FieldPath>,
    block: bool,
    quota: Quota,
    /// Buckets by the hash of their key: a key may be as long as a request.
    buckets: Mutex<LruCache<[u8; 32], Bucket>>,
    remembered: usize,
    clock: Clock,
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Nanos>>;

impl Limits {
    /// Returns the limits of a checked configuration.
    ///
    /// # Errors
    /// If it names an unknown method or field, or has a zero.
    pub fn new(
        configured: &BTreeMap<String, RateLimit>,
        methods: &Methods,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let limit = |(name, limit): (&String, &RateLimit)| {
            let method = methods.by_path(name).filter(|method| method.is_unary());
            let limit = match method {
                Some(method) => Limit::new(Unary::of(method.input.clone()), limit, clock),
                None => Err("is no unary method of this server".to_owned()),
            };
            let limit = limit.map_err(|why| anyhow::anyhow!("rate limit of {name}: {why}"))?;
            Ok((name.clone(), limit))
        };
        let limits: anyhow::Result<_> = configured.iter().map(limit).collect();
        Ok(Self(Arc::new(limits?)))
    }

    /// Takes a token for a call, or waits for one if that is configured.
    ///
    /// # Errors
    /// [`Error::Exhausted`] if there is none by the deadline, with the time until the next.
    pub async fn pass(&self, method: &str, request: &[u8], deadline: Instant) -> Result<(), Error> {
        match self.0.get(method) {
            None => Ok(()),
            Some(limit) => limit.pass(request, deadline).await,
        }
    }
}

impl Limit {
    fn new(method: Unary, limit: &RateLimit, clock: &Clock) -> Result<Self, String> {
        let key: Result<_, _> = limit.keys().map(|path| method.field(path)).collect();
        let quota = Quota::with_period(limit.refill_interval.to_std())
            .zip(NonZeroU32::new(limit.bucket_size))
            .map(|(quota, size)| quota.allow_burst(size));
        Ok(Self {
            method,
            key: key?,
            block: limit.block,
            quota: quota.ok_or("the bucket is never filled")?,
            // With a capacity, it is allocated whole.
            buckets: Mutex::new(LruCache::unbounded()),
            remembered: limit.key_cache_size.max(1) as usize,
            clock: clock.clone(),
        })
    }

    async fn pass(&self, request: &[u8], deadline: Instant) -> Result<(), Error> {
        let key = match self.key.as_slice() {
            [] => [0; 32],
            paths => Sha256::digest(self.method.select(request, paths)).into(),
        };
        while let Err(wait) = self.take(key) {
            let refused = Error::Exhausted {
                limit: "RATE",
                why: "too many requests".to_owned(),
                retry_after: Some(wait),
            };
            if !self.block || Instant::now() + wait > deadline {
                return Err(refused);
            }
            let refilled = self.clock.sleep_until(Some(self.clock.now() + wait));
            if timeout_at(deadline, refilled).await.is_err() {
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Takes a token, or returns the time until the next.
    fn take(&self, key: [u8; 32]) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let ticks = Ticks(self.clock.clone());
        let now = ticks.now();
        let bucket = buckets.get_or_insert(key, || Bucket::direct_with_clock(self.quota, ticks));
        let taken = bucket
            .check()
            .map_err(|refused| refused.wait_time_from(now));
        if buckets.len() > self.remembered {
            buckets.pop_lru();
        }
        taken
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("quota", &self.quota)
            .field("block", &self.block)
            .finish_non_exhaustive()
    }
}

/// The daemon's clock for the limiter. Steps of the wall clock do not show.
#[derive(Debug, Clone)]
struct Ticks(Clock);

impl governor::clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}
