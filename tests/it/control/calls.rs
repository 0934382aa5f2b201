//! Timeouts and admission in the status, the image spec, and calls that fail: with which code, and why.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use wsman::proto::registryfacade::GetImageSpecRequest;
use wsman::proto::registryfacade::spec_provider_client::SpecProviderClient;
use wsman::proto::wsman::*;

use super::{annotation, running};
use crate::scenarios::misbehaving;
use crate::support::cluster::Cluster;
use crate::support::world::{World, request};

on_both_clusters! {
    a_timeout_shows_in_the_status
    an_admission_shows_in_the_status
    content_is_refused_for_want_of_a_backend
    an_image_spec_is_returned_as_recorded
    calls_for_unknown_workspaces_are_not_found
    maintenance_refuses_starts_and_snapshots_only
}

/// The code, the reason and the state of an error.
fn error_of<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String, String) {
    let status = answer.unwrap_err();
    let mut info = status.get_details_error_info().unwrap();
    let state = info.metadata.remove("state").unwrap_or_default();
    (status.code(), info.reason, state)
}

fn wrong_state(state: &str) -> (Code, String, String) {
    let reason = "WRONG_STATE".to_owned();
    (Code::FailedPrecondition, reason, state.to_owned())
}

async fn a_timeout_shows_in_the_status(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("timed")).await;
    let set = async |duration: &str, kind: TimeoutType| {
        let request = SetTimeoutRequest {
            id: "timed".to_owned(),
            duration: duration.to_owned(),
            r#type: kind.into(),
        };
        world.client.clone().set_timeout(request).await.unwrap();
        let status = world.describe("timed").await.unwrap();
        let spec = status.spec.unwrap();
        (spec.timeout, spec.closed_timeout, status.status_version)
    };
    let (timeout, closed, first) = set("90m", TimeoutType::WorkspaceTimeout).await;
    assert_eq!((timeout.as_str(), closed.as_str()), ("90m", "0"));
    // Both are one write: one update has both.
    let spec = loop {
        let status = updates.next().await.unwrap();
        if status.status_version == first {
            break status.spec.unwrap();
        }
        assert_ne!(status.spec.unwrap().timeout, "90m");
    };
    assert_eq!(
        (spec.timeout.as_str(), spec.closed_timeout.as_str()),
        ("90m", "0")
    );
    let (_, _, again) = set("90m", TimeoutType::WorkspaceTimeout).await;
    assert_eq!(again, first, "it was so already");
    let (timeout, closed, _) = set("5m", TimeoutType::ClosedTimeout).await;
    assert_eq!((timeout.as_str(), closed.as_str()), ("90m", "5m"));
    // Zero ends at once a workspace that was ever active.
    let beat = MarkActiveRequest {
        id: "timed".to_owned(),
        ..Default::default()
    };
    world.client.clone().mark_active(beat).await.unwrap();
    set("0", TimeoutType::WorkspaceTimeout).await;
    let stopped = updates.until("timed", WorkspacePhase::Stopped).await;
    assert!(!stopped.conditions.unwrap().timeout.is_empty());
    world.drain().await.unwrap();
}

async fn an_admission_shows_in_the_status(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("open")).await;
    let admit = |level: AdmissionLevel| {
        let request = ControlAdmissionRequest {
            id: "open".to_owned(),
            level: level.into(),
        };
        let mut client = world.client.clone();
        async move { client.control_admission(request).await }
    };
    for level in [
        AdmissionLevel::AdmitEveryone,
        AdmissionLevel::AdmitOwnerOnly,
    ] {
        admit(level).await.unwrap();
        let status = world.describe("open").await.unwrap();
        assert_eq!(status.auth.unwrap().admission(), level);
        admit(level).await.unwrap();
        let again = world.describe("open").await.unwrap();
        assert_eq!(again.status_version, status.status_version);
    }
    let stays = misbehaving("stays", "ignore-term");
    running(&world, &mut updates, stays).await;
    world.stop_workspace("stays").await;
    updates.until("stays", WorkspacePhase::Stopping).await;
    let request = ControlAdmissionRequest {
        id: "stays".to_owned(),
        level: AdmissionLevel::AdmitEveryone.into(),
    };
    let late = world.client.clone().control_admission(request).await;
    assert_eq!(error_of(late), wrong_state("STOPPING"));
    let request = ControlPortRequest {
        id: "stays".to_owned(),
        expose: false,
        spec: Some(PortSpec {
            port: 8080,
            ..Default::default()
        }),
    };
    let late = world.client.clone().control_port(request).await;
    assert_eq!(error_of(late), wrong_state("STOPPING"));
    world.drain().await.unwrap();
}

async fn content_is_refused_for_want_of_a_backend(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("full")).await;
    let stuck = misbehaving("stuck", "unschedulable");
    world.client.clone().start_workspace(stuck).await.unwrap();
    updates.until("stuck", WorkspacePhase::Pending).await;
    let snapshot = |id: &str| {
        let request = TakeSnapshotRequest {
            id: id.to_owned(),
            return_immediately: true,
        };
        let mut client = world.client.clone();
        async move { client.take_snapshot(request).await }
    };
    let no_backend = wrong_state("NO_CONTENT_BACKEND");
    assert_eq!(error_of(snapshot("full").await), no_backend);
    let early = snapshot("stuck").await;
    let text = early.as_ref().unwrap_err().message().to_owned();
    assert_eq!(text, "can only take snapshots of running workspaces");
    assert_eq!(error_of(early), wrong_state("NOT_RUNNING"));
    for id in ["full", "stuck"] {
        let request = BackupWorkspaceRequest { id: id.to_owned() };
        let backup = world.client.clone().backup_workspace(request).await;
        let text = backup.as_ref().unwrap_err().message().to_owned();
        assert!(text.contains("no content backend"), "{text}");
        assert_eq!(error_of(backup), no_backend);
    }
    world.drain().await.unwrap();
}

