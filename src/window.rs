//! How many writes may be under way at once, from how the API server took the last ones; and who goes next.
//!
//! The limit doubles in each round until the server shows that it is enough; then it grows by one in each round while it
//! is used up, and falls by half when the server is overloaded: slow start, additive increase, multiplicative decrease.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The limit is never below this.
pub const LEAST: usize = 4;
/// The limit at first.
pub const FIRST: usize = 64;
/// The limit is never above this.
pub const MOST: usize = 256;

/// The limit falls at most once in this time: what was sent before it fell says nothing of the new limit.
const REST: Duration = Duration::from_secs(1);
/// An answer is slow if it took this many times as long as the quickest of its kind,
const SLOW: u32 = 4;
/// and longer than this: half of what Kubernetes promises for 99 of 100 writes
/// (<https://github.com/kubernetes/community/blob/master/sig-scalability/slos/api_call_latency.md>).
const QUICK: Duration = Duration::from_millis(500);
/// For how long at least the quickest answer is remembered.
const LATELY: Duration = Duration::from_secs(60);

/// How urgent a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Creates what a pod cannot start without.
    Start,
    /// Creates a Service: of use once the containers are ready, which takes longer. It waits while pods are created.
    Serve,
    /// Anything else: marks, deletions, repairs, records.
    Rest,
}

impl Class {
    /// For how long what comes later and is more urgent goes first.
    fn overtaken(self) -> Duration {
        match self {
            Self::Start => Duration::ZERO,
            Self::Rest => Duration::from_millis(500),
            Self::Serve => Duration::from_secs(2),
        }
    }
}

/// What is written: the class, and the kind whose answers are compared with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// How urgent it is.
    pub class: Class,
    /// The method and the resource.
    pub name: String,
}

impl Kind {
    /// Returns the kind of a request that counts as a write; nothing for reads, and for the Lease, which must not wait.
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

/// How a write was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// After this time; whether the answer was the wanted one does not matter.
    After(Duration),
    /// The server has too much to do: it said so, or was silent for long.
    Overload,
    /// Nothing that says how much the server has to do.
    Unknown,
}

/// What the log says of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It fell below half of what it was at first.
    Low,
    /// It is as high again as it was at first.
    Restored,
}

/// How many writes are under way, and how many may be. Times count from any fixed moment.
#[derive(Debug)]
pub struct Window {
    limit: f64,
    /// No sign yet that the limit is high enough.
    doubling: bool,
    under_way: usize,
    /// How many of these belong to starts.
    starts: usize,
    fell: Option<Duration>,
    low: bool,
    quickest: BTreeMap<String, Quickest>,
}

/// The quickest answer of the current period and of the one before.
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
    /// How many writes may be under way.
    pub fn limit(&self) -> usize {
        // Between the bounds, so nothing is lost.
        self.limit as usize
    }

    /// How many writes are under way.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Takes a place. Returns whether there was one.
    pub fn enter(&mut self, class: Class) -> bool {
        let free = self.has_room() && (class != Class::Serve || self.starts == 0);
        if free {
            self.take(class);
        }
        free
    }

    /// Gives a place back that was not used.
    pub fn cancel(&mut self, class: Class) {
        self.under_way = self.under_way.saturating_sub(1);
        if class == Class::Start {
            self.starts = self.starts.saturating_sub(1);
        }
    }

    /// Takes a place for the one of those who wait whose turn it is at `now`, and takes that one out.
    pub fn admit<T>(&mut self, line: &mut Line<T>, now: Duration) -> Option<(Class, T)> {
        if !self.has_room() {
            return None;
        }
        let (class, waiter) = line.pop(self.starts > 0, now)?;
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

    /// Gives a place back and learns from how the write was answered.
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

/// Those who wait for a place. Each class is overtaken for a while only, so what is urgent goes first and nobody waits
/// for ever.
#[derive(Debug)]
pub struct Line<T> {
    /// By the moment from which nobody goes first who comes later, and by arrival.
    waiting: BTreeMap<(Duration, u64), (Class, T)>,
    services: VecDeque<(Duration, T)>,
    arrived: u64,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            services: VecDeque::new(),
            arrived: 0,
        }
    }
}

impl<T> Line<T> {
    /// Lets one wait that comes at `now`. Returns until when others may go first.
    pub fn push(&mut self, class: Class, waiter: T, now: Duration) -> Duration {
        let turn = now + class.overtaken();
        match class {
            Class::Serve => self.services.push_back((turn, waiter)),
            Class::Start | Class::Rest => {
                self.waiting.insert((turn, self.arrived), (class, waiter));
                self.arrived += 1;
            }
        }
        turn
    }

    /// Takes out the one whose turn it is at `now`; Services only if no start is under way or they waited long enough.
    fn pop(&mut self, starts: bool, now: Duration) -> Option<(Class, T)> {
        let other = self.waiting.first_key_value().map(|((turn, _), _)| *turn);
        let service = self.services.front().map(|(turn, _)| *turn);
        let service = service.filter(|turn| *turn <= now || (!starts && other.is_none()));
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
