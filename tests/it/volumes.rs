//! Workspaces on a volume keep their work as CSI volume snapshots, and others go on from these.
//!
//! On the real API server the definitions of the external snapshotter serve them: `WSMAN_SNAPSHOT_CRDS` names their directory.

mod served;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tonic::{Code, Status};
use wsman::proto::contentservice::workspace_initializer::Spec;
use wsman::proto::contentservice::{FromBackupInitializer, WorkspaceInitializer};
use wsman::proto::wsman::*;
use wsman_sim::apiserver::faults::Fault;
use wsman_sim::snapshots;

use super::replicas::settled;
use super::support::cluster::{self, Cluster};
use super::support::story::{Story, grace_end, node, request_with};
use super::support::world::{TIMEOUT, World};
use served::Volumes;

on_both_clusters! {
    a_workspace_goes_on_from_the_snapshot_of_its_volume
    a_snapshot_that_is_never_ready_keeps_the_volume
    a_snapshot_that_fails_keeps_the_volume
    an_aborted_workspace_has_no_snapshot
    a_killed_daemon_leaves_one_snapshot
    either_replica_may_finish_a_snapshot
    a_volume_outlives_its_node
    a_snapshot_is_taken_while_the_workspace_runs
    a_snapshot_is_deleted_once
    a_snapshot_without_an_object_is_restored_from_its_handle
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn config(config: &mut Value) {
    let class = &mut config["manager"]["workspaceClass"]["default"];
    for key in ["pvc", "prebuildPVC"] {
        class[key] = json!({ "size": "1Gi", "snapshotClass": "csi" });
    }
    for limit in ["initialization", "startup", "regularWorkspace"] {
        config["manager"]["timeouts"][limit] = "100h".into();
    }
}

/// A request for a workspace on a volume.
fn on_volume(id: &str) -> StartWorkspaceRequest {
    #[allow(deprecated, reason = "the flag is")]
    let flag = WorkspaceFeatureFlag::PersistentVolumeClaim;
    request_with(id, |spec| spec.feature_flags = vec![flag.into()])
}

/// A request for a workspace that begins with a snapshot.
fn from_snapshot(id: &str, name: &str, handle: &str) -> StartWorkspaceRequest {
    let mut request = on_volume(id);
    let spec = request.spec.as_mut().unwrap();
    #[allow(deprecated, reason = "the field is")]
    let snapshot = &mut spec.volume_snapshot;
    *snapshot = Some(VolumeSnapshotInfo {
        volume_snapshot_name: name.to_owned(),
        volume_snapshot_handle: handle.to_owned(),
    });
    spec.initializer = Some(WorkspaceInitializer {
        spec: Some(Spec::Backup(FromBackupInitializer {
            from_volume_snapshot: true,
            ..Default::default()
        })),
    });
    request
}

async fn run(story: &mut Story<'_>, id: &str) -> WorkspaceStatus {
    story.start(on_volume(id)).await;
    story.until(id, WorkspacePhase::Running).await
}

async fn refused(story: &Story<'_>, request: StartWorkspaceRequest) -> String {
    let answer = story.world.client.clone().start_workspace(request).await;
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    status.message().to_owned()
}

fn snapshot_name(conditions: &WorkspaceConditions) -> String {
    assert_eq!(conditions.failed, "");
    assert_eq!(
        conditions.final_backup_complete(),
        WorkspaceConditionBool::True
    );
    let info = conditions.volume_snapshot.clone().unwrap();
    info.volume_snapshot_name
}

async fn a_workspace_goes_on_from_the_snapshot_of_its_volume(cluster: &Cluster) {
    let Some(volumes) = Volumes::open(cluster, "a snapshot of a volume").await else {
        return;
    };
    let mut story = Story::begin_with(cluster, config).await;
    run(&mut story, "first").await;
    volumes.script("ws-first", "snapshot-after", "300ms").await;
    let early = from_snapshot("early", "ws-first-none", "");
    assert_eq!(
        refused(&story, early).await,
        "volume snapshot ws-first-none does not exist"
    );
    story.stop("first", StopWorkspacePolicy::Normally).await;
    let conditions = story.ends("first").await;
    let name = snapshot_name(&conditions);
    let made = volumes.snapshot_of("ws-first").await;
    assert_eq!(made.metadata.name.as_deref(), Some(&*name));
    assert_eq!(made.metadata.owner_references, None);
    assert_eq!(made.metadata.labels.as_ref().unwrap()["owner"], "jane");
    assert_eq!(made.data["spec"]["volumeSnapshotClassName"], "csi");
    let handle = conditions.volume_snapshot.unwrap().volume_snapshot_handle;
    assert!(handle.starts_with("snap-"), "{handle:?}");
    volumes.is_deleted("ws-first").await;
    cluster.gone::<Pod>("ws-first").await;

    let mut stolen = from_snapshot("stolen", &name, "");
    stolen.metadata.as_mut().unwrap().owner = "joe".to_owned();
    assert_eq!(
        refused(&story, stolen).await,
        format!("volume snapshot {name} belongs to another owner, or to nobody")
    );
    story.start(from_snapshot("second", &name, "")).await;
    story.until("second", WorkspacePhase::Running).await;
    let claim = volumes.claims().await.get("ws-second").await.unwrap();
    let source = claim.spec.unwrap().data_source.unwrap();
    assert_eq!(
        (source.kind.as_str(), source.name),
        ("VolumeSnapshot", name)
    );
    story.end().await;
}

async fn a_snapshot_that_is_never_ready_keeps_the_volume(cluster: &Cluster) {
    let Some(volumes) = Volumes::without_controller(cluster, "a late snapshot").await else {
        return;
    };
    let mut story = Story::begin_with(cluster, config).await;
    run(&mut story, "late").await;
    story.stop("late", StopWorkspacePolicy::Normally).await;
    let made = volumes.snapshot_of("ws-late").await.metadata.name.unwrap();
    let pod = story.pod("late").await;
    story.pause().await;
    story.quiet_until("late", grace_end(&pod) + HOUR).await;
    story.advance_to(grace_end(&pod) + HOUR);
    let conditions = story.ends("late").await;
    assert_eq!(
        conditions.failed,
        format!(
            "last backup failed: volume snapshot {made} was not ready within 1h0m0s; the content stays in \
             PersistentVolumeClaim ws-late."
        )
    );
    cluster.gone::<Pod>("ws-late").await;
    volumes.is_kept("ws-late").await;
    story.end().await;
}

async fn a_snapshot_that_fails_keeps_the_volume(cluster: &Cluster) {
    let Some(volumes) = Volumes::open(cluster, "a failing snapshot").await else {
        return;
    };
    let mut story = Story::begin_with(cluster, config).await;
    run(&mut story, "full").await;
    volumes
        .script("ws-full", "snapshot-error", "no space")
        .await;
    story.stop("full", StopWorkspacePolicy::Normally).await;
    let made = volumes.snapshot_of("ws-full").await.metadata.name.unwrap();
    // Errors pass, until they last for minutes.
    story.pause().await;
    story.quiet("full").await;
    story.advance_to(story.world.clock.now() + SignedDuration::from_mins(2));
    let conditions = story.ends("full").await;
    assert_eq!(
        conditions.failed,
        format!(
            "last backup failed: volume snapshot {made} failed: no space; the content stays in PersistentVolumeClaim \
             ws-full."
        )
    );
    cluster.gone::<Pod>("ws-full").await;
    volumes.is_kept("ws-full").await;
    story.end().await;
}

async fn an_aborted_workspace_has_no_snapshot(cluster: &Cluster) {
    let Some(volumes) = Volumes::open(cluster, "an abort").await else {
        return;
    };
    let mut story = Story::begin_with(cluster, config).await;
    run(&mut story, "aborted").await;
    story.stop("aborted", StopWorkspacePolicy::Abort).await;
    assert_eq!(story.ends("aborted").await.failed, "");
    cluster.gone::<Pod>("ws-aborted").await;
    let all = volumes.snapshots().await.list(&Default::default()).await;
    assert_eq!(all.unwrap().items.len(), 0);
    story.end().await;
}

/// It dies after the snapshot is created, and the snapshot is ready before the next one looks.
async fn a_killed_daemon_leaves_one_snapshot(cluster: &Cluster) {
    let Some(volumes) = Volumes::without_controller(cluster, "a killed daemon").await else {
        return;
    };
    let mut story = Story::begin_with(cluster, config).await;
    run(&mut story, "killed").await;
    story.stop("killed", StopWorkspacePolicy::Normally).await;
    let made = volumes.snapshot_of("ws-killed").await;
    let name = made.metadata.name.unwrap();
    // The next one follows it, and dies too.
    let mut story = story.killed().await;
    story.pause().await;
    let asleep = story.asleep().await;
    volumes.make_ready(&name).await;
    let mut story = asleep.awake().await;
    assert_eq!(snapshot_name(&story.ends("killed").await), name);
    let same = volumes.snapshot_of("ws-killed").await;
    assert_eq!(same.metadata.uid, made.metadata.uid);
    volumes.is_deleted("ws-killed").await;
    story.end().await;
}

async fn either_replica_may_finish_a_snapshot(cluster: &Cluster) {
    let Some(volumes) = Volumes::without_controller(cluster, "two replicas").await else {
        return;
    };
    let start =
        async || World::start_with(cluster.client().await, &cluster.namespace, config).await;
    let (a, b) = (start().await, start().await);
    let (holder, _) = settled(&a, &b).await;
    let mut updates = holder.subscribe().await;
    let mut client = holder.client.clone();
    client.start_workspace(on_volume("shared")).await.unwrap();
    updates.until("shared", WorkspacePhase::Running).await;
    let stop = StopWorkspaceRequest {
        id: "shared".to_owned(),
        ..Default::default()
    };
    client.stop_workspace(stop).await.unwrap();
    let name = volumes
        .snapshot_of("ws-shared")
        .await
        .metadata
        .name
        .unwrap();
    let (holder, other) = if a.holds_now() { (a, b) } else { (b, a) };
    let mut updates = other.subscribe().await;
    holder.kill().await;
    other.outlive_the_dead().await;
    volumes.make_ready(&name).await;
    let stopped = updates.until("shared", WorkspacePhase::Stopped).await;
    assert_eq!(snapshot_name(&stopped.conditions.unwrap()), name);
    volumes.snapshot_of("ws-shared").await;
    other.drain().await.unwrap();
}

async fn a_volume_outlives_its_node(cluster: &Cluster) {
    let Some(volumes) = Volumes::without_controller(cluster, "a lost node").await else {
        return;
    };
    let mut story = Story::begin_with(cluster, config).await;
    let running = run(&mut story, "outlives").await;
    let stuck = json!({ "stuck-terminating": "true" });
    story.script("ws-outlives", stuck).await;
    story.stop("outlives", StopWorkspacePolicy::Normally).await;
    story.until("outlives", WorkspacePhase::Stopping).await;
    let nodes = story.cluster.nodes().await;
    let name = node(&running);
    nodes.delete(&name, &DeleteParams::default()).await.unwrap();
    let name = volumes
        .snapshot_of("ws-outlives")
        .await
        .metadata
        .name
        .unwrap();
    volumes.make_ready(&name).await;
    let stopped = story.until("outlives", WorkspacePhase::Stopped).await;
    assert_eq!(stopped.message, "stopped by force: its node is gone");
    assert_eq!(snapshot_name(&stopped.conditions.unwrap()), name);
    story.end().await;
}

async fn a_snapshot_is_taken_while_the_workspace_runs(cluster: &Cluster) {
    let Some(volumes) = Volumes::open(cluster, "a snapshot on request").await else {
        return;
    };
    let mut story = Story::begin_with(cluster, config).await;
    run(&mut story, "runs").await;
    let mut client = story.world.client.clone();
    let mut take = async |return_immediately| {
        let request = TakeSnapshotRequest {
            id: "runs".to_owned(),
            return_immediately,
        };
        client
            .take_snapshot(request)
            .await
            .unwrap()
            .into_inner()
            .url
    };
    let snapshots = volumes.snapshots().await;
    let ready = take(false).await;
    let found = snapshots.get(&ready).await.unwrap();
    assert_eq!(found.data["status"]["readyToUse"], true);
    volumes.script("ws-runs", "snapshot-never", "true").await;
    let early = take(true).await;
    assert_ne!(early, ready);
    assert_eq!(
        refused(&story, from_snapshot("early", &early, "")).await,
        format!("volume snapshot {early} is not ready")
    );
    let backup = BackupWorkspaceRequest {
        id: "runs".to_owned(),
    };
    let backup = story.world.client.clone().backup_workspace(backup).await;
    let status = backup.unwrap_err();
    assert!(status.message().contains("take a snapshot"), "{status:?}");
    story.start(from_snapshot("from", &ready, "")).await;
    story.until("from", WorkspacePhase::Running).await;
    story.end().await;
}

async fn a_snapshot_is_deleted_once(cluster: &Cluster) {
    let Some(volumes) = Volumes::open(cluster, "a deletion").await else {
        return;
    };
    let story = Story::begin_with(cluster, config).await;
    let snapshots = volumes.snapshots().await;
    let held = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": { "name": "held", "finalizers": ["example.com/audit"] },
        "spec": { "source": { "persistentVolumeClaimName": "none" } },
    });
    let held = serde_json::from_value(held).unwrap();
    snapshots
        .create(&PostParams::default(), &held)
        .await
        .unwrap();
    let delete = async |soft_delete, handle: &str| {
        let request = DeleteVolumeSnapshotRequest {
            id: "held".to_owned(),
            volume_handle: handle.to_owned(),
            soft_delete,
            ..Default::default()
        };
        let mut client = story.world.client.clone();
        let answer = client.delete_volume_snapshot(request).await?;
        let kept = answer.metadata().get("wsman-kept-by").cloned();
        Ok::<_, Status>((answer.into_inner().was_deleted, kept))
    };
    let (was_deleted, kept) = delete(true, "").await.unwrap();
    assert!(was_deleted);
    assert_eq!(kept.unwrap(), "example.com/audit");
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    let params = PatchParams::default();
    snapshots.patch("held", &params, &free).await.unwrap();
    assert!(!delete(true, "").await.unwrap().0);
    let status = delete(false, "").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    // Only the driver knows it: it is made known, and the driver deletes it.
    let handle = format!("handle-of-{}", cluster.namespace);
    assert!(delete(false, &handle).await.unwrap().0);
    let contents = volumes.cluster_wide("VolumeSnapshotContent").await;
    let gone = async {
        while contents.get_opt("restored-held").await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, gone).await.unwrap();
    story.end().await;
}

