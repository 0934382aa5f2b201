//! Changes single keys in the Secret of a pod.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tracing::info;

use super::call::{contested, is_owned};
use super::dependants::Creation;
use super::{Actor, Outcome, TRIES};
use crate::action::{Dependant, PodRef, SecretChange};
use crate::cluster::request::MERGE;
use crate::error::Error;
use crate::objects::Secret;

impl Actor {
    /// Sets and removes keys; the others stay. Nothing is written where it is so already.
    pub(super) async fn change_secret(
        &self,
        pod: &PodRef,
        change: &SecretChange,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        for _ in 0..TRIES {
            let done = match self.read_secret(&pod.name, deadline).await? {
                Some(there) if is_owned(&there.metadata, &pod.uid) => {
                    self.patch_secret(&there, change, deadline).await?
                }
                // A Secret that is not there, or is another's, holds nothing of this pod.
                _ if change.set.is_empty() => true,
                _ => self.create_secret(pod, change, deadline).await?,
            };
            if done {
                return Ok(Outcome::Done);
            }
        }
        Err(contested("Secret", &pod.name))
    }

    /// Reads the Secret of a name.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn read_secret(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<Secret>, Error> {
        let path = self.path("secrets", Some(name));
        let doing = format!("reading Secret {name}");
        self.call(&doing, deadline).find(&path).await
    }

    /// Returns whether the Secret still was the one that was read. Each key is one write's own, so a version is not
    /// needed.
    async fn patch_secret(
        &self,
        there: &Secret,
        change: &SecretChange,
        deadline: Instant,
    ) -> Result<bool, Error> {
        let data = &there.data;
        let set = change.set.iter().map(|(key, value)| {
            let value = STANDARD.encode(value);
            (key, (data.get(key) != Some(&value)).then_some(value))
        });
        let set = set.filter_map(|(key, value)| Some((key.clone(), Value::from(value?))));
        let remove = change.remove.iter().filter(|key| data.contains_key(*key));
        let remove = remove.map(|key| (key.clone(), Value::Null));
        let changed: Map<String, Value> = set.chain(remove).collect();
        if changed.is_empty() {
            return Ok(true);
        }
        let meta = &there.metadata;
        info!(secret = meta.name, keys = ?changed.keys().collect::<Vec<_>>(), "changing the Secret");
        let patch = json!({ "metadata": { "uid": meta.uid }, "data": changed });
        let path = self.path("secrets", Some(&meta.name));
        let doing = format!("changing Secret {}", meta.name);
        let call = self.call(&doing, deadline);
        Ok(call.patch(&path, MERGE, &patch).await?.is_some())
    }

    /// Returns whether the Secret was created, or the pod is gone; not where another one has to be looked at first.
    async fn create_secret(
        &self,
        pod: &PodRef,
        change: &SecretChange,
        deadline: Instant,
    ) -> Result<bool, Error> {
        // The index keeps no labels, so the pod is read for them.
        let marked = self.read_pod(&pod.name, deadline).await?;
        let Some(marked) = marked.filter(|marked| marked.metadata.uid == pod.uid) else {
            return Ok(true);
        };
        let built = change.build(&pod.name, &self.namespace, &marked.metadata.labels);
        info!(pod = pod.name, "creating the Secret");
        let built = Dependant::Secret(Box::new(built));
        Ok(self.try_create(pod, &built, deadline).await? == Creation::Created)
    }
}
