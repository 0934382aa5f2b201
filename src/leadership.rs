//! Leadership, for what runs only on the leader: the lifecycle, the checkpoints and the publisher.

use tokio::sync::watch;

use crate::clock::Clock;
use crate::lease::LeaseState;

/// Whether this replica leads, and until when.
#[derive(Debug, Clone)]
pub struct Leadership {
    lease_state: watch::Receiver<LeaseState>,
    clock: Clock,
}

impl Leadership {
    /// Returns the view of a lease state, whose times are of this clock.
    pub fn new(lease_state: watch::Receiver<LeaseState>, clock: Clock) -> Self {
        Self { lease_state, clock }
    }

    /// Whether this replica leads now.
    pub fn holds(&self) -> bool {
        self.lease_state.borrow().holds(self.clock.elapsed())
    }

    /// Waits until this replica leads.
    pub async fn begins(&mut self) {
        while !self.holds() {
            if self.lease_state.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until this replica no longer leads. Leadership ends by itself without a renewal.
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
