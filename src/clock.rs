//! The one clock. Pure code gets `now` as a parameter; all waits for a moment happen here, so that tests can move time.
//!
//! There are two times: the wall clock, which hosts share and which may be set, and the time since the start, which
//! only moves forward. Durations that a clock change must not affect are measured in the second (F-R19).

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

/// The system's clock, or one that a test sets.
#[derive(Debug, Clone)]
pub struct Clock {
    started: Instant,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<watch::Sender<Ahead>>),
}

/// How far a manual clock is ahead of the system's.
#[derive(Debug, Clone, Copy, Default)]
struct Ahead {
    wall: SignedDuration,
    elapsed: Duration,
}

/// Longest single sleep, so that a step of the system's clock is noticed (F-R19).
const LONGEST_NAP: Duration = Duration::from_secs(30);

impl Clock {
    pub fn system() -> Self {
        Self::of(Source::System)
    }

    /// Returns a clock that is ahead of the system's by the sum of [`Clock::advance`] and [`Clock::set`].
    pub fn manual() -> Self {
        Self::of(Source::Manual(Arc::new(watch::Sender::default())))
    }

    fn of(source: Source) -> Self {
        Self {
            started: Instant::now(),
            source,
        }
    }

    /// Moves a manual clock forward and wakes the sleepers; the system's clock stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(ahead) = &self.source {
            ahead.send_modify(|ahead| {
                ahead.wall += SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
                ahead.elapsed += by;
            });
        }
    }

    /// Sets a manual clock forward or back, as administrators and time servers do, while no time passes.
    pub fn set(&self, by: SignedDuration) {
        if let Source::Manual(ahead) = &self.source {
            ahead.send_modify(|ahead| ahead.wall += by);
        }
    }

    /// Returns the time of the wall clock.
    pub fn now(&self) -> Timestamp {
        match &self.source {
            Source::System => Timestamp::now(),
            Source::Manual(ahead) => Timestamp::now() + ahead.borrow().wall,
        }
    }

    /// Returns the time since the clock was created; it never steps.
    pub fn elapsed(&self) -> Duration {
        let elapsed = self.started.elapsed();
        match &self.source {
            Source::System => elapsed,
            Source::Manual(ahead) => elapsed + ahead.borrow().elapsed,
        }
    }

    /// Sleeps until `moment` of the wall clock, or for ever without one.
    pub async fn sleep_until(&self, moment: Option<Timestamp>) {
        let Some(moment) = moment else {
            return std::future::pending().await;
        };
        self.sleep_while(|| {
            Duration::try_from(moment.duration_since(self.now())).unwrap_or_default()
        })
        .await;
    }

    /// Sleeps until `moment` by [`Clock::elapsed`], or for ever without one.
    pub async fn sleep_until_elapsed(&self, moment: Option<Duration>) {
        let Some(moment) = moment else {
            return std::future::pending().await;
        };
        self.sleep_while(|| moment.saturating_sub(self.elapsed()))
            .await;
    }

    /// Sleeps until `left` is zero.
    async fn sleep_while(&self, left: impl Fn() -> Duration) {
        let mut moved = match &self.source {
            Source::System => None,
            Source::Manual(ahead) => Some(ahead.subscribe()),
        };
        loop {
            let left = left();
            if left.is_zero() {
                return;
            }
            let nap = tokio::time::sleep(left.min(LONGEST_NAP));
            match &mut moved {
                None => nap.await,
                Some(moved) => tokio::select! {
                    () = nap => {}
                    _ = moved.changed() => {}
                },
            }
        }
    }
}
