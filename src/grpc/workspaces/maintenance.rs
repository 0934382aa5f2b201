//! Whether maintenance blocks a call (docs/operations.md#maintenance).

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::Settings;
use crate::error::Error;
use crate::grpc::lookup::Lookup;
use crate::workspaces::maintenance::{self, FOR_EVER};

#[derive(Debug, Clone)]
pub(super) struct Maintenance {
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) lookup: Lookup,
    pub(super) clock: Clock,
}

impl Maintenance {
    /// Rejects what must not start during maintenance.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.end() {
            None => Ok(()),
            Some(end) => Err(maintenance::error(end)),
        }
    }

    /// Returns when maintenance ends, if it is active.
    fn end(&self) -> Option<Timestamp> {
        let configured = self.settings.borrow().manager.maintenance_mode;
        let end = self
            .lookup
            .maintenance()
            .end(configured.then_some(FOR_EVER));
        end.filter(|end| *end > self.clock.now())
    }
}