async fn an_image_spec_is_returned_as_recorded(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    let mut images = request("images");
    images.spec.as_mut().unwrap().ide_image = Some(IdeImage {
        web_ref: "registry.example.com/ide:1".to_owned(),
        supervisor_ref: "registry.example.com/supervisor:1".to_owned(),
        ..Default::default()
    });
    images.spec.as_mut().unwrap().ide_image_layers = vec!["layer-1".to_owned()];
    running(&world, &mut updates, images).await;
    let client = SpecProviderClient::new(world.channel().await);
    let ask = |id: &str| {
        let request = GetImageSpecRequest { id: id.to_owned() };
        let mut client = client.clone();
        async move { client.get_image_spec(request).await }
    };
    let spec = ask("images").await.unwrap().into_inner().spec.unwrap();
    assert_eq!(spec.base_ref, "registry.example.com/workspace:1");
    assert_eq!(spec.ide_ref, "registry.example.com/ide:1");
    assert_eq!(spec.supervisor_ref, "registry.example.com/supervisor:1");
    assert_eq!(spec.ide_layer_ref, ["layer-1"]);
    assert!(spec.content_layer.is_empty());
    assert_eq!(ask("unknown").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(
        ask("a,b=c").await.unwrap_err().code(),
        Code::InvalidArgument
    );

    // What only another manager would do to a pod.
    let pods = cluster.api::<Pod>().await;
    let mut mark = async |label: Option<&str>, spec: Option<&str>| {
        let patch = Patch::Merge(json!({ "metadata": {
            "labels": { "gitpod.io/pvcFeature": label },
            "annotations": { "gitpod/imageSpec": spec, "gitpod/contentInitializer": "%%" },
        } }));
        let pod = pods
            .patch("ws-images", &PatchParams::default(), &patch)
            .await
            .unwrap();
        let version = pod.metadata.resource_version.unwrap().parse().unwrap();
        while updates.next().await.unwrap().status_version < version {}
    };
    let recorded = annotation(cluster, "ws-images", "gitpod/imageSpec")
        .await
        .unwrap();
    mark(None, None).await;
    let missing = ask("images").await;
    let text = missing.as_ref().unwrap_err().message().to_owned();
    assert_eq!(text, "workspace has no image spec");
    assert_eq!(error_of(missing), wrong_state("NO_IMAGE_SPEC"));
    mark(None, Some("%%")).await;
    assert_eq!(error_of(ask("images").await).0, Code::Internal);
    mark(Some("true"), Some(&recorded)).await;
    assert_eq!(
        error_of(ask("images").await),
        wrong_state("NO_CONTENT_BACKEND")
    );
    drop(client);
    world.drain().await.unwrap();
}

async fn calls_for_unknown_workspaces_are_not_found(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let id = || "unknown".to_owned();
    let mut client = world.client.clone();
    let timeout = SetTimeoutRequest {
        id: id(),
        duration: "1h".to_owned(),
        ..Default::default()
    };
    let port = ControlPortRequest {
        id: id(),
        expose: false,
        spec: Some(PortSpec {
            port: 1,
            ..Default::default()
        }),
    };
    let admission = ControlAdmissionRequest {
        id: id(),
        ..Default::default()
    };
    let keys = UpdateSshKeyRequest {
        id: id(),
        keys: Vec::new(),
    };
    let snapshot = TakeSnapshotRequest {
        id: id(),
        ..Default::default()
    };
    let backup = BackupWorkspaceRequest { id: id() };
    let errors = [
        error_of(client.set_timeout(timeout).await),
        error_of(client.control_port(port).await),
        error_of(client.control_admission(admission).await),
        error_of(client.update_ssh_key(keys).await),
        error_of(client.take_snapshot(snapshot).await),
        error_of(client.backup_workspace(backup).await),
    ];
    for (code, reason, _) in errors {
        assert_eq!(
            (code, reason.as_str()),
            (Code::NotFound, "WORKSPACE_NOT_FOUND")
        );
    }
    drop(client);
    world.drain().await.unwrap();
}

async fn maintenance_refuses_starts_and_snapshots_only(cluster: &Cluster) {
    let before = World::start(cluster).await;
    let mut updates = before.subscribe().await;
    running(&before, &mut updates, request("old")).await;
    drop(updates);
    before.drain().await.unwrap();
    let world = World::start_with(cluster.client().await, &cluster.namespace, |config| {
        config["manager"]["maintenanceMode"] = true.into();
    })
    .await;
    let mut updates = world.subscribe().await;
    let start = world.client.clone().start_workspace(request("new")).await;
    let text = start.as_ref().unwrap_err().message().to_owned();
    assert_eq!(text, "under maintenance");
    assert_eq!(error_of(start), wrong_state("MAINTENANCE"));
    let snapshot = TakeSnapshotRequest {
        id: "old".to_owned(),
        ..Default::default()
    };
    let snapshot = world.client.clone().take_snapshot(snapshot).await;
    assert_eq!(error_of(snapshot), wrong_state("MAINTENANCE"));
    let admission = ControlAdmissionRequest {
        id: "old".to_owned(),
        level: AdmissionLevel::AdmitEveryone.into(),
    };
    world
        .client
        .clone()
        .control_admission(admission)
        .await
        .unwrap();
    world.stop_workspace("old").await;
    updates.until("old", WorkspacePhase::Stopped).await;
    world.drain().await.unwrap();
}
