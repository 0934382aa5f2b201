//! What those see who act only while the Lease is held: the lifecycle, the checkpoints and the publisher.

use tokio::sync::watch;

use crate::clock::Clock;
use crate::lease::LeaseState;

/// Whether and until when this replica holds the Lease.
#[derive(Debug, Clone)]
pub struct Leadership {
    lease_state: watch::Receiver<LeaseState>,
    clock: Clock,
}

impl Leadership {
    /// Returns the view of a lease_state by the clock that it is told in.
    pub fn new(lease_state: watch::Receiver<LeaseState>, clock: Clock) -> Self {
        Self { lease_state, clock }
    }

    /// Whether the Lease is held now.
    pub fn holds(&self) -> bool {
        self.lease_state.borrow().holds(self.clock.elapsed())
    }

    /// Waits until the Lease is held.
    pub async fn begins(&mut self) {
        while !self.holds() {
            if self.lease_state.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the Lease is no longer held. It ends by itself when nobody renews it.
    pub async fn ends(&mut self) {
        loop {
            let until = match *self.lease_state.borrow_and_update() {
                LeaseState::Leader { until } if self.clock.elapsed() < until => until,
                _ => return,
            };
            tokio::select! {
                () = self.clock.sleep_until_elapsed(Some(until)) => {}
                changed = self.lease_state.changed() => if changed.is_err() { return },
            }
        }
    }
}
