//! The one wall clock. Pure code is handed `now`; whoever waits for a moment waits here, so that tests can move time.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

/// Tells the time, either the system's or what a test says.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<watch::Sender<Duration>>),
}

/// Longest single wait, so that a step of the system's clock is noticed (F-R19).
const LONGEST_NAP: Duration = Duration::from_secs(30);

impl Clock {
    /// Returns the system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a clock that is ahead of the system's by what [`Clock::advance`] added up.
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::new(watch::Sender::new(Duration::ZERO))))
    }

    /// Moves a manual clock forward and wakes whoever waits; the system's clock stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(offset) = &self.0 {
            offset.send_modify(|offset| *offset += by);
        }
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Manual(offset) => Timestamp::now() + *offset.borrow(),
        }
    }

    /// Returns the time since some moment of this process. It only runs forward, whatever happens to the system's clock.
    pub fn uptime(&self) -> Duration {
        static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        let ahead = match &self.0 {
            Source::System => Duration::ZERO,
            Source::Manual(offset) => *offset.borrow(),
        };
        BEGIN.elapsed() + ahead
    }

    /// Waits until `moment`, or for ever without one.
    pub async fn sleep_until(&self, moment: Option<Timestamp>) {
        let Some(moment) = moment else {
            return std::future::pending().await;
        };
        let mut moved = match &self.0 {
            Source::System => None,
            Source::Manual(offset) => Some(offset.subscribe()),
        };
        loop {
            let left = Duration::try_from(moment.duration_since(self.now())).unwrap_or_default();
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
