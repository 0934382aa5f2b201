//! What all calls share that change a running workspace: read it, plan the change, write it, and retry on a conflict.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::action::PodRef;
use crate::clock::Clock;
use crate::cluster::act::{Outcome, TRIES};
use crate::config::Settings;
use crate::error::Error;
use crate::grpc::lookup::Lookup;
use crate::index::noun::Group;
use crate::rpc::keyed_lock::KeyedLock;
use crate::rpc::methods::DEFAULT_DEADLINE;
use crate::workspaces::change::{Change, Seen};

#[derive(Debug, Clone)]
pub(super) struct Changes {
    pub(super) lookup: Lookup,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) clock: Clock,
    pub(super) locks: KeyedLock,
}

impl Changes {
    /// Makes one change, after the earlier ones of the same workspace.
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
                // A change that was started is finished, also with a short deadline.
                act_deadline = deadline.max(Instant::now() + DEFAULT_DEADLINE);
            }
            if self.was_replaced(&seen.pod) {
                continue 'tries;
            }
            return Ok(());
        }
        Err(Error::Aborted {
            why: format!(
                "{doing}: other clients keep changing workspace {}",
                change.id
            ),
        })
    }

    /// Whether another pod takes the place of one: what it was marked with may not be handed on.
    fn was_replaced(&self, pod: &PodRef) -> bool {
        self.lookup.hub().read(|index| {
            let newest = index.by_pod(&pod.name).map(Group::newest);
            newest.is_some_and(|newest| {
                newest.pod != *pod || !newest.entry.state.successor.is_empty()
            })
        })
    }

    /// Reads a workspace from the API server: the index may not yet have another replica's change.
    async fn see(&self, id: &str, deadline: Instant) -> Result<Seen, Error> {
        let name = || {
            self.lookup.hub().read(|index| {
                let newest = index.by_id(id)?.newest();
                Some(newest.pod.name.clone())
            })
        };
        let mut pod = match name() {
            Some(name) => self.lookup.actor().read_pod(&name, deadline).await?,
            None => None,
        };
        if pod.is_none() {
            let found = self.lookup.find(id, deadline).await?;
            let name = name();
            let mut found = found.into_iter();
            pod = found.find(|pod| Some(&pod.metadata.name) == name.as_ref());
        }
        let seen = pod.and_then(|pod| {
            let meta = pod.metadata;
            let (owner, pod, phase) = self.lookup.hub().read(|index| {
                let group = index.by_pod(&meta.name)?;
                let pod = &group.newest().pod;
                (pod.uid == meta.uid).then(|| (group.anchor(), pod.clone(), group.phase()))
            })?;
            Some(Seen {
                pod,
                owner,
                version: meta.resource_version,
                marks: meta.annotations,
                phase,
            })
        });
        seen.ok_or_else(|| self.lookup.not_found(id))
    }
}
