//! The custom resources of volume snapshots. On the real API server the definitions of the external snapshotter serve them.

use super::Entry;
use super::entries::entry;
use crate::support::{envtest, skip, skip_without};
use wsman_sim::apiserver::store::Store;
use wsman_sim::apiserver::{Options, Server};

#[rustfmt::skip]
const ENTRIES: &[Entry] = &[
    entry("snapshot_create", r#"
        POST /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots {"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshot","metadata":{"name":"a","labels":{"x":"y"}},"spec":{"source":{"persistentVolumeClaimName":"c"},"volumeSnapshotClassName":"k"},"status":{"readyToUse":true}}
        POST /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots {"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshot","metadata":{"name":"a"},"spec":{"source":{"persistentVolumeClaimName":"c"}}} => /code /reason /message
        GET /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots/b
        GET /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots => /kind /apiVersion /items/0/spec"#),
    entry("snapshot_source_is_checked", r#"
        POST /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots {"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshot","metadata":{"name":"a"},"spec":{"source":{"persistentVolumeClaimName":"c","volumeSnapshotContentName":"d"}}} => /code /reason
        POST /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots {"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshot","metadata":{"name":"a"},"spec":{"source":{}}} => /code /reason
        -POST /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots {"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshot","metadata":{"name":"a"},"spec":{"source":{"persistentVolumeClaimName":"c"}}}
        MERGE /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots/a {"spec":{"source":{"persistentVolumeClaimName":"d"}}} => /code /reason"#),
    entry("snapshot_status_is_a_subresource", r#"
        -POST /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots {"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshot","metadata":{"name":"a"},"spec":{"source":{"persistentVolumeClaimName":"c"}}}
        MERGE /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots/a {"status":{"readyToUse":true}} => /status /metadata/generation
        MERGE /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots/a/status {"status":{"readyToUse":false,"error":{"message":"full","time":"2026-01-01T00:00:00Z"}}} => /status /metadata/generation
        MERGE /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots/a/status {"status":{"readyToUse":true,"error":null,"restoreSize":"1Gi","boundVolumeSnapshotContentName":"d"}} => /status /metadata/generation
        STRATEGIC /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots/a {"metadata":{"labels":{"a":"b"}}} => /code /reason"#),
    entry("snapshot_with_a_finalizer", r#"
        -POST /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots {"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshot","metadata":{"name":"a","finalizers":["example.com/audit"]},"spec":{"source":{"persistentVolumeClaimName":"c"}}}
        DELETE /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots/a => /kind /metadata/finalizers
        MERGE /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots/a {"metadata":{"finalizers":null}} => /kind
        GET /apis/snapshot.storage.k8s.io/v1/namespaces/$ns/volumesnapshots/a => /code"#),
    entry("snapshot_content", r#"
        POST /apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents {"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshotContent","metadata":{"name":"$ns-a"},"spec":{"deletionPolicy":"Delete","driver":"d","source":{"snapshotHandle":"h"},"volumeSnapshotRef":{"name":"a","namespace":"$ns"}}} => /kind /spec
        POST /apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents {"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshotContent","metadata":{"name":"$ns-b"},"spec":{"deletionPolicy":"Sometimes","driver":"d","source":{"snapshotHandle":"h"},"volumeSnapshotRef":{"name":"a","namespace":"$ns"}}} => /code /reason
        POST /apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents {"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshotContent","metadata":{"name":"$ns-b"},"spec":{"deletionPolicy":"Delete","driver":"d","source":{"snapshotHandle":"h"},"volumeSnapshotRef":{}}} => /code /reason
        MERGE /apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/$ns-a/status {"status":{"snapshotHandle":"h","readyToUse":true,"restoreSize":1024}} => /status
        DELETE /apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/$ns-a => /kind /status"#),
    entry("snapshot_class", r#"
        POST /apis/snapshot.storage.k8s.io/v1/volumesnapshotclasses {"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshotClass","metadata":{"name":"$ns-a"},"driver":"d","deletionPolicy":"Retain","parameters":{"a":"b"}} => /kind /driver /deletionPolicy /parameters /metadata/generation
        POST /apis/snapshot.storage.k8s.io/v1/volumesnapshotclasses {"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshotClass","metadata":{"name":"$ns-b"},"deletionPolicy":"Retain"} => /code /reason
        DELETE /apis/snapshot.storage.k8s.io/v1/volumesnapshotclasses/$ns-a => /kind /status"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn conformance_snapshots_embedded() {
    let server = Server::start(Store::new(), Options::default())
        .await
        .expect("start");
    let client = super::client(&server.kubeconfig()).await;
    super::run_all(&client, &all(), true, false).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_snapshots_real() {
    let test = "conformance_snapshots_real";
    let Some(server) = envtest::real().await else {
        return skip(test);
    };
    let client = server.client();
    if !envtest::serve_snapshots(&client).await {
        return skip_without(
            test,
            "snapshots",
            "definitions of snapshots (WSMAN_SNAPSHOT_CRDS)",
        );
    }
    let update = std::env::var_os("UPDATE").is_some();
    super::run_all(&client, &all(), server.has_controllers(), update).await;
}

fn all() -> Vec<&'static Entry> {
    ENTRIES.iter().collect()
}
