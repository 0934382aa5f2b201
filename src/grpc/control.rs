//! What the calls that change a living workspace share: it is read, asked what to do, and that is done, again if
//! somebody else changed it meanwhile.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tracing::{Instrument, info_span};

use super::workspaces::{UNARY, Workspaces};
use crate::cluster::act::{Outcome, TRIES};
use crate::error::Error;
use crate::index::Tracked;
use crate::workspaces::change::{Change, Seen};
use crate::workspaces::decide::Entry;

impl Workspaces {
    /// Carries out a change, whoever still waits.
    pub(super) async fn change(
        &self,
        doing: &'static str,
        change: Change,
        due: Instant,
    ) -> Result<(), Status> {
        let this = self.clone();
        let span = info_span!("change", workspace = change.id, doing);
        let changing = async move { this.carry_out(doing, &change, due).await };
        self.mutate(doing, due, changing.instrument(span)).await
    }

    async fn carry_out(
        &self,
        doing: &'static str,
        change: &Change,
        due: Instant,
    ) -> Result<(), Error> {
        let _turn = timeout_at(due, self.turns.take(&change.id))
            .await
            .map_err(|_| Error::Deadline {
                doing: format!("{doing}: other changes of the workspace go first"),
            })?;
        'tries: for _ in 0..TRIES {
            let seen = self.see(&change.id, due).await?;
            let settings = self.settings();
            let mut until = due;
            for action in change.actions(&seen, &settings.manager, self.clock.now())? {
                if let Outcome::Changed = self.actor.act(&action, until).await? {
                    continue 'tries;
                }
                // What was begun is finished even if the caller is in a hurry.
                until = due.max(Instant::now() + UNARY);
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
    async fn see(&self, id: &str, due: Instant) -> Result<Seen, Error> {
        let name = || {
            let name = |tracked: &Tracked| tracked.pod.name.clone();
            self.hub.read(|index| index.by_id(id).map(name))
        };
        let mut pod = match name() {
            Some(name) => self.actor.read_pod(&name, due).await?,
            None => None,
        };
        if pod.is_none() {
            let found = self.actor.find_pods(id, due).await?;
            let name = name();
            let mut found = found.into_iter();
            pod = found.find(|pod| Some(&pod.metadata.name) == name.as_ref());
        }
        let seen = pod.and_then(|pod| {
            let meta = pod.metadata;
            let (pod, phase) = self.hub.read(|index| {
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
        seen.ok_or_else(|| self.not_found(id))
    }

    /// Returns a workspace from the index or, where it knows none, from the API server.
    pub(super) async fn known(&self, id: &str, due: Instant) -> Result<Entry, Error> {
        let known = || self.hub.read(|index| index.by_id(id).map(Tracked::entry));
        if let Some(entry) = known() {
            return Ok(entry);
        }
        self.actor.find_pods(id, due).await?;
        known().ok_or_else(|| self.not_found(id))
    }
}

/// Whose turn it is: changes of one workspace go one after the other, in the order in which they came.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Lanes>);

#[derive(Debug)]
struct Lanes {
    hash: RandomState,
    lanes: Vec<Mutex<()>>,
}

/// Workspaces that share a lane only wait for each other; more lanes make that rarer.
const LANES: usize = 256;

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Lanes {
            hash: RandomState::new(),
            lanes: std::iter::repeat_with(Mutex::default).take(LANES).collect(),
        }))
    }
}

impl Turns {
    /// Waits for the turn of a call that changes `id`; dropping the guard ends it.
    async fn take(&self, id: &str) -> MutexGuard<'_, ()> {
        // The remainder is less than the number of lanes.
        #[allow(clippy::cast_possible_truncation)]
        let lane = (self.0.hash.hash_one(id) % LANES as u64) as usize;
        self.0.lanes[lane].lock().await
    }
}
