//! Reads and writes what replicas share: the Lease, and the ConfigMaps that record activity.

use http::Method;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use tokio::time::Instant;

use super::{Actor, JSON, MERGE, Outcome, encode, merge, unreadable};
use crate::action::{Checkpoint, LeaseUpdate};
use crate::cluster::request::{self, Request};
use crate::error::Error;
use crate::lease;
use crate::objects::{ConfigMap, Lease};
use crate::workspaces::activity::RECORD;
use crate::workspaces::marks::label;

impl Actor {
    /// Reads the Lease.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn read_lease(&self, deadline: Instant) -> Result<Option<Lease>, Error> {
        let path = self.lease(Some(lease::NAME));
        self.find(&path, "reading the lease", deadline).await
    }

    /// Reads all recorded activity and feeds it to the hub.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn read_activity(&self, deadline: Instant) -> Result<(), Error> {
        let selector = format!("{}={RECORD}", label::RECORD);
        let doing = "reading recorded activity";
        let found: Vec<ConfigMap> = self.list("configmaps", &selector, doing, deadline).await?;
        for record in &found {
            self.hub.record_activity(record);
        }
        Ok(())
    }

    /// Writes the Lease if it is as it was seen; anything else is [`Error::Aborted`].
    pub(super) async fn update_lease(
        &self,
        update: &LeaseUpdate,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let (method, path, content_type, body) = match &update.version {
            None => {
                let lease = coordination::Lease {
                    metadata: self.named(lease::NAME),
                    spec: Some((*update.spec).clone()),
                };
                (Method::POST, self.lease(None), JSON, encode(&lease)?)
            }
            Some(version) => {
                let patch =
                    json!({ "metadata": { "resourceVersion": version }, "spec": update.spec });
                let path = self.lease(Some(lease::NAME));
                (Method::PATCH, path, MERGE, encode(&patch)?)
            }
        };
        let request = Request {
            method,
            path: &path,
            content_type,
            body,
        };
        match request::send(&self.client, &request, deadline).await {
            Ok(text) => serde_json::from_str(&text)
                .map(|lease| Outcome::Lease(Box::new(lease)))
                .map_err(|error| unreadable(&error)),
            // Removed since it was seen.
            Err(failure) if failure.is_gone() => Err(Error::Aborted {
                why: "the lease is gone".to_owned(),
            }),
            Err(failure) => Err(failure.into_error("writing the lease")),
        }
    }

    /// Sets and removes entries of a ConfigMap, which is created when it is first needed.
    pub(super) async fn checkpoint(
        &self,
        checkpoint: &Checkpoint,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let create = core::ConfigMap {
            metadata: ObjectMeta {
                labels: Some([(label::RECORD.to_owned(), RECORD.to_owned())].into()),
                ..self.named(&checkpoint.name)
            },
            data: Some(checkpoint.set.clone()),
            ..core::ConfigMap::default()
        };
        let data = merge(&checkpoint.set, &checkpoint.remove);
        // The label again: without it nobody would read what is written.
        let patch = json!({ "metadata": { "labels": { label::RECORD: RECORD } }, "data": data });
        let (collection, object) = (
            self.path("configmaps", None),
            self.path("configmaps", Some(&checkpoint.name)),
        );
        let create = Request {
            method: Method::POST,
            path: &collection,
            content_type: JSON,
            body: encode(&create)?,
        };
        let patch = Request {
            method: Method::PATCH,
            path: &object,
            content_type: MERGE,
            body: encode(&patch)?,
        };
        // Whichever was wrong about its existence, the other is right, unless somebody removes what others create.
        let mut creates = !checkpoint.exists;
        for _ in 0..3 {
            let request = if creates { &create } else { &patch };
            match request::send(&self.client, request, deadline).await {
                Ok(text) => {
                    let record: ConfigMap =
                        serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
                    self.hub.record_activity(&record);
                    return Ok(Outcome::Done);
                }
                Err(failure) if creates && failure.is_exists() => {
                    creates = false;
                }
                Err(failure) if !creates && failure.is_gone() => {
                    creates = true;
                }
                Err(failure) => {
                    return Err(failure.into_error(&format!("recording in {}", checkpoint.name)));
                }
            }
        }
        Err(Error::Aborted {
            why: format!("{} comes and goes", checkpoint.name),
        })
    }

    fn named(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.clone()),
            ..ObjectMeta::default()
        }
    }

    fn lease(&self, name: Option<&str>) -> String {
        let collection = format!(
            "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
            self.namespace
        );
        match name {
            None => collection,
            Some(name) => format!("{collection}/{name}"),
        }
    }
}
