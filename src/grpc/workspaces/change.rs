//! What the calls that change a living workspace share: it is read, asked what to do, and that is done, again if
//! somebody else changed it meanwhile.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::cluster::act::{Outcome, TRIES};
use crate::config::Settings;
use crate::error::Error;
use crate::grpc::lookup::Lookup;
use crate::index::Tracked;
use crate::rpc::keyed_lock::KeyedLock;
use crate::rpc::methods::UNARY;
use crate::workspaces::change::{Change, Seen};

/// Carries changes out.
#[derive(Debug, Clone)]
pub(super) struct Changes {
    pub(super) lookup: Lookup,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) clock: Clock,
    pub(super) locks: KeyedLock,
}

impl Changes {
    /// Carries one change out, after those of the same workspace that came before.
    pub(super) async fn carry_out(
        &self,
        doing: &'static str,
        change: &Change,
        deadline: Instant,
    ) -> Result<(), Error> {
        let _locked = timeout_at(deadline, self.locks.lock(&change.id))
            .await
            .map_err(|_| Error::Deadline {
                doing: format!("{doing}: other changes of the workspace go first"),
            })?;
        'tries: for _ in 0..TRIES {
            let seen = self.see(&change.id, deadline).await?;
            let settings = self.settings.borrow().clone();
            let mut act_deadline = deadline;
            for action in change.actions(&seen, &settings.manager, self.clock.now())? {
                if let Outcome::Changed = self.lookup.actor().act(&action, act_deadline).await? {
                    continue 'tries;
                }
                // What was begun is finished even if the caller is in a hurry.
                act_deadline = deadline.max(Instant::now() + UNARY);
            }
            return Ok(());
        }
        Err(Error::Aborted {
            why: format!(
                "{doing}: somebody else keeps changing workspace {}",
                change.id
            ),
        })
    }

    /// Reads a workspace from the API server: what another replica has just changed may not be in the index yet.
    async fn see(&self, id: &str, deadline: Instant) -> Result<Seen, Error> {
        let name = || {
            let name = |tracked: &Tracked| tracked.pod.name.clone();
            self.lookup.hub().read(|index| index.by_id(id).map(name))
        };
        let mut pod = match name() {
            Some(name) => self.lookup.actor().read_pod(&name, deadline).await?,
            None => None,
        };
        if pod.is_none() {
            let found = self.lookup.actor().find_pods(id, deadline).await?;
            let name = name();
            let mut found = found.into_iter();
            pod = found.find(|pod| Some(&pod.metadata.name) == name.as_ref());
        }
        let seen = pod.and_then(|pod| {
            let meta = pod.metadata;
            let (pod, phase) = self.lookup.hub().read(|index| {
                let entry = index.by_name(&meta.name);
                let entry = entry.filter(|entry| entry.pod.uid == meta.uid)?;
                Some((entry.pod.clone(), entry.status.phase()))
            })?;
            Some(Seen {
                pod,
                version: meta.resource_version,
                marks: meta.annotations,
                phase,
            })
        });
        seen.ok_or_else(|| self.lookup.not_found(id))
    }
}
