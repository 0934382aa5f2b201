//! Looks for the last backup of a workspace that was not saved at its end.

use std::time::Duration;

use tokio::time::Instant;

use super::Backends;
use crate::action::Action;
use crate::workspaces::content::step::LookUp;

/// How long the store may take to say what it has: the pod waits for it.
const LIMIT: Duration = Duration::from_secs(10);

impl Backends {
    /// A store that does not answer is an outcome, too: it must not hold the pod.
    pub(super) async fn look_up(&self, look_up: &LookUp) -> Vec<Action> {
        let (owner, meta_id) = (&look_up.owner, &look_up.meta_id);
        let last = self.backups.last(owner, meta_id, Instant::now() + LIMIT);
        vec![look_up.outcome(last.await)]
    }
}
