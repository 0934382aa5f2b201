//! Carries out actions: the only code that writes to the API server.
//!
//! Every write is idempotent or carries the uid of the pod that was decided on, so repeating one, or two replicas doing
//! the same, does no harm. What the server answers goes to the hub like a watch event.

mod call;
mod dependants;
mod pods;
mod replace;
mod rights;
mod run;
mod secrets;
mod services;
mod shared;
mod volumes;

use std::sync::Arc;

use tokio::time::Instant;
use tracing::info;

use self::call::decode;
use super::request::Client;
use crate::action::Action;
use crate::error::Error;
use crate::index::input::{Input, Source};
use crate::objects::{ConfigMap, Lease, Pod};

/// Takes in what the API server answers.
pub type Sink = Arc<dyn Fn(Input<'_>) + Send + Sync>;

/// Writes to one namespace.
#[derive(Clone)]
pub struct Actor {
    client: Client,
    namespace: String,
    sink: Sink,
}

/// How an action went.
#[derive(Debug)]
pub enum Outcome {
    /// Its goal is met.
    Done,
    /// The pod was created; this is it.
    Created(Box<Pod>),
    /// A pod of that name was there before; this is it.
    Exists(Box<Pod>),
    /// The pod is not, or not as, it was read: nothing was written.
    Changed,
    /// What was to be marked or deleted is gone.
    Gone,
    /// It is being deleted, when these finalizers of others are taken off.
    Kept(Vec<String>),
    /// The Lease as it is now.
    Lease(Box<Lease>),
    /// The ConfigMap as it is now.
    Recorded(Box<ConfigMap>),
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Actor")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// How often a write is tried on what somebody else keeps changing (F-W3).
pub const TRIES: usize = 5;

impl Actor {
    /// Returns an actor that feeds `sink`. Its copies share one bound on the writes that are under way.
    pub fn new(client: kube::Client, namespace: &str, sink: Sink) -> Self {
        Self {
            client: Client::new(client),
            namespace: namespace.to_owned(),
            sink,
        }
    }

    /// Carries out an action, trying again until `deadline` while the server is busy or away.
    ///
    /// # Errors
    /// Whatever the server answers in the end; [`Error::Unavailable`] when `deadline` came first.
    pub async fn act(&self, action: &Action, deadline: Instant) -> Result<Outcome, Error> {
        match action {
            Action::CreatePod(pod) => self.create_pod(pod, deadline).await,
            Action::CreateDependant(owner, dependant) => {
                self.create_dependant(owner, dependant, deadline).await
            }
            Action::SyncServices(sync) => self.sync_services(sync, deadline).await,
            Action::ChangeSecret(pod, change) => self.change_secret(pod, change, deadline).await,
            Action::Mark(pod, mark) => self.mark(pod, mark, deadline).await,
            Action::Label(pod, labels) => self.label(pod, labels, deadline).await,
            Action::ChangePod(pod, change) => self.change_pod(pod, change, deadline).await,
            Action::Stop(pod, grace) => {
                info!(pod = pod.name, ?grace, "stopping");
                self.delete(pod, None, grace.as_secs(), deadline).await
            }
            Action::ForceDelete(pod) => {
                info!(pod = pod.name, "deleting without waiting for its node");
                self.delete(pod, None, 0, deadline).await
            }
            Action::RemoveFinalizer(pod, finalizer) => {
                self.remove_finalizer(pod, finalizer, deadline).await
            }
            Action::UpdateLease(update) => self.update_lease(update, deadline).await,
            Action::Checkpoint(checkpoint) => self.checkpoint(checkpoint, deadline).await,
            Action::CopyPod(copy) => self.copy_pod(copy, deadline).await,
            Action::CopyMarks(from, to, keys) => self.copy_marks(from, to, keys, deadline).await,
            Action::Discard(discard) => self.discard(discard, deadline).await,
            Action::CreateVolumeSnapshot(plan) => self.create_volume_snapshot(plan, deadline).await,
            Action::RestoreVolumeSnapshot(restore) => {
                self.restore_volume_snapshot(restore, deadline).await
            }
            Action::DeleteVolumeSnapshot(name, uid) => {
                self.delete_volume_snapshot(name, uid, deadline).await
            }
            Action::DeletePvc(owner, name) => self.delete_pvc(owner, name, deadline).await,
            Action::KeepPvc(owner, name) => self.keep_pvc(owner, name, deadline).await,
        }
    }

    /// Reads a pod afresh and feeds it to the hub.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn read_pod(&self, name: &str, deadline: Instant) -> Result<Option<Pod>, Error> {
        let path = self.path("pods", Some(name));
        let doing = format!("reading pod {name}");
        let found = self.call(&doing, deadline).find::<Pod>(&path).await?;
        if let Some(pod) = &found {
            (self.sink)(Input::Pod(Source::Answer, pod));
        }
        Ok(found)
    }

    /// Finds the pods with labels that the index may not know yet, and feeds them to the hub.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn find_pods(&self, selector: &str, deadline: Instant) -> Result<Vec<Pod>, Error> {
        let doing = "looking for pods";
        let found = self.call(doing, deadline).list("pods", selector).await?;
        for pod in &found {
            (self.sink)(Input::Pod(Source::Answer, pod));
        }
        Ok(found)
    }

    /// Feeds the pod in an answer to the hub.
    fn saw(&self, text: &str) -> Result<Pod, Error> {
        let pod: Pod = decode(text)?;
        (self.sink)(Input::Pod(Source::Answer, &pod));
        Ok(pod)
    }
}
