//! A limit on concurrent writes, from the API server's recent latency; and the queue of those that wait.
//!
//! The limit doubles in each round until the server slows down; then it grows by one in each round while it is used up,
//! and is halved when the server is overloaded: slow start, additive increase, multiplicative decrease.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub const LEAST: usize = 4;
pub const FIRST: usize = 64;
pub const MOST: usize = 256;

/// The limit falls at most once in this time: earlier requests show nothing about the new limit.
const REST: Duration = Duration::from_secs(1);
/// A response is slow if it takes this many times as long as the fastest of its kind,
const SLOW: u32 = 4;
/// and longer than this: half of Kubernetes' objective for 99 of 100 writes
/// (<https://github.com/kubernetes/community/blob/master/sig-scalability/slos/api_call_latency.md>).
const QUICK: Duration = Duration::from_millis(500);
/// How long the fastest response is kept at least.
const LATELY: Duration = Duration::from_secs(60);

/// The priority of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Creates what a pod needs to start.
    Start,
    /// Creates a Service, which is needed only after the containers are ready. It waits while pods are created.
    Serve,
    /// Anything else: marks, deletions, Services that drifted, records.
    Rest,
}

impl Class {
    /// How long writes of a higher priority that come later go first.
    fn overtaken(self) -> Duration {
        match self {
            Self::Start => Duration::ZERO,
            Self::Rest => Duration::from_millis(500),
            Self::Serve => Duration::from_secs(2),
        }
    }
}

/// The kind of a write: its class, and the name under which response times are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    pub class: Class,
    /// The method and the resource.
    pub name: String,
}

impl Kind {
    /// Returns the kind of a write; none for reads, and for the Lease, which must not wait.
    pub fn of(method: &str, path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        let (_, rest) = path.split_once("/namespaces/")?;
        let resource = rest.split('/').nth(1)?;
        let class = match (method, resource) {
            ("GET", _) | (_, "leases") => return None,
            ("POST", "pods" | "secrets" | "persistentvolumeclaims") => Class::Start,
            ("POST", "services") => Class::Serve,
            _ => Class::Rest,
        };
        let name = format!("{method} {resource}");
        Some(Self { class, name })
    }
}

/// The response to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// After this time, with success or an error.
    After(Duration),
    /// The server is overloaded: an explicit error, or no response for long.
    Overload,
    /// Nothing that shows the load of the server.
    Unknown,
}

/// A change of the limit to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It fell below half of its initial value.
    Low,
    /// It is back at its initial value.
    Restored,
}

/// The writes in flight and their limit. Times count from any fixed moment.
#[derive(Debug)]
pub struct Window {
    limit: f64,
    /// The server has not slowed down yet.
    doubling: bool,
    under_way: usize,
    /// How many of these are part of starts.
    starts: usize,
    fell: Option<Duration>,
    low: bool,
    quickest: BTreeMap<String, Quickest>,
}

/// The fastest response of the current period and of the last one.
#[derive(Debug, Clone, Copy)]
struct Quickest {
    since: Duration,
    now: Duration,
    before: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            limit: FIRST as f64,
            doubling: true,
            under_way: 0,
            starts: 0,
            fell: None,
            low: false,
            quickest: BTreeMap::new(),
        }
    }
}

impl Window {
    /// The current limit.
    pub fn limit(&self) -> usize {
        // Between the bounds, so nothing is lost.
        self.limit as usize
    }

    /// How many writes are in flight.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Takes a permit. Returns whether there was one.
    pub fn enter(&mut self, class: Class) -> bool {
        let free = self.has_room() && (class != Class::Serve || self.starts == 0);
        if free {
            self.take(class);
        }
        free
    }

    /// Returns a permit that was not used.
    pub fn cancel(&mut self, class: Class) {
        self.under_way = self.under_way.saturating_sub(1);
        if class == Class::Start {
            self.starts = self.starts.saturating_sub(1);
        }
    }

