//! Finds workspaces in the index, among those that ended recently, or at the API server. It answers UNAVAILABLE until
//! the first list is complete.

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::cluster::act::Actor;
use crate::error::Error;
use crate::hub::Hub;
use crate::index::ended::End;
use crate::index::noun::{Group, Noun};
use crate::objects::Pod;
use crate::proto::answers::EncodedStatus;
use crate::workspaces::ending;
use crate::workspaces::entry::Workspace;
use crate::workspaces::filter::Filter;
use crate::workspaces::maintenance::Switch;
use crate::workspaces::marks::label;
use crate::workspaces::rejected;
use crate::workspaces::update::StatusUpdate;

#[derive(Debug, Clone)]
pub struct Lookup {
    hub: Hub<Workspace>,
    actor: Actor,
    maintenance: watch::Receiver<Switch>,
}

impl Lookup {
    /// Reads the hub first and then, through the actor, the API server. Answers nothing before the maintenance
    /// state is known.
    pub fn new(hub: Hub<Workspace>, actor: Actor, maintenance: watch::Receiver<Switch>) -> Self {
        Self {
            hub,
            actor,
            maintenance,
        }
    }

    pub fn hub(&self) -> &Hub<Workspace> {
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
    pub async fn known(&self, id: &str, deadline: Instant) -> Result<EncodedStatus, Error> {
        let status = self.look(id, deadline, |group| group.status().clone());
        status.await?.ok_or_else(|| self.not_found(id))
    }

    /// Reads a workspace in the index or, if it is not there, once the API server was asked: another replica may have
    /// created the pod a moment ago. `None` if there is none.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn look<T>(
        &self,
        id: &str,
        deadline: Instant,
        read: impl Fn(&Group<Workspace>) -> T,
    ) -> Result<Option<T>, Error> {
        let known = || self.hub.read(|index| index.by_id(id).map(&read));
        if let Some(known) = known() {
            return Ok(Some(known));
        }
        self.find(id, deadline).await?;
        Ok(known())
    }

    /// Finds the pods of a workspace that the index may not know yet, and feeds them to the hub. `id` is a label value.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn find(&self, id: &str, deadline: Instant) -> Result<Vec<Pod>, Error> {
        let selector = format!("{}={id}", label::WORKSPACE_ID);
        let found = self.actor.find_pods(&selector, deadline).await?;
        for pod in &found {
            // A pod that was made again counts once the first is known.
            if let Some(first) = rejected::anchor(&pod.metadata) {
                self.actor.read_pod(&first.name, deadline).await?;
            }
        }
        Ok(found)
    }

    /// Returns how a workspace ended, if it ended recently and its id was not started again.
    pub fn end(&self, id: &str) -> Option<End<StatusUpdate>> {
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
            None => missing(id),
            Some(end) => Error::Ended {
                noun: Workspace::KIND,
                id,
                at: end.at,
                why: ending::of_ended(&end.update.status.read()),
            },
        }
    }

    pub fn list(&self, filter: &Filter) -> Vec<EncodedStatus> {
        self.hub.read(|index| {
            let all = index.visible().map(Group::status);
            all.filter(|status| filter.matches(status))
                .cloned()
                .collect()
        })
    }

    /// Returns every workspace that matches, with those that ended recently.
    pub fn list_with_ended(&self, filter: &Filter) -> Vec<EncodedStatus> {
        self.hub.read_with_ended(|index, ended| {
            let gone = ended.iter().filter(|(id, _)| index.by_id(id).is_none());
            let gone = gone.map(|(_, end)| &end.update.status);
            let all = index.visible().map(Group::status).chain(gone);
            all.filter(|status| filter.matches(status))
                .cloned()
                .collect()
        })
    }
}

/// Returns the error of a call for a workspace that nothing is known of.
pub(super) fn missing(id: String) -> Error {
    Error::NotFound {
        noun: Workspace::KIND,
        id,
        known: Vec::new(),
    }
}
