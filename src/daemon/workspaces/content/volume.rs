//! Snapshots the volume of a workspace that ended.

use std::time::Duration;

use tokio::time::Instant;

use super::Backends;
use crate::action::Action;
use crate::cluster::act::Outcome;
use crate::error::Error;
use crate::workspaces::content::step::VolumeSnapshot;
use crate::workspaces::content::volume::{self, Progress};

/// Bound on one request.
const LIMIT: Duration = Duration::from_secs(30);

impl Backends {
    /// Creates the snapshot, and follows it until it is ready or fails. The lifecycle ends it when it is late.
    pub(super) async fn snapshot_volume(
        &self,
        ending: &VolumeSnapshot,
    ) -> Result<Vec<Action>, Error> {
        let (actor, clock) = (&self.actor, &self.clock);
        let plan = &ending.plan;
        let create = Action::CreateVolumeSnapshot(Box::new(plan.clone()));
        match actor.act(&create, Instant::now() + LIMIT).await {
            Ok(Outcome::Gone) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => {
                let why = format!("could not be made: {}", error.refusal());
                return Ok(volume::failed(ending, &why));
            }
        }
        let ended = actor.follow_volume_snapshot(&plan.name, |found| {
            match volume::progress(found, clock.now()) {
                Progress::Ready(snapshot) => Some(Ok(snapshot)),
                Progress::Failed(why) => Some(Err(why)),
                Progress::Waits(_) => None,
            }
        });
        Ok(match ended.await? {
            Ok(snapshot) => {
                let deadline = Instant::now() + LIMIT;
                volume::saved(ending, &actor.snapshot_handle(&snapshot, deadline).await?)
            }
            Err(why) => volume::failed(ending, &why),
        })
    }
}
