//! What is the same wherever something is tried again: how long to wait, and which failures are worth a line of the log.

use std::time::Duration;

/// Waits between attempts that double, up to a longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first.
    pub first: Duration,
    /// Up to which they grow.
    pub longest: Duration,
}

impl Backoff {
    /// Returns one from the first wait and the longest, in milliseconds.
    pub const fn millis(first: u64, longest: u64) -> Self {
        Self {
            first: Duration::from_millis(first),
            longest: Duration::from_millis(longest),
        }
    }

    /// Returns the wait after a failure, with as many failures before it.
    pub fn after(self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.min(16));
        doubled.min(self.longest)
    }

    /// Returns the wait after a failure and up to as much again at random, so that what failed together does not come
    /// back together.
    pub fn jittered(self, failures: u32) -> Duration {
        self.after(failures).mul_f64(1.0 + share())
    }
}

/// Returns a random number from 0 to 1. Without randomness waits still grow; they are merely the same everywhere.
pub fn share() -> f64 {
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}

/// The failure that was logged last: one that lasts is logged once.
#[derive(Debug, Default)]
pub struct LogOnce(Option<String>);

impl LogOnce {
    /// Whether this is another failure than the last one.
    pub fn is_new(&mut self, why: &str) -> bool {
        let is_new = self.0.as_deref() != Some(why);
        if is_new {
            self.0 = Some(why.to_owned());
        }
        is_new
    }

    /// Takes in that it is over. Returns whether there was one.
    pub fn clear(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff {
            first: SECOND,
            longest: SECOND * 5,
        };
        for (failures, wanted) in [(0, 1), (1, 2), (2, 4), (3, 5), (u32::MAX, 5)] {
            let wanted = SECOND * wanted;
            assert_eq!(backoff.after(failures), wanted);
            let jittered = backoff.jittered(failures);
            assert!(jittered >= wanted && jittered <= wanted * 2, "{jittered:?}");
        }
    }

    #[test]
    fn a_failure_that_lasts_is_logged_once() {
        let mut log = LogOnce::default();
        assert!(log.is_new("a") && !log.is_new("a") && log.is_new("b"));
        assert!(log.clear() && !log.clear() && log.is_new("b"));
    }
}