async fn a_snapshot_without_an_object_is_restored_from_its_handle(cluster: &Cluster) {
    let Some(volumes) = Volumes::open(cluster, "a restored snapshot").await else {
        return;
    };
    let mut story = Story::begin_with(cluster, config).await;
    let name = format!("old-{}", cluster.namespace);
    story.start(from_snapshot("again", &name, "snap-7")).await;
    story.until("again", WorkspacePhase::Running).await;
    let contents = volumes.cluster_wide("VolumeSnapshotContent").await;
    let content = contents.get(&format!("restored-{name}")).await.unwrap();
    let spec = &content.data["spec"];
    assert_eq!(spec["source"]["snapshotHandle"], "snap-7");
    assert_eq!(spec["driver"], snapshots::DRIVER);
    assert_eq!(spec["volumeSnapshotRef"]["name"], name.as_str());
    let claim = volumes.claims().await.get("ws-again").await.unwrap();
    assert_eq!(claim.spec.unwrap().data_source.unwrap().name, name);
    // The same request finds what it made.
    story.start(from_snapshot("again", &name, "snap-7")).await;
    story.end().await;
}

/// A cluster without volume snapshots: the end is stated at once, and nothing is lost.
async fn nothing_is_lost_without_snapshots(cluster: &Cluster) {
    let mut story = Story::begin_with(cluster, config).await;
    run(&mut story, "without").await;
    story.stop("without", StopWorkspacePolicy::Normally).await;
    let failed = story.ends("without").await.failed;
    let begin = "last backup failed: volume snapshot ws-without-";
    assert!(failed.starts_with(begin), "{failed}");
    assert!(
        failed.contains("serves no snapshot.storage.k8s.io/v1"),
        "{failed}"
    );
    let end = "; the content stays in PersistentVolumeClaim ws-without.";
    assert!(failed.ends_with(end), "{failed}");
    cluster.gone::<Pod>("ws-without").await;
    let claims = cluster.api::<PersistentVolumeClaim>().await;
    let kept = claims.get("ws-without").await.unwrap();
    assert_eq!(kept.metadata.owner_references, None);
    story.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_a_real_api_server_without_snapshots() {
    if let Some((_server, cluster)) = cluster::own_real("without_snapshots").await {
        nothing_is_lost_without_snapshots(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_an_embedded_api_server_without_snapshots() {
    let cluster = cluster::embedded().await;
    let faults = cluster.server.as_ref().unwrap().faults();
    let not_found = Fault::Text {
        code: 404,
        headers: Vec::new(),
        body: "404 page not found\n",
    };
    faults.add("", "/snapshot.storage.k8s.io/", usize::MAX, not_found);
    nothing_is_lost_without_snapshots(&cluster).await;
}
