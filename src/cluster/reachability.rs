//! Whether the API server is reachable, as a state machine: its inputs are the ends of requests, its outputs the two
//! moments to log.
//!
//! Times are durations since the client was created.

use std::time::Duration;

/// Consecutive requests without an answer that make an outage: a single one may have used a closed connection.
const FAILURES: u32 = 2;

/// Whether the server answers, by the requests so far.
#[derive(Debug, Default)]
pub struct Reachability {
    /// Requests without an answer since the last answer.
    failures: u32,
    /// The start of the outage.
    down_since: Option<Duration>,
    /// The time of the first consecutive failure.
    first_failure: Duration,
}

/// What to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The server does not answer any more.
    Down,
    /// The server answers again, after this time.
    Up(Duration),
}

impl Reachability {
    /// Notes the answer to a request from `sent`. An answer to a request from before the outage does not end it.
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

    /// Notes a request without an answer.
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
