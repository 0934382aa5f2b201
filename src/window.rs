//! How many writes may be under way at once, from how the API server took the last ones; and who goes next.
//!
//! The limit grows slowly while it is used up and falls by half when the server is overloaded: additive increase,
//! multiplicative decrease.

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
/// and longer than this.
const QUICK: Duration = Duration::from_millis(100);
/// For how long at least the quickest answer is remembered.
const LATELY: Duration = Duration::from_secs(60);

/// How urgent a write is, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Creates what a workspace cannot start without.
    Start,
    /// Creates a Service.
    Serve,
    /// Anything else: marks, deletions, repairs, records.
    Rest,
}

const CLASSES: usize = 3;

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
    under_way: usize,
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
            under_way: 0,
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
    pub fn enter(&mut self) -> bool {
        let free = self.under_way < self.limit();
        self.under_way += usize::from(free);
        free
    }

    /// Gives a place back that was not used.
    pub fn cancel(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Gives a place back and learns from how the write was answered.
    pub fn leave(&mut self, kind: &str, answer: Answer, now: Duration) -> Option<Change> {
        let full = self.under_way >= self.limit();
        self.cancel();
        match answer {
            Answer::Unknown => {}
            Answer::Overload => self.fall(0.5, now),
            Answer::After(took) if self.is_slow(kind, took, now) => self.fall(0.9, now),
            Answer::After(_) if full => {
                self.limit = (self.limit + 1.0 / self.limit).min(MOST as f64);
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

/// Those who wait for a place, by class, each class in the order of arrival.
#[derive(Debug)]
pub struct Line<T> {
    waiting: [VecDeque<T>; CLASSES],
    turn: u8,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            waiting: std::array::from_fn(|_| VecDeque::new()),
            turn: 0,
        }
    }
}

impl<T> Line<T> {
    /// Puts one at the end of its class.
    pub fn push(&mut self, class: Class, waiter: T) {
        if let Some(line) = self.waiting.get_mut(class as usize) {
            line.push_back(waiter);
        }
    }

    /// Takes out the next one: of the most urgent class, but every fourth time of the least urgent one, so that nobody
    /// waits for ever.
    pub fn pop(&mut self) -> Option<T> {
        let mut lines = self.waiting.iter_mut().filter(|line| !line.is_empty());
        let line = match self.turn {
            3 => lines.next_back(),
            _ => lines.next(),
        };
        let next = line?.pop_front();
        self.turn = (self.turn + 1) % 4;
        next
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }
}

#[cfg(test)]
mod tests;
