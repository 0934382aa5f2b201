//! Writes to pods: create, mark, delete, take a finalizer off.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tracing::{debug, info};

use super::call::{decode, merge};
use super::{Actor, Outcome};
use crate::action::{Mark, PodChange, PodRef};
use crate::cluster::request::{MERGE, STRATEGIC};
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
        let doing = format!("creating pod {name}");
        if let Some(text) = self.call(&doing, deadline).create(&path, pod).await? {
            let pod = self.saw(&text)?;
            info!(pod = name, "created");
            return Ok(Outcome::Created(Box::new(pod)));
        }
        // Possibly by an attempt of ours whose answer was lost (F-W1).
        let pod = self.read_pod(name, deadline).await?;
        pod.map(|pod| Outcome::Exists(Box::new(pod)))
            .ok_or_else(|| Error::Aborted {
                why: format!("pod {name} was removed while it was being created"),
            })
    }

    /// Has the API server check a pod, which creates none. Returns whether its name is free.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn try_pod(&self, pod: &core::Pod, deadline: Instant) -> Result<bool, Error> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let path = format!("{}?dryRun=All", self.path("pods", None));
        let doing = format!("checking pod {name}");
        let tried = self.call(&doing, deadline).create(&path, pod).await?;
        Ok(tried.is_some())
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
        labels: &BTreeMap<&'static str, Option<&'static str>>,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        info!(pod = pod.name, ?labels, "changing labels");
        let patch = json!({ "metadata": { "uid": pod.uid, "labels": labels } });
        self.patch(pod, MERGE, &patch, deadline).await
    }

    /// Changes a pod, where a version is given only in that.
    pub(super) async fn change_pod(
        &self,
        pod: &PodRef,
        change: &PodChange,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let mut spec = Map::new();
        if let Some(gates) = &change.gates {
            let gates: Vec<_> = gates.iter().map(|gate| json!({ "name": gate })).collect();
            spec.insert("schedulingGates".to_owned(), gates.into());
        }
        if let Some(seconds) = change.active_deadline {
            spec.insert("activeDeadlineSeconds".to_owned(), seconds.into());
        }
        let annotations = annotations(pod, &change.mark);
        let mut patch = json!({ "metadata": { "uid": pod.uid, "annotations": annotations } });
        if !spec.is_empty() {
            patch["spec"] = spec.into();
        }
        if let Some(version) = &change.version {
            patch["metadata"]["resourceVersion"] = version.as_str().into();
        }
        let changed = self.patch(pod, MERGE, &patch, deadline).await?;
        Ok(match (changed, &change.version) {
            (Outcome::Gone, Some(_)) => Outcome::Changed,
            (outcome, _) => outcome,
        })
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
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let path = self.path("pods", Some(&pod.name));
        let doing = format!("patching pod {}", pod.name);
        match self
            .call(&doing, deadline)
            .patch(&path, kind, patch)
            .await?
        {
            Some(text) => self.saw(&text).map(|_| Outcome::Done),
            None => {
                debug!(pod = pod.name, "is gone");
                Ok(Outcome::Gone)
            }
        }
    }

    /// Deletes a pod, where a version is given only in that. Of one that is gone, or changed since, the watch says so.
    pub(super) async fn delete(
        &self,
        pod: &PodRef,
        version: Option<u64>,
        grace: u64,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let path = self.path("pods", Some(&pod.name));
        let doing = format!("deleting pod {}", pod.name);
        let call = self.call(&doing, deadline);
        let version = version.map(|version| version.to_string());
        let answer = call
            .delete(&path, &pod.uid, version.as_deref(), Some(grace))
            .await?;
        let Some(text) = answer else {
            return Ok(match version {
                Some(_) => Outcome::Changed,
                None => Outcome::Gone,
            });
        };
        // The deletion is known before anything is decided again, so that it is not asked for twice. Of a pod that went
        // at once the answer may be a status; the watch sends that.
        if let Ok(left) = decode::<Pod>(&text)
            && left.metadata.deletion_timestamp.is_some()
        {
            (self.sink)(Input::Pod(Source::Answer, &left));
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
