//! An API server that serves volume snapshots, and what tests ask of it.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;
use wsman_sim::snapshots;

use crate::support::cluster::Cluster;
use crate::support::world::TIMEOUT;
use crate::support::{envtest, skip_without};

/// The API server serves volume snapshots, as far as that is possible here.
pub(super) struct Volumes<'a> {
    cluster: &'a Cluster,
    /// Makes snapshots ready, unless the test does.
    _controller: Option<AbortOnDropHandle<()>>,
}

impl<'a> Volumes<'a> {
    /// With the simulated controller.
    pub(super) async fn open(cluster: &'a Cluster, test: &str) -> Option<Self> {
        let volumes = Self::without_controller(cluster, test).await?;
        let (client, namespace) = (cluster.client().await, cluster.namespace.clone());
        let controller = tokio::spawn(snapshots::run(client, Some(namespace)));
        Some(Self {
            _controller: Some(AbortOnDropHandle::new(controller)),
            ..volumes
        })
    }

    pub(super) async fn without_controller(cluster: &'a Cluster, test: &str) -> Option<Self> {
        if cluster.server.is_none() && !envtest::serve_snapshots(&cluster.client().await).await {
            skip_without(
                test,
                "snapshots",
                "definitions of snapshots (WSMAN_SNAPSHOT_CRDS)",
            );
            return None;
        }
        let volumes = Self {
            cluster,
            _controller: None,
        };
        volumes.make_class().await;
        Some(volumes)
    }

    /// All tests share it on the real API server.
    async fn make_class(&self) {
        let class = json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
            "metadata": { "name": "csi" }, "driver": snapshots::DRIVER, "deletionPolicy": "Delete",
        });
        let class = serde_json::from_value(class).unwrap();
        let classes = self.cluster_wide("VolumeSnapshotClass").await;
        match classes.create(&PostParams::default(), &class).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            made => drop(made.unwrap()),
        }
    }

    pub(super) async fn cluster_wide(&self, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.cluster.client().await, &resource(kind))
    }

    pub(super) async fn snapshots(&self) -> Api<DynamicObject> {
        let (client, namespace) = (self.cluster.client().await, &self.cluster.namespace);
        Api::namespaced_with(client, namespace, &resource("VolumeSnapshot"))
    }

    pub(super) async fn claims(&self) -> Api<PersistentVolumeClaim> {
        self.cluster.api().await
    }

    /// Sets how the simulated controller treats the snapshots of a volume.
    pub(super) async fn script(&self, claim: &str, key: &str, value: &str) {
        let key = format!("sim.wsman.dev/{key}");
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { key: value } } }));
        let claims = self.claims().await;
        let params = PatchParams::default();
        claims.patch(claim, &params, &patch).await.unwrap();
    }

    /// Waits for the only snapshot of a volume.
    pub(super) async fn snapshot_of(&self, claim: &str) -> DynamicObject {
        let snapshots = self.snapshots().await;
        let appears = async {
            loop {
                let mut all = snapshots.list(&Default::default()).await.unwrap().items;
                all.retain(|one| one.data["spec"]["source"]["persistentVolumeClaimName"] == claim);
                assert!(all.len() < 2, "{all:?}");
                if let Some(one) = all.pop() {
                    return one;
                }
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(TIMEOUT, appears).await;
        found.unwrap_or_else(|_| panic!("no snapshot of {claim}"))
    }

    /// Makes a snapshot ready in place of its controller.
    pub(super) async fn make_ready(&self, name: &str) {
        let status = json!({ "status": {
            "boundVolumeSnapshotContentName": "none", "readyToUse": true, "restoreSize": "1Gi",
        } });
        let snapshots = self.snapshots().await;
        let patch = Patch::Merge(status);
        let params = PatchParams::default();
        let ready = snapshots.patch_status(name, &params, &patch);
        ready.await.unwrap();
    }

    /// The volume is no pod's any more, and nobody deleted it.
    pub(super) async fn is_kept(&self, claim: &str) {
        let kept = self.claims().await.get(claim).await.unwrap().metadata;
        assert_eq!(kept.owner_references.unwrap_or_default(), []);
        assert_eq!(kept.deletion_timestamp, None);
    }

    /// The volume is deleted; without the controller that protects it, it stays until somebody takes its finalizer off.
    pub(super) async fn is_deleted(&self, claim: &str) {
        let left = self.claims().await.get_opt(claim).await.unwrap();
        let left = left.is_some_and(|left| left.metadata.deletion_timestamp.is_none());
        assert!(!left, "{claim} is not deleted");
    }
}

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "snapshot.storage.k8s.io",
        "v1",
        kind,
    ))
}
