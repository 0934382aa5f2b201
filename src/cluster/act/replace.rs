//! Writes by which one pod takes the place of another. Each may be repeated, and may come too late.

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tracing::{debug, info};

use super::call::is_owned;
use super::{Actor, Outcome};
use crate::action::{Discard, PodCopy, PodRef};
use crate::cluster::request::MERGE;
use crate::error::Error;

impl Actor {
    /// Creates a pod like another, unless that is not as it must be.
    pub(super) async fn copy_pod(
        &self,
        copy: &PodCopy,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let path = self.path("pods", Some(&copy.from.name));
        let doing = format!("making pod {} again", copy.from.name);
        let call = self.call(&doing, deadline);
        let Some(from) = call.find::<Value>(&path).await? else {
            return Ok(Outcome::Done);
        };
        self.saw(&from.to_string())?;
        let Some(pod) = copy.build(from) else {
            return Ok(Outcome::Done);
        };
        if let Some(text) = call.create(&self.path("pods", None), &pod).await? {
            info!(pod = copy.from.name, successor = copy.to, "made again");
            return self.saw(&text).map(|_| Outcome::Done);
        }
        // By another replica, or by an attempt of ours whose answer was lost.
        let there = self.read_pod(&copy.to, deadline).await?;
        match there.filter(|there| !is_owned(&there.metadata, &copy.owner.uid)) {
            None => Ok(Outcome::Done),
            Some(_) => Err(Error::Precondition {
                state: "NAME_IN_USE",
                why: format!("{doing}: pod {} belongs to somebody else", copy.to),
            }),
        }
    }

    /// Copies annotations that a pod has from another.
    pub(super) async fn copy_marks(
        &self,
        from: &PodRef,
        to: &PodRef,
        keys: &[&str],
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let marked = self.read_pod(&from.name, deadline).await?;
        let marked = marked.filter(|marked| marked.metadata.uid == from.uid);
        let marks: Map<String, Value> = marked
            .iter()
            .flat_map(|marked| &marked.metadata.annotations)
            .filter(|(key, _)| keys.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.as_str().into()))
            .collect();
        if marks.is_empty() {
            return Ok(Outcome::Done);
        }
        info!(pod = to.name, from = from.name, "handing marks on");
        let patch = json!({ "metadata": { "uid": to.uid, "annotations": marks } });
        self.patch(to, MERGE, &patch, deadline).await
    }

    /// Deletes a pod and lets go of it.
    pub(super) async fn discard(
        &self,
        discard: &Discard,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let pod = &discard.pod;
        if let Some(unless) = &discard.unless {
            let found = self.read_pod(&unless.name, deadline).await?;
            let is_meant = |uid: &str| unless.uid.is_empty() || unless.uid == uid;
            if found.is_some_and(|found| is_meant(&found.metadata.uid)) {
                debug!(pod = pod.name, wanted_by = unless.name, "stays");
                return Ok(Outcome::Done);
            }
        }
        info!(pod = pod.name, "deleting a pod that is not needed any more");
        let deleted = self.delete(pod, discard.version, 0, deadline).await?;
        let Outcome::Done = deleted else {
            return Ok(deleted);
        };
        self.remove_finalizer(pod, discard.finalizer, deadline)
            .await
    }
}