    /// Takes a permit for the next waiter at `now`, and removes that one from the queue.
    pub fn admit<T>(&mut self, queue: &mut Queue<T>, now: Duration) -> Option<(Class, T)> {
        if !self.has_room() {
            return None;
        }
        let (class, waiter) = queue.pop(self.starts > 0, now)?;
        self.take(class);
        Some((class, waiter))
    }

    fn has_room(&self) -> bool {
        self.under_way < self.limit()
    }

    fn take(&mut self, class: Class) {
        self.under_way += 1;
        self.starts += usize::from(class == Class::Start);
    }

    /// Returns a permit and adjusts the limit to the response.
    pub fn leave(&mut self, kind: &Kind, answer: Answer, now: Duration) -> Option<Change> {
        let full = !self.has_room();
        self.cancel(kind.class);
        match answer {
            Answer::Unknown => {}
            Answer::Overload => self.fall(0.5, now),
            Answer::After(took) if self.is_slow(&kind.name, took, now) => self.fall(0.9, now),
            Answer::After(_) if full => {
                let more = match self.doubling {
                    true => 1.0,
                    false => 1.0 / self.limit,
                };
                self.limit = (self.limit + more).min(MOST as f64);
            }
            Answer::After(_) => {}
        }
        let (low, restored) = (self.limit() < FIRST / 2, self.limit() >= FIRST);
        let change = match self.low {
            false => low.then_some(Change::Low),
            true => restored.then_some(Change::Restored),
        };
        self.low ^= change.is_some();
        change
    }

    fn fall(&mut self, factor: f64, now: Duration) {
        self.doubling = false;
        if self
            .fell
            .is_none_or(|fell| now.saturating_sub(fell) >= REST)
        {
            self.limit = (self.limit * factor).max(LEAST as f64);
            self.fell = Some(now);
        }
    }

    fn is_slow(&mut self, kind: &str, took: Duration, now: Duration) -> bool {
        let first = Quickest {
            since: now,
            now: took,
            before: took,
        };
        let known = self.quickest.entry(kind.to_owned()).or_insert(first);
        if now.saturating_sub(known.since) >= LATELY {
            *known = Quickest {
                before: known.now,
                ..first
            };
        }
        known.now = known.now.min(took);
        took > QUICK && took > known.now.min(known.before).saturating_mul(SLOW)
    }
}

/// The waiters for a permit. A class is overtaken only for a limited time, so urgent writes go first and every write
/// gets a permit.
#[derive(Debug)]
pub struct Queue<T> {
    /// By the moment from which no later waiter goes first, and by arrival.
    waiting: BTreeMap<(Duration, u64), (Class, T)>,
    services: VecDeque<(Duration, T)>,
    arrived: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            services: VecDeque::new(),
            arrived: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Adds a waiter at `now`. Returns until when others may go first.
    pub fn push(&mut self, class: Class, waiter: T, now: Duration) -> Duration {
        let end = now + class.overtaken();
        match class {
            Class::Serve => self.services.push_back((end, waiter)),
            Class::Start | Class::Rest => {
                self.waiting.insert((end, self.arrived), (class, waiter));
                self.arrived += 1;
            }
        }
        end
    }

    /// Removes the next waiter at `now`; Services only if no start is in flight or they have waited long enough.
    fn pop(&mut self, starts: bool, now: Duration) -> Option<(Class, T)> {
        let other = self.waiting.first_key_value().map(|((end, _), _)| *end);
        let service = self.services.front().map(|(end, _)| *end);
        let service = service.filter(|end| *end <= now || (!starts && other.is_none()));
        match service {
            Some(service) if other.is_none_or(|other| service < other) => {
                let (_, waiter) = self.services.pop_front()?;
                Some((Class::Serve, waiter))
            }
            _ => self.waiting.pop_first().map(|(_, waiter)| waiter),
        }
    }
}

#[cfg(test)]
mod tests;
