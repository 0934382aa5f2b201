//! Carries out actions: the only code that writes to the API server.
//!
//! Every write is idempotent or carries the uid of the pod that was decided on, so repeating one, or two replicas doing
//! the same, does no harm. What the server answers goes to the hub like a watch event.

use http::Method;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{debug, info};

use super::errors;
use super::request::{self, Failure, Request};
use crate::action::{Action, Dependant, Mark, PodRef};
use crate::error::Error;
use crate::hub::Hub;
use crate::index::Changes;
use crate::objects::{List, Pod, Service};
use crate::workspaces::services;

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
    /// A pod of that name was there before; this is it.
    Exists(Box<Pod>),
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Actor")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

impl Actor {
    /// Returns an actor that feeds `hub`.
    pub fn new(client: Client, namespace: &str, hub: Hub) -> Self {
        Self {
            client,
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
            Action::CreateServices(pod) => self.create_services(pod, deadline).await,
            Action::Mark(pod, mark) => self.mark(pod, mark, deadline).await,
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
        }
    }

    /// Reads a pod afresh and feeds it to the hub.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn read_pod(&self, name: &str, deadline: Instant) -> Result<Option<Pod>, Error> {
        match self.get(&self.path("pods", Some(name)), deadline).await {
            Ok(text) => Ok(Some(self.saw(&text)?)),
            Err(Failure::Server(error)) if errors::is_not_found(&error) => Ok(None),
            Err(failure) => Err(failure.into_error(&format!("reading pod {name}"))),
        }
    }

    /// Finds the pods of an instance id that the index may not know yet, and feeds them to the hub. `id` is a label value.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn find_pods(&self, id: &str, deadline: Instant) -> Result<Vec<Pod>, Error> {
        let path = format!(
            "{}?labelSelector=workspaceID%3D{id}",
            self.path("pods", None)
        );
        let doing = "looking for the workspace's pod";
        let text = self
            .get(&path, deadline)
            .await
            .map_err(|failure| failure.into_error(doing))?;
        let list: List<Pod> = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
        self.hub.change(|index| {
            let mut changes = Changes::default();
            for pod in &list.items {
                changes.extend(index.apply_pod(pod));
            }
            changes
        });
        Ok(list.items)
    }

    async fn create_pod(&self, pod: &core::Pod, deadline: Instant) -> Result<Outcome, Error> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let path = self.path("pods", None);
        let request = Request {
            method: Method::POST,
            path: &path,
            content_type: JSON,
            body: encode(pod)?,
        };
        match request::send(&self.client, &request, deadline).await {
            Ok(text) => {
                self.saw(&text)?;
                info!(pod = name, "created");
                Ok(Outcome::Done)
            }
            // Possibly by an attempt of ours whose answer was lost (F-W1).
            Err(Failure::Server(error)) if errors::is_already_exists(&error) => {
                let pod = self.read_pod(name, deadline).await?;
                pod.map(|pod| Outcome::Exists(Box::new(pod)))
                    .ok_or_else(|| Error::Aborted {
                        why: format!("pod {name} was removed while it was being created"),
                    })
            }
            Err(failure) => Err(failure.into_error(&format!("creating pod {name}"))),
        }
    }

    async fn create_dependant(
        &self,
        owner: &PodRef,
        dependant: &Dependant,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let owners = Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            ..OwnerReference::default()
        }]);
        let (plural, name, body) = match dependant {
            Dependant::Secret(secret) => {
                let mut secret = secret.clone();
                secret.metadata.owner_references = owners;
                ("secrets", secret.metadata.name.clone(), encode(&secret)?)
            }
            Dependant::Claim(claim) => {
                let mut claim = claim.clone();
                claim.metadata.owner_references = owners;
                (
                    "persistentvolumeclaims",
                    claim.metadata.name.clone(),
                    encode(&claim)?,
                )
            }
            Dependant::Service(service) => {
                let mut service = service.clone();
                service.metadata.owner_references = owners;
                ("services", service.metadata.name.clone(), encode(&service)?)
            }
        };
        let name = name.unwrap_or_default();
        let path = self.path(plural, None);
        let request = Request {
            method: Method::POST,
            path: &path,
            content_type: JSON,
            body,
        };
        loop {
            match request::send(&self.client, &request, deadline).await {
                Ok(_) => return Ok(Outcome::Done),
                Err(Failure::Server(error)) if errors::is_already_exists(&error) => {
                    if self.is_owned(plural, &name, owner, deadline).await? {
                        return Ok(Outcome::Done);
                    }
                }
                Err(failure) => {
                    return Err(
                        failure.into_error(&format!("creating {plural} for pod {}", owner.name))
                    );
                }
            }
        }
    }

    /// Whether an object that is there belongs to `owner`. One of a pod that is gone is cleared away: the cluster's
    /// garbage collector takes its time, and names come from prefixes that are used again.
    async fn is_owned(
        &self,
        plural: &str,
        name: &str,
        owner: &PodRef,
        deadline: Instant,
    ) -> Result<bool, Error> {
        let path = self.path(plural, Some(name));
        let meta = match self.get(&path, deadline).await {
            Ok(text) => {
                serde_json::from_str::<Service>(&text)
                    .map_err(|error| unreadable(&error))?
                    .metadata
            }
            Err(Failure::Server(error)) if errors::is_not_found(&error) => return Ok(false),
            Err(failure) => return Err(failure.into_error(&format!("reading {plural} {name}"))),
        };
        if meta
            .owner_references
            .iter()
            .any(|known| known.uid == owner.uid)
        {
            return Ok(true);
        }
        let other = meta
            .owner_references
            .iter()
            .find(|known| known.kind == "Pod");
        let lives = match other {
            None => true,
            Some(other) => self
                .read_pod(&other.name, deadline)
                .await?
                .is_some_and(|pod| pod.metadata.uid == other.uid),
        };
        if lives {
            let whose = other.map_or("no pod", |other| other.name.as_str());
            let why = format!("{plural} {name} is there already and belongs to {whose}");
            return Err(Error::Precondition {
                state: "NAME_IN_USE",
                why,
            });
        }
        let options =
            json!({ "preconditions": { "uid": meta.uid }, "propagationPolicy": "Background" });
        let doing = format!("deleting {plural} {name} of a pod that is gone");
        self.remove(&path, &options, &doing, deadline).await?;
        Ok(false)
    }

    /// The index keeps no labels, so the pod is read for them.
    async fn create_services(&self, owner: &PodRef, deadline: Instant) -> Result<Outcome, Error> {
        let Some(pod) = self
            .read_pod(&owner.name, deadline)
            .await?
            .filter(|pod| pod.metadata.uid == owner.uid)
        else {
            return Ok(Outcome::Done);
        };
        for service in services::of_pod(
            &self.namespace,
            &pod.metadata.labels,
            &pod.metadata.annotations,
        ) {
            info!(
                pod = owner.name,
                service = service.metadata.name,
                "creating a missing Service"
            );
            self.create_dependant(owner, &Dependant::Service(Box::new(service)), deadline)
                .await?;
        }
        Ok(Outcome::Done)
    }

    async fn mark(&self, pod: &PodRef, mark: &Mark, deadline: Instant) -> Result<Outcome, Error> {
        let set = mark
            .set
            .iter()
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        let remove = mark.remove.iter().map(|key| (key.clone(), Value::Null));
        let annotations: serde_json::Map<_, _> = set.chain(remove).collect();
        info!(pod = pod.name, keys = ?annotations.keys().collect::<Vec<_>>(), "marking");
        let patch = json!({ "metadata": { "uid": pod.uid, "annotations": annotations } });
        self.patch(pod, MERGE, &patch, deadline).await
    }

    async fn remove_finalizer(
        &self,
        pod: &PodRef,
        finalizer: &str,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        info!(pod = pod.name, finalizer, "removing finalizer");
        let patch = json!({ "metadata": { "uid": pod.uid, "$deleteFromPrimitiveList/finalizers": [finalizer] } });
        self.patch(pod, STRATEGIC, &patch, deadline).await
    }

    /// Patches a pod; one that is gone, or whose name is another pod's by now, counts as done.
    async fn patch(
        &self,
        pod: &PodRef,
        kind: &'static str,
        patch: &Value,
        at: Instant,
    ) -> Result<Outcome, Error> {
        let path = self.path("pods", Some(&pod.name));
        let request = Request {
            method: Method::PATCH,
            path: &path,
            content_type: kind,
            body: encode(patch)?,
        };
        match request::send(&self.client, &request, at).await {
            Ok(text) => self.saw(&text).map(|_| Outcome::Done),
            Err(Failure::Server(error))
                if errors::is_not_found(&error) || errors::is_other_uid(&error) =>
            {
                debug!(pod = pod.name, "is gone");
                Ok(Outcome::Done)
            }
            Err(failure) => Err(failure.into_error(&format!("patching pod {}", pod.name))),
        }
    }

    async fn delete(&self, pod: &PodRef, grace: u64, deadline: Instant) -> Result<Outcome, Error> {
        let options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "gracePeriodSeconds": grace,
            "preconditions": { "uid": pod.uid },
            "propagationPolicy": "Background",
        });
        let path = self.path("pods", Some(&pod.name));
        // The answer is the pod on its way out, or as it was when it went at once; the watch tells which.
        let doing = format!("deleting pod {}", pod.name);
        self.remove(&path, &options, &doing, deadline).await?;
        Ok(Outcome::Done)
    }

    /// Deletes an object by uid; one that is gone, or whose name is another's by now, is what was wanted.
    async fn remove(
        &self,
        path: &str,
        options: &Value,
        doing: &str,
        at: Instant,
    ) -> Result<(), Error> {
        let request = Request {
            method: Method::DELETE,
            path,
            content_type: JSON,
            body: encode(options)?,
        };
        match request::send(&self.client, &request, at).await {
            Ok(_) => Ok(()),
            Err(Failure::Server(error))
                if errors::is_not_found(&error) || errors::is_conflict(&error) =>
            {
                Ok(())
            }
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
        self.hub.change(|index| index.apply_pod(&pod));
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

/// serde_json names what it expected and where, not the content.
fn unreadable(error: &serde_json::Error) -> Error {
    Error::Unavailable {
        why: format!("the API server's answer is unreadable: {error}"),
        retry_after: None,
    }
}
