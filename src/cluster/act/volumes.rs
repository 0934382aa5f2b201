//! Writes to volumes that outlive their pods: claims, and snapshots of them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::call::{contested, decode, is_owned};
use super::{Actor, Outcome, TRIES};
use crate::action::{PodRef, SNAPSHOTS, VolumeSnapshotPlan, VolumeSnapshotRestore};
use crate::cluster::request::MERGE;
use crate::error::Error;
use crate::objects::{Service, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent};
use crate::retry::Backoff;

/// Pauses between reads of a snapshot that is not ready.
const POLLS: Backoff = Backoff::millis(200, 5_000);
/// Longest time for one of these reads.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// What Kubernetes itself keeps claims and snapshots with, for as long as they are used.
const PROTECTIONS: [&str; 2] = ["kubernetes.io/", "snapshot.storage.kubernetes.io/"];

impl Actor {
    /// Reads a volume snapshot.
    ///
    /// # Errors
    /// As [`Actor::act`]; [`Error::Precondition`] where the cluster serves none.
    pub async fn read_volume_snapshot(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<VolumeSnapshot>, Error> {
        let path = self.snapshot_path(Some(name));
        let doing = format!("reading volume snapshot {name}");
        self.call(&doing, deadline).find(&path).await
    }

    /// Reads a volume snapshot again and again until `look` has an answer.
    ///
    /// # Errors
    /// As [`Actor::read_volume_snapshot`].
    pub async fn follow_volume_snapshot<T>(
        &self,
        name: &str,
        mut look: impl FnMut(Option<VolumeSnapshot>) -> Option<T> + Send,
    ) -> Result<T, Error> {
        let mut count = 0;
        loop {
            let limit = Instant::now() + READ_LIMIT;
            let found = self.read_volume_snapshot(name, limit).await?;
            if let Some(answer) = look(found) {
                return Ok(answer);
            }
            sleep(POLLS.jittered(count)).await;
            count += 1;
        }
    }

    /// Returns the driver's name of a snapshot that is ready; empty where that may not be read.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn snapshot_handle(
        &self,
        snapshot: &VolumeSnapshot,
        deadline: Instant,
    ) -> Result<String, Error> {
        let name = &snapshot.status.bound_volume_snapshot_content_name;
        let found = self.read_content(name, deadline).await;
        match found {
            Ok(content) => Ok(content.unwrap_or_default().status.snapshot_handle),
            Err(error) if error.is_passing() => Err(error),
            Err(error) => {
                debug!(%error, "the handle of a volume snapshot is not known");
                Ok(String::new())
            }
        }
    }

    pub(super) async fn create_volume_snapshot(
        &self,
        plan: &VolumeSnapshotPlan,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let name = &plan.name;
        let is_meant =
            |there: &VolumeSnapshot| there.spec.source.persistent_volume_claim_name == plan.pvc;
        let taken = || Error::Precondition {
            state: "NAME_IN_USE",
            why: format!(
                "volume snapshot {name} is there already, and is none of {}",
                plan.pvc
            ),
        };
        if let Some(there) = self.read_volume_snapshot(name, deadline).await? {
            return is_meant(&there).then_some(Outcome::Done).ok_or_else(taken);
        }
        // The index keeps no labels, so the pod is read for them.
        let pod = self.read_pod(&plan.pod.name, deadline).await?;
        let Some(pod) = pod.filter(|pod| pod.metadata.uid == plan.pod.uid) else {
            return Ok(Outcome::Gone);
        };
        let built = plan.build(&self.namespace, &pod.metadata);
        let doing = format!("creating volume snapshot {name}");
        let path = self.snapshot_path(None);
        if self
            .call(&doing, deadline)
            .create(&path, &built)
            .await?
            .is_none()
        {
            // By another replica, or by an attempt of ours whose answer was lost.
            let there = self.read_volume_snapshot(name, deadline).await?;
            return there
                .filter(is_meant)
                .map(|_| Outcome::Done)
                .ok_or_else(taken);
        }
        info!(snapshot = name, pvc = plan.pvc, "created a volume snapshot");
        Ok(Outcome::Done)
    }

