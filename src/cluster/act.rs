//! Carries out actions: the only code that writes to the API server.
//!
//! Every write is idempotent or carries the uid of the pod that was decided on, so repeating one, or two replicas doing
//! the same, does no harm. What the server answers goes to the hub like a watch event.

mod dependants;
mod pods;
mod recreate;
mod rights;
mod secrets;
mod services;
mod shared;

use std::collections::BTreeMap;

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::info;
use url::form_urlencoded;

use super::request::{self, Client, Failure, JSON, MERGE, Request, STRATEGIC};
use crate::action::Action;
use crate::error::Error;
use crate::hub::Hub;
use crate::index::input::{Input, Source};
use crate::objects::{Lease, List, Object, Pod};
use crate::workspaces::marks::label;

/// Writes to one namespace.
#[derive(Clone)]
pub struct Actor {
    client: Client,
    namespace: String,
    hub: Hub,
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
    /// What was to be marked is gone.
    Gone,
    /// The Lease as it is now.
    Lease(Box<Lease>),
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
    /// Returns an actor that feeds `hub`. Its copies share one bound on the writes that are under way.
    pub fn new(client: kube::Client, namespace: &str, hub: Hub) -> Self {
        Self {
            client: Client::new(client),
            namespace: namespace.to_owned(),
            hub,
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
            Action::SyncServices { pod, headless } => {
                self.sync_services(pod, *headless, deadline).await
            }
            Action::ChangeSecret(pod, change) => self.change_secret(pod, change, deadline).await,
            Action::Mark(pod, mark) => self.mark(pod, mark, deadline).await,
            Action::Label(pod, key, value) => self.label(pod, key, value, deadline).await,
            Action::MarkVersion(pod, version, mark) => {
                self.mark_version(pod, version, mark, deadline).await
            }
            Action::Stop(pod, grace) => {
                info!(pod = pod.name, ?grace, "stopping");
                self.delete(pod, grace.as_secs(), deadline).await
            }
            Action::ForceDelete(pod) => {
                info!(pod = pod.name, "deleting without waiting for its node");
                self.delete(pod, 0, deadline).await
            }
            Action::RemoveFinalizer(pod, finalizer) => {
                self.remove_finalizer(pod, finalizer, deadline).await
            }
            Action::UpdateLease(update) => self.update_lease(update, deadline).await,
            Action::Checkpoint(checkpoint) => self.checkpoint(checkpoint, deadline).await,
            Action::Recreate(step) => self.recreate(step, deadline).await,
        }
    }

    /// Reads a pod afresh and feeds it to the hub.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn read_pod(&self, name: &str, deadline: Instant) -> Result<Option<Pod>, Error> {
        let path = self.path("pods", Some(name));
        let doing = format!("reading pod {name}");
        let found = self.find::<Pod>(&path, &doing, deadline).await?;
        if let Some(pod) = &found {
            self.hub.take(Input::Pod(Source::Answer, pod));
        }
        Ok(found)
    }

    /// Finds the pods of an instance id that the index may not know yet, and feeds them to the hub. `id` is a label value.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn find_pods(&self, id: &str, deadline: Instant) -> Result<Vec<Pod>, Error> {
        let selector = format!("{}={id}", label::WORKSPACE_ID);
        let doing = "looking for the workspace's pod";
        let found = self.list("pods", &selector, doing, deadline).await?;
        for pod in &found {
            self.hub.take(Input::Pod(Source::Answer, pod));
        }
        Ok(found)
    }

    /// Reads an object; nothing if it is not there.
    async fn find<T: DeserializeOwned>(
        &self,
        path: &str,
        doing: &str,
        deadline: Instant,
    ) -> Result<Option<T>, Error> {
        match self.get(path, deadline).await {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| unreadable(&error)),
            Err(failure) if failure.is_gone() => Ok(None),
            Err(failure) => Err(failure.into_error(doing)),
        }
    }

    /// Reads the objects of a kind that a label selector selects.
    async fn list<T: Object + DeserializeOwned>(
        &self,
        plural: &str,
        selector: &str,
        doing: &str,
        deadline: Instant,
    ) -> Result<Vec<T>, Error> {
        let selector: String = form_urlencoded::byte_serialize(selector.as_bytes()).collect();
        let path = format!("{}?labelSelector={selector}", self.path(plural, None));
        let text = self.get(&path, deadline).await;
        let text = text.map_err(|failure| failure.into_error(doing))?;
        let list: List<T> = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
        Ok(list.items)
    }

    /// Deletes an object by uid and returns the answer; nothing if it is gone, or its name is another's by now, which is
    /// what was wanted.
    async fn remove(
        &self,
        path: &str,
        options: &Value,
        doing: &str,
        at: Instant,
    ) -> Result<Option<String>, Error> {
        let request = Request {
            method: Method::DELETE,
            path,
            content_type: JSON,
            body: encode(options)?,
        };
        self.if_unchanged(&request, doing, at).await
    }

    /// Sends a write with preconditions and returns the answer; nothing if they did not hold, as where the object is
    /// gone.
    async fn if_unchanged(
        &self,
        request: &Request<'_>,
        doing: &str,
        deadline: Instant,
    ) -> Result<Option<String>, Error> {
        match request::send(&self.client, request, deadline).await {
            Ok(text) => Ok(Some(text)),
            Err(failure) if failure.is_outdated() => Ok(None),
            Err(failure) => Err(failure.into_error(doing)),
        }
    }

    async fn get(&self, path: &str, deadline: Instant) -> Result<String, Failure> {
        let request = Request {
            method: Method::GET,
            path,
            content_type: JSON,
            body: Vec::new(),
        };
        request::send(&self.client, &request, deadline).await
    }

    /// Feeds the pod in an answer to the hub.
    fn saw(&self, text: &str) -> Result<Pod, Error> {
        let pod: Pod = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
        self.hub.take(Input::Pod(Source::Answer, &pod));
        Ok(pod)
    }

    fn path(&self, plural: &str, name: Option<&str>) -> String {
        let collection = format!("/api/v1/namespaces/{}/{plural}", self.namespace);
        match name {
            None => collection,
            Some(name) => format!("{collection}/{name}"),
        }
    }
}

fn encode(body: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(body).map_err(|error| Error::Internal {
        why: format!("cannot encode: {error}"),
    })
}

/// The entries of a merge patch: null removes.
fn merge(set: &BTreeMap<String, String>, remove: &[String]) -> Map<String, Value> {
    let set = set
        .iter()
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())));
    let remove = remove.iter().map(|key| (key.clone(), Value::Null));
    set.chain(remove).collect()
}

/// serde_json names what it expected and where, not the content.
fn unreadable(error: &serde_json::Error) -> Error {
    Error::Unavailable {
        why: format!("the API server's answer is unreadable: {error}"),
        retry_after: None,
    }
}
