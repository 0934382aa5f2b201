//! A simulated snapshot controller with a driver: a client of any API server with volume snapshots, that makes them ready.
//! Nothing is copied.
//!
//! A VolumeSnapshot obeys its annotations, or else those of its claim: `sim.wsman.dev/snapshot-after` (a duration),
//! `sim.wsman.dev/snapshot-error` (a message) and `sim.wsman.dev/snapshot-never` (`true`).

use std::collections::HashMap;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::{AbortHandle, JoinSet};

use crate::kubelet::informer::{Change, watch_with};
use crate::script::annotations::PREFIX;

/// The driver of what it makes.
pub const DRIVER: &str = "snapshots.sim.wsman.dev";
const GROUP: &str = "snapshot.storage.k8s.io";
/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// Makes the snapshots of one namespace, or of all, ready, until it is dropped.
pub fn run(client: Client, namespace: Option<String>) -> BoxFuture<'static, ()> {
    async move { Controller::new(client, namespace).run().await }.boxed()
}

struct Controller {
    client: Client,
    namespace: Option<String>,
    snapshots: ApiResource,
    contents: ApiResource,
    /// The work on each snapshot by its uid.
    working: HashMap<String, AbortHandle>,
    /// By the name of a snapshot, its uid and its content.
    bound: HashMap<String, (String, String)>,
    tasks: JoinSet<()>,
}

