//! Writes to pods: create, mark, delete, take a finalizer off.

use http::Method;
use k8s_openapi::api::core::v1 as core;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tracing::{debug, info};

use super::{Actor, JSON, MERGE, Outcome, STRATEGIC, encode, merge};
use crate::action::{Mark, PodRef};
use crate::cluster::request::{self, Request};
use crate::error::Error;
use crate::index::input::{Input, Source};
use crate::objects::Pod;

impl Actor {
    pub(super) async fn create_pod(
        &self,
        pod: &core::Pod,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
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
                let pod = self.saw(&text)?;
                info!(pod = name, "created");
                Ok(Outcome::Created(Box::new(pod)))
            }
            // Possibly by an attempt of ours whose answer was lost (F-W1).
            Err(failure) if failure.is_exists() => {
                let pod = self.read_pod(name, deadline).await?;
                pod.map(|pod| Outcome::Exists(Box::new(pod)))
                    .ok_or_else(|| Error::Aborted {
                        why: format!("pod {name} was removed while it was being created"),
                    })
            }
            Err(failure) => Err(failure.into_error(&format!("creating pod {name}"))),
        }
    }

    pub(super) async fn mark(
        &self,
        pod: &PodRef,
        mark: &Mark,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let annotations = annotations(pod, mark);
        let patch = json!({ "metadata": { "uid": pod.uid, "annotations": annotations } });
        self.patch(pod, MERGE, &patch, deadline).await
    }

    pub(super) async fn label(
        &self,
        pod: &PodRef,
        key: &str,
        value: &str,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        info!(pod = pod.name, key, value, "setting a label");
        let patch = json!({ "metadata": { "uid": pod.uid, "labels": { key: value } } });
        self.patch(pod, MERGE, &patch, deadline).await
    }

    /// Marks a pod if it still is at `version`.
    pub(super) async fn mark_version(
        &self,
        pod: &PodRef,
        version: &str,
        mark: &Mark,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let annotations = annotations(pod, mark);
        let patch = json!({
            "metadata": { "uid": pod.uid, "resourceVersion": version, "annotations": annotations },
        });
        let request = Request {
            method: Method::PATCH,
            path: &self.path("pods", Some(&pod.name)),
            content_type: MERGE,
            body: encode(&patch)?,
        };
        let doing = format!("marking pod {}", pod.name);
        match self.if_unchanged(&request, &doing, deadline).await? {
            Some(text) => self.saw(&text).map(|_| Outcome::Done),
            None => Ok(Outcome::Changed),
        }
    }

    pub(super) async fn remove_finalizer(
        &self,
        pod: &PodRef,
        finalizer: &str,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        info!(pod = pod.name, finalizer, "removing finalizer");
        let patch = json!({ "metadata": { "uid": pod.uid, "$deleteFromPrimitiveList/finalizers": [finalizer] } });
        self.patch(pod, STRATEGIC, &patch, deadline).await
    }

    /// Patches a pod; that one is gone, or that its name is another pod's by now, is no error.
    pub(super) async fn patch(
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
        let doing = format!("patching pod {}", pod.name);
        match self.if_unchanged(&request, &doing, at).await? {
            Some(text) => self.saw(&text).map(|_| Outcome::Done),
            None => {
                debug!(pod = pod.name, "is gone");
                Ok(Outcome::Gone)
            }
        }
    }

    pub(super) async fn delete(
        &self,
        pod: &PodRef,
        grace: u64,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "gracePeriodSeconds": grace,
            "preconditions": { "uid": pod.uid },
            "propagationPolicy": "Background",
        });
        let path = self.path("pods", Some(&pod.name));
        let doing = format!("deleting pod {}", pod.name);
        let answer = self.remove(&path, &options, &doing, deadline).await?;
        // The deletion is known before anything is decided again, so that it is not asked for twice. Of a pod that went
        // at once the answer may be a status; the watch tells of that.
        let left = answer.and_then(|text| serde_json::from_str::<Pod>(&text).ok());
        if let Some(left) = left.filter(|left| left.metadata.deletion_timestamp.is_some()) {
            self.hub.take(Input::Pod(Source::Answer, &left));
        }
        Ok(Outcome::Done)
    }
}

/// The annotations of a merge patch.
fn annotations(pod: &PodRef, mark: &Mark) -> Map<String, Value> {
    let annotations = merge(&mark.set, &mark.remove);
    info!(pod = pod.name, keys = ?annotations.keys().collect::<Vec<_>>(), "marking");
    annotations
}
