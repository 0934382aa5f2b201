//! Saves the content of a workspace on request: by the guest in its pod, by the ws-daemon of its node, or by a snapshot of
//! its volume.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::volumes;
use crate::clock::Clock;
use crate::config::Settings;
use crate::error::Error;
use crate::grpc::lookup::Lookup;
use crate::workspaces::content::{self, Save, Saver};
use crate::wsdaemon::{Daemons, Failure, Target};

#[derive(Debug, Clone)]
pub(super) struct Savers {
    pub(super) lookup: Lookup,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) daemons: Daemons,
    pub(super) clock: Clock,
}

impl Savers {
    /// Saves and returns where the content is. `ask` names the request.
    ///
    /// # Errors
    /// Those of [`content::save`], of the command and of the guest, of the ws-daemon, or of [`volumes::save`].
    pub(super) async fn save(
        &self,
        id: &str,
        save: Save,
        ask: String,
        deadline: Instant,
    ) -> Result<String, Error> {
        let lookup = &self.lookup;
        let settings = self.settings.borrow().clone();
        let saver = lookup.look(id, deadline, |group| {
            content::save(group, &settings.manager, save, &ask)
        });
        let saver = saver.await?.ok_or_else(|| lookup.not_found(id))??;
        match saver {
            Saver::Guest { command, early } => {
                let output = lookup.actor().run(&command, deadline).await?;
                content::saved(save, early, &output)
            }
            Saver::Volume(plan) => {
                let at_once = Save::Snapshot {
                    return_immediately: true,
                };
                let wait = (save != at_once).then_some(&self.clock);
                volumes::save(lookup, id, plan, wait, deadline).await
            }
            Saver::Node(node) => self.on_node(&settings, node, id, save, deadline).await,
        }
    }

    async fn on_node(
        &self,
        settings: &Settings,
        node: String,
        id: &str,
        save: Save,
        deadline: Instant,
    ) -> Result<String, Error> {
        let Some(daemon) = settings.manager.daemon().cloned() else {
            let why = "no ws-daemon is configured".to_owned();
            return Err(Error::Internal { why });
        };
        let target = Target {
            node,
            daemon,
            limit: deadline.saturating_duration_since(Instant::now()),
        };
        let saved = match save {
            Save::Snapshot { return_immediately } => {
                let taken = self.daemons.snapshot(&target, id, return_immediately);
                taken.await
            }
            Save::Backup => self.daemons.backup(&target, id).await,
        };
        saved.map_err(error)
    }
}

/// What the ws-daemon answers is passed through.
fn error(failure: Failure) -> Error {
    let why = failure.to_string();
    match failure {
        Failure::Absent(_) | Failure::Unreachable(_) => Error::Unavailable {
            why,
            retry_after: None,
        },
        Failure::Late(_) => Error::Deadline {
            doing: "waiting for the ws-daemon".to_owned(),
        },
        Failure::Refused { code, .. } => Error::Upstream {
            code: code.into(),
            why,
        },
    }
}