impl Controller {
    fn new(client: Client, namespace: Option<String>) -> Self {
        let resource =
            |kind: &str| ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1", kind));
        Self {
            client,
            namespace,
            snapshots: resource("VolumeSnapshot"),
            contents: resource("VolumeSnapshotContent"),
            working: HashMap::new(),
            bound: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    async fn run(mut self) {
        let api = match &self.namespace {
            Some(namespace) => {
                Api::namespaced_with(self.client.clone(), namespace, &self.snapshots)
            }
            None => Api::all_with(self.client.clone(), &self.snapshots),
        };
        let mut changes = watch_with::<DynamicObject>(api, self.snapshots.clone()).boxed();
        while let Some(change) = changes.next().await {
            match change {
                Change::Apply(snapshot) => self.look(snapshot),
                Change::Delete(key) => {
                    let namespace = key.namespace.unwrap_or_default();
                    let gone = self.bound.remove(&format!("{namespace}/{}", key.name));
                    if let Some((uid, content)) = gone {
                        self.forget(&uid);
                        let contents = Api::all_with(self.client.clone(), &self.contents);
                        self.tasks.spawn(clean(contents, content));
                    }
                }
                Change::Synced => {}
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    fn look(&mut self, snapshot: DynamicObject) {
        let uid = snapshot.uid().unwrap_or_default();
        let source = &snapshot.data["spec"]["source"];
        let content = match source["volumeSnapshotContentName"].as_str() {
            Some(content) => content.to_owned(),
            None => format!("snapcontent-{uid}"),
        };
        let namespace = snapshot.namespace().unwrap_or_default();
        let key = format!("{namespace}/{}", snapshot.name_any());
        self.bound.insert(key, (uid.clone(), content.clone()));
        if snapshot.metadata.deletion_timestamp.is_some() {
            return self.forget(&uid);
        }
        let status = &snapshot.data["status"];
        let done = status["readyToUse"] == true || !status["error"].is_null();
        if done || self.working.contains_key(&uid) {
            return;
        }
        let work = Work {
            snapshots: Api::namespaced_with(self.client.clone(), &namespace, &self.snapshots),
            contents: Api::all_with(self.client.clone(), &self.contents),
            claims: Api::namespaced(self.client.clone(), &namespace),
            snapshot,
            content,
        };
        let task = self.tasks.spawn(work.run());
        self.working.insert(uid, task);
    }

    fn forget(&mut self, uid: &str) {
        if let Some(task) = self.working.remove(uid) {
            task.abort();
        }
    }
}

/// Deletes the content of a snapshot that is gone.
async fn clean(contents: Api<DynamicObject>, name: String) {
    let policy = |content: DynamicObject| content.data["spec"]["deletionPolicy"] == "Delete";
    if contents
        .get_opt(&name)
        .await
        .ok()
        .flatten()
        .is_some_and(policy)
    {
        let _ = contents.delete(&name, &DeleteParams::default()).await;
    }
}

/// What is done for one snapshot. Doing it again changes nothing.
struct Work {
    snapshots: Api<DynamicObject>,
    contents: Api<DynamicObject>,
    claims: Api<k8s_openapi::api::core::v1::PersistentVolumeClaim>,
    snapshot: DynamicObject,
    content: String,
}

impl Work {
    async fn run(self) {
        while let Err(error) = self.attempt().await {
            if matches!(&error, kube::Error::Api(status) if status.code == 404) {
                return;
            }
            tracing::debug!(%error, snapshot = self.snapshot.name_any(), "cannot make it ready");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn attempt(&self) -> kube::Result<()> {
        let spec = &self.snapshot.data["spec"];
        let claim = match spec["source"]["persistentVolumeClaimName"].as_str() {
            None => None,
            Some(name) => match self.claims.get_opt(name).await? {
                Some(claim) => Some(claim),
                None => {
                    let why = format!(
                        "snapshot controller failed to update {}: persistentvolumeclaim {name:?} not found",
                        self.snapshot.name_any()
                    );
                    return self.status(self.failure(&why)).await;
                }
            },
        };
        let read = |name: &str| {
            let key = format!("{PREFIX}{name}");
            let own = self.snapshot.annotations().get(&key);
            let of_claim = claim
                .as_ref()
                .and_then(|claim| claim.annotations().get(&key));
            own.or(of_claim).cloned()
        };
        let after = read("snapshot-after").and_then(|text| text.parse::<SignedDuration>().ok());
        let after = after.and_then(|after| Duration::try_from(after).ok());
        tokio::time::sleep(after.unwrap_or_default()).await;
        if read("snapshot-never").as_deref() == Some("true") {
            return std::future::pending().await;
        }
        if let Some(why) = read("snapshot-error") {
            return self.status(self.failure(&why)).await;
        }
        let mut status = json!({
            "boundVolumeSnapshotContentName": self.content,
            "creationTime": now(),
            "readyToUse": true,
        });
        let handle = match &claim {
            Some(claim) => {
                let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
                let size = requests.and_then(|r| r.requests.as_ref()?.get("storage"));
                status["restoreSize"] = size.map_or(Value::Null, |size| size.0.clone().into());
                let volume = claim
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.volume_name.clone());
                let volume = volume.filter(|name| !name.is_empty());
                self.create_content(&volume.or(claim.uid()).unwrap_or_default())
                    .await?;
                format!("snap-{}", self.snapshot.uid().unwrap_or_default())
            }
            None => {
                let content = self.contents.get(&self.content).await?;
                let source = &content.data["spec"]["source"];
                source["snapshotHandle"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            }
        };
        let made = json!({ "status": { "snapshotHandle": handle, "readyToUse": true } });
        let (name, made) = (&self.content, Patch::Merge(made));
        self.contents
            .patch_status(name, &PatchParams::default(), &made)
            .await?;
        self.status(status).await
    }

    async fn create_content(&self, volume: &str) -> kube::Result<()> {
        let content: DynamicObject = serde_json::from_value(json!({
            "apiVersion": format!("{GROUP}/v1"),
            "kind": "VolumeSnapshotContent",
            "metadata": { "name": self.content },
            "spec": {
                "deletionPolicy": "Delete",
                "driver": DRIVER,
                "source": { "volumeHandle": volume },
                "volumeSnapshotClassName": self.snapshot.data["spec"]["volumeSnapshotClassName"],
                "volumeSnapshotRef": {
                    "name": self.snapshot.name_any(),
                    "namespace": self.snapshot.namespace(),
                    "uid": self.snapshot.uid(),
                },
            },
        }))
        .map_err(kube::Error::SerdeError)?;
        match self.contents.create(&PostParams::default(), &content).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => other.map(drop),
        }
    }

    fn failure(&self, why: &str) -> Value {
        json!({ "error": { "message": why, "time": now() }, "readyToUse": false })
    }

    async fn status(&self, status: Value) -> kube::Result<()> {
        let patch = json!({ "metadata": { "uid": self.snapshot.uid() }, "status": status });
        let name = self.snapshot.name_any();
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = self.snapshots.patch_status(&name, &params, &patch);
        patched.await.map(drop)
    }
}

fn now() -> String {
    format!("{:.0}", Timestamp::now())
}
