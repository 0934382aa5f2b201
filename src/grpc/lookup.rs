//! Finds workspaces in the index, among those that ended recently, or at the API server. It answers UNAVAILABLE until
//! the first list is complete.

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::cluster::act::Actor;
use crate::error::Error;
use crate::hub::Hub;
use crate::index::Tracked;
use crate::index::ended::End;
use crate::proto::answers::EncodedStatus;
use crate::workspaces::decide::Entry;
use crate::workspaces::ending;
use crate::workspaces::filter::Filter;
use crate::workspaces::maintenance::Switch;

#[derive(Debug, Clone)]
pub struct Lookup {
    hub: Hub,
    actor: Actor,
    maintenance: watch::Receiver<Switch>,
}

impl Lookup {
    /// Reads the hub first and then, through the actor, the API server. Answers nothing before the maintenance
    /// state is known.
    pub fn new(hub: Hub, actor: Actor, maintenance: watch::Receiver<Switch>) -> Self {
        Self {
            hub,
            actor,
            maintenance,
        }
    }

    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Returns what reads from the API server.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The maintenance state in the ConfigMap.
    pub fn maintenance(&self) -> Switch {
        *self.maintenance.borrow()
    }

    /// Rejects a call before the first list is complete: a client would take workspaces that are missing from a
    /// partial list for ended ones (docs/protocol.md#what-each-call-checks).
    ///
    /// # Errors
    /// [`Error::Unavailable`] before that.
    pub fn check_listed(&self) -> Result<(), Error> {
        if self.maintenance() != Switch::Unknown && self.hub.read(|index| index.is_listed()) {
            return Ok(());
        }
        Err(Error::Unavailable {
            why: "the workspaces are not listed yet".to_owned(),
            retry_after: None,
        })
    }

    /// Waits for the first list and the maintenance state, right after the daemon's start.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if they are not there by the deadline.
    pub async fn await_listed(&self, deadline: Instant) -> Result<(), Error> {
        if self.check_listed().is_err() {
            let mut synced = self.hub.synced();
            // At the deadline, the state of that moment counts.
            let _ = timeout_at(deadline, synced.wait_for(|synced| *synced)).await;
        }
        self.check_listed()
    }

    /// Returns a workspace from the index or, if it is not there, from the API server.
    ///
    /// # Errors
    /// Those of [`Self::not_found`] and of the API server.
    pub async fn known(&self, id: &str, deadline: Instant) -> Result<Entry, Error> {
        let known = || self.hub.read(|index| index.by_id(id).map(Tracked::entry));
        if let Some(entry) = known() {
            return Ok(entry);
        }
        self.actor.find_pods(id, deadline).await?;
        known().ok_or_else(|| self.not_found(id))
    }

    /// Returns how a workspace ended, if it ended recently and its id was not started again.
    pub fn end(&self, id: &str) -> Option<End> {
        self.hub
            .read_with_ended(|index, ended| match index.by_id(id) {
                Some(_) => None,
                None => ended.get(id).cloned(),
            })
    }

    /// Returns the error of a call for an unknown workspace.
    pub fn not_found(&self, id: &str) -> Error {
        let id = id.to_owned();
        match self.end(&id) {
            None => Error::NotFound { id },
            Some(end) => Error::Ended {
                id,
                at: end.at,
                why: ending::of_ended(&end.status.read()),
            },
        }
    }

    pub fn list(&self, filter: &Filter) -> Vec<EncodedStatus> {
        self.hub.read(|index| index.list(filter).cloned().collect())
    }

    /// Returns every workspace that matches, with those that ended recently.
    pub fn list_with_ended(&self, filter: &Filter) -> Vec<EncodedStatus> {
        self.hub.read_with_ended(|index, ended| {
            let gone = ended.iter().filter(|(id, _)| index.by_id(id).is_none());
            let gone = gone.map(|(_, end)| &end.status);
            let gone = gone.filter(|status| filter.matches(status));
            index.list(filter).chain(gone).cloned().collect()
        })
    }
}