    /// Creates the content first: a snapshot without one is an error to its controller.
    pub(super) async fn restore_volume_snapshot(
        &self,
        restore: &VolumeSnapshotRestore,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let doing = format!("restoring volume snapshot {} from its handle", restore.name);
        let call = self.call(&doing, deadline);
        let class = format!("/apis/{SNAPSHOTS}/volumesnapshotclasses/{}", restore.class);
        let class: Option<VolumeSnapshotClass> = call.find(&class).await?;
        let Some(class) = class else {
            return Err(Error::Precondition {
                state: "MISSING_OBJECT",
                why: format!("{doing}: there is no VolumeSnapshotClass {}", restore.class),
            });
        };
        let content = restore.build_content(&self.namespace, &class.driver);
        let path = format!("/apis/{SNAPSHOTS}/volumesnapshotcontents");
        if call.create(&path, &content).await?.is_none() {
            let name = restore.content();
            let there = self.read_content(&name, deadline).await?;
            let is_meant = there.is_some_and(|there| {
                let of = &there.spec.volume_snapshot_ref;
                of.name == restore.name
                    && of.namespace == self.namespace
                    && there.spec.source.snapshot_handle == restore.handle
            });
            if !is_meant {
                return Err(Error::Precondition {
                    state: "NAME_IN_USE",
                    why: format!("{doing}: VolumeSnapshotContent {name} is another one's"),
                });
            }
        }
        let snapshot = restore.build(&self.namespace);
        call.create(&self.snapshot_path(None), &snapshot).await?;
        info!(
            snapshot = restore.name,
            "restored a volume snapshot from its handle"
        );
        Ok(Outcome::Done)
    }

    /// Deletes a snapshot. One that a finalizer keeps is deleted when that is taken off.
    pub(super) async fn delete_volume_snapshot(
        &self,
        name: &str,
        uid: &str,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        info!(snapshot = name, "deleting a volume snapshot");
        let path = self.snapshot_path(Some(name));
        let doing = format!("deleting volume snapshot {name}");
        let call = self.call(&doing, deadline);
        match call.delete(&path, uid, None, None).await? {
            None => Ok(Outcome::Gone),
            Some(text) => Ok(kept(&text, "volume snapshot", name)),
        }
    }

    /// Deletes the claim of a pod. Kubernetes keeps it while the pod is there.
    pub(super) async fn delete_pvc(
        &self,
        owner: &PodRef,
        name: &str,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let Some(pvc) = self.pvc_of(owner, name, deadline).await? else {
            return Ok(Outcome::Gone);
        };
        info!(pvc = name, "deleting the PersistentVolumeClaim");
        let path = self.path("persistentvolumeclaims", Some(name));
        let doing = format!("deleting PersistentVolumeClaim {name}");
        let call = self.call(&doing, deadline);
        match call.delete(&path, &pvc.metadata.uid, None, None).await? {
            None => Ok(Outcome::Gone),
            Some(text) => Ok(kept(&text, "PersistentVolumeClaim", name)),
        }
    }

    /// Takes the reference to its pod off a claim: it stays when the pod goes.
    pub(super) async fn keep_pvc(
        &self,
        owner: &PodRef,
        name: &str,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        for _ in 0..TRIES {
            let Some(pvc) = self.pvc_of(owner, name, deadline).await? else {
                return Ok(Outcome::Done);
            };
            let meta = &pvc.metadata;
            warn!(
                pvc = name,
                pod = owner.name,
                "the PersistentVolumeClaim stays"
            );
            // Nobody else owns it: it is created with this one reference.
            let patch = json!({ "metadata": {
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
                "ownerReferences": Value::Null,
            } });
            let path = self.path("persistentvolumeclaims", Some(name));
            let doing = format!("keeping PersistentVolumeClaim {name}");
            let call = self.call(&doing, deadline);
            if call.patch(&path, MERGE, &patch).await?.is_some() {
                return Ok(Outcome::Done);
            }
        }
        Err(contested("PersistentVolumeClaim", &owner.name))
    }

    /// Reads the claim of a pod; nothing if it is gone or another's.
    async fn pvc_of(
        &self,
        owner: &PodRef,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<Service>, Error> {
        let path = self.path("persistentvolumeclaims", Some(name));
        let doing = format!("reading PersistentVolumeClaim {name}");
        // Any kind will do: only the metadata is looked at.
        let found: Option<Service> = self.call(&doing, deadline).find(&path).await?;
        Ok(found.filter(|found| is_owned(&found.metadata, &owner.uid)))
    }

    async fn read_content(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<VolumeSnapshotContent>, Error> {
        let path = format!("/apis/{SNAPSHOTS}/volumesnapshotcontents/{name}");
        let doing = format!("reading VolumeSnapshotContent {name}");
        self.call(&doing, deadline).find(&path).await
    }

    fn snapshot_path(&self, name: Option<&str>) -> String {
        self.path_in(&format!("/apis/{SNAPSHOTS}"), "volumesnapshots", name)
    }
}

/// Reads the answer to a deletion, and names whose finalizers keep the object.
fn kept(text: &str, kind: &str, name: &str) -> Outcome {
    let left = decode::<Service>(text).unwrap_or_default().metadata;
    let is_foreign =
        |finalizer: &String| !PROTECTIONS.iter().any(|known| finalizer.starts_with(known));
    let mut finalizers = left.finalizers;
    finalizers.retain(is_foreign);
    if left.deletion_timestamp.is_none() || finalizers.is_empty() {
        return Outcome::Done;
    }
    warn!(
        kind,
        name,
        ?finalizers,
        "is being deleted, but finalizers keep it"
    );
    Outcome::Kept(finalizers)
}
