//! Carries out what decisions ask for the content of workspaces.

mod last_backup;
mod node;
mod volume;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

pub(in crate::daemon) use self::node::follow_daemons;

use crate::action::Action;
use crate::backups::Backups;
use crate::clock::Clock;
use crate::cluster::act::Actor;
use crate::cluster::reconcile::Steps;
use crate::config::Settings;
use crate::error::Error;
use crate::workspaces::content::step::Step;
use crate::wsdaemon::Daemons;

/// The backends of the content.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct Backends {
    pub(in crate::daemon) actor: Actor,
    pub(in crate::daemon) settings: watch::Receiver<Arc<Settings>>,
    pub(in crate::daemon) daemons: Daemons,
    pub(in crate::daemon) backups: Backups,
    pub(in crate::daemon) clock: Clock,
}

impl Steps<Step> for Backends {
    fn carry_out(&self, step: Step) -> BoxFuture<'static, Result<Vec<Action>, Error>> {
        let backends = self.clone();
        async move {
            match step {
                Step::Node(step) => backends.on_node(&step).await,
                Step::LastBackup(look_up) => Ok(backends.look_up(&look_up).await),
                Step::SnapshotVolume(snapshot) => backends.snapshot_volume(&snapshot).await,
            }
        }
        .boxed()
    }
}
