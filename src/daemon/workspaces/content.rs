//! Carries out what decisions ask for the content of workspaces.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::action::Action;
use crate::backups::Backups;
use crate::cluster::reconcile::Steps;
use crate::error::Error;
use crate::workspaces::content::step::Step;

/// How long the store may take to say what it has: the pod waits for it.
const LOOK_UP: Duration = Duration::from_secs(10);

/// The backends of the content.
#[derive(Debug)]
pub(in crate::daemon) struct Backends {
    pub(in crate::daemon) backups: Backups,
}

impl Steps<Step> for Backends {
    fn carry_out(&self, step: Step) -> BoxFuture<'static, Result<Vec<Action>, Error>> {
        let backups = self.backups.clone();
        Box::pin(async move {
            match step {
                Step::LastBackup(look_up) => {
                    let deadline = Instant::now() + LOOK_UP;
                    let found = backups
                        .last(&look_up.owner, &look_up.meta_id, deadline)
                        .await;
                    // A store that does not answer is an outcome, too: it must not hold the pod.
                    Ok(vec![look_up.outcome(found)])
                }
            }
        })
    }
}
