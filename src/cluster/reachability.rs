//! Whether the API server answers, as a state machine: in go the ends of requests, out come the two moments to log.
//!
//! Times are durations since the client was made.

use std::time::Duration;

/// Requests in a row without an answer that make an outage: a single one may have met a connection that had ended.
const FAILURES: u32 = 2;

/// Whether the server answers, by the requests so far.
#[derive(Debug, Default)]
pub struct Reachability {
    /// Requests without an answer since the last answer.
    failures: u32,
    /// Since when nothing is answered.
    down_since: Option<Duration>,
    /// When the first of the failures in a row began to be known.
    first_failure: Duration,
}

/// What is to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The server does not answer any more.
    Down,
    /// The server answers again, after so long.
    Up(Duration),
}

impl Reachability {
    /// Takes in that a request was answered that was sent at `sent`. An answer to what was sent before the outage is on
    /// its way still, and ends none.
    pub fn answered(&mut self, sent: Duration, now: Duration) -> Option<Change> {
        match self.down_since {
            Some(since) if sent < since => None,
            Some(_) => {
                self.failures = 0;
                self.down_since = None;
                Some(Change::Up(now.saturating_sub(self.first_failure)))
            }
            None => {
                self.failures = 0;
                None
            }
        }
    }

    /// Takes in that a request got no answer.
    pub fn failed(&mut self, now: Duration) -> Option<Change> {
        if self.failures == 0 {
            self.first_failure = now;
        }
        self.failures = self.failures.saturating_add(1);
        if self.down_since.is_some() || self.failures < FAILURES {
            return None;
        }
        self.down_since = Some(now);
        Some(Change::Down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn an_outage_begins_and_ends_once() {
        let mut server = Reachability::default();
        assert_eq!(server.answered(at(0), at(1)), None);
        assert_eq!(server.failed(at(100)), None);
        assert_eq!(server.failed(at(101)), Some(Change::Down));
        for millis in 102..1000 {
            assert_eq!(server.failed(at(millis)), None);
        }
        assert_eq!(
            server.answered(at(1000), at(1100)),
            Some(Change::Up(at(1000)))
        );
        assert_eq!(server.answered(at(1000), at(1101)), None);
    }

    #[test]
    fn a_single_reset_is_no_outage() {
        let mut server = Reachability::default();
        for round in 0..10 {
            assert_eq!(server.failed(at(round * 10)), None);
            assert_eq!(server.answered(at(round * 10), at(round * 10 + 1)), None);
        }
    }

    #[test]
    fn an_answer_that_was_under_way_ends_no_outage() {
        let mut server = Reachability::default();
        server.failed(at(10));
        assert_eq!(server.failed(at(11)), Some(Change::Down));
        assert_eq!(server.answered(at(5), at(12)), None);
        assert_eq!(server.failed(at(13)), None);
        assert_eq!(server.answered(at(20), at(21)), Some(Change::Up(at(11))));
    }
}
