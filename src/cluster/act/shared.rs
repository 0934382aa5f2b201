//! Reads and writes what replicas share: the Lease, and the ConfigMaps with their records.

use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use tokio::time::Instant;

use super::call::{decode, merge};
use super::{Actor, Outcome};
use crate::action::{Checkpoint, LeaseUpdate};
use crate::cluster::request::{Failure, MERGE};
use crate::error::Error;
use crate::lease;
use crate::objects::{ConfigMap, Lease};

impl Actor {
    /// Reads the Lease.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn read_lease(&self, deadline: Instant) -> Result<Option<Lease>, Error> {
        let path = self.lease(Some(lease::NAME));
        let call = self.call("reading the lease", deadline);
        call.find(&path).await
    }

    /// Reads the ConfigMaps with labels.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn read_records(
        &self,
        selector: &str,
        deadline: Instant,
    ) -> Result<Vec<ConfigMap>, Error> {
        let call = self.call("reading records", deadline);
        call.list("configmaps", selector).await
    }

    /// Writes the Lease if it is as it was seen; anything else is [`Error::Aborted`].
    pub(super) async fn update_lease(
        &self,
        update: &LeaseUpdate,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let call = self.call("writing the lease", deadline);
        let answer = match &update.version {
            None => {
                let lease = coordination::Lease {
                    metadata: self.named(lease::NAME),
                    spec: Some((*update.spec).clone()),
                };
                let path = self.lease(None);
                call.create_unless(&path, &lease, Failure::is_gone).await?
            }
            Some(version) => {
                let patch =
                    json!({ "metadata": { "resourceVersion": version }, "spec": update.spec });
                let path = self.lease(Some(lease::NAME));
                call.patch_unless(&path, MERGE, &patch, Failure::is_gone)
                    .await?
            }
        };
        match answer {
            Some(text) => decode(&text).map(|lease| Outcome::Lease(Box::new(lease))),
            // Removed since it was seen.
            None => Err(Error::Aborted {
                why: "the lease is gone".to_owned(),
            }),
        }
    }

    /// Sets and removes entries of a ConfigMap, which is created when it is first needed.
    pub(super) async fn checkpoint(
        &self,
        checkpoint: &Checkpoint,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let (key, value) = checkpoint.label;
        let create = core::ConfigMap {
            metadata: ObjectMeta {
                labels: Some([(key.to_owned(), value.to_owned())].into()),
                ..self.named(&checkpoint.name)
            },
            data: Some(checkpoint.set.clone()),
            ..core::ConfigMap::default()
        };
        let data = merge(&checkpoint.set, &checkpoint.remove);
        // The label again: without it nobody would read what is written.
        let patch = json!({ "metadata": { "labels": { key: value } }, "data": data });
        let collection = self.path("configmaps", None);
        let object = self.path("configmaps", Some(&checkpoint.name));
        let doing = format!("recording in {}", checkpoint.name);
        let call = self.call(&doing, deadline);
        // Whichever was wrong about its existence, the other is right, unless somebody removes what others create.
        let mut creates = !checkpoint.exists;
        for _ in 0..3 {
            let answer = match creates {
                true => call.create(&collection, &create).await?,
                false => {
                    call.patch_unless(&object, MERGE, &patch, Failure::is_gone)
                        .await?
                }
            };
            if let Some(text) = answer {
                return decode(&text).map(|map| Outcome::Recorded(Box::new(map)));
            }
            creates = !creates;
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
        self.path_in("/apis/coordination.k8s.io/v1", "leases", name)
    }
}
