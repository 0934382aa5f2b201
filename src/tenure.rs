//! What those see who act only while the Lease is held: the lifecycle, the checkpoints and the publisher.

use tokio::sync::watch;

use crate::clock::Clock;
use crate::lease::Standing;

/// Whether and until when this replica holds the Lease.
#[derive(Debug, Clone)]
pub struct Tenure {
    standing: watch::Receiver<Standing>,
    clock: Clock,
}

impl Tenure {
    /// Returns the view of a standing by the clock that it is told in.
    pub fn new(standing: watch::Receiver<Standing>, clock: Clock) -> Self {
        Self { standing, clock }
    }

    /// Whether the Lease is held now.
    pub fn holds(&self) -> bool {
        self.standing.borrow().holds(self.clock.elapsed())
    }

    /// Waits until the Lease is held.
    pub async fn begins(&mut self) {
        while !self.holds() {
            if self.standing.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the Lease is no longer held. It ends by itself when nobody renews it.
    pub async fn ends(&mut self) {
        loop {
            let until = match *self.standing.borrow_and_update() {
                Standing::Holds { until } if self.clock.elapsed() < until => until,
                _ => return,
            };
            tokio::select! {
                () = self.clock.sleep_until_elapsed(Some(until)) => {}
                changed = self.standing.changed() => if changed.is_err() { return },
            }
        }
    }
}
