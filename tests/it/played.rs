//! The simulated kubelet plays the guest: annotations of the pod have how long its containers run and what they report.

use serde_json::{Value, json};
use wsman::proto::contentservice::workspace_initializer::Spec;
use wsman::proto::contentservice::{GitConfig, GitInitializer, WorkspaceInitializer};
use wsman::proto::wsman::*;

use super::support::cluster::Cluster;
use super::support::story::{Story, request_with};

on_both_clusters! {
    a_workspace_is_filled_and_saved
    a_workspace_that_cannot_be_filled_fails
    a_workspace_that_cannot_be_saved_says_so
    a_saver_that_takes_its_time_is_waited_for
    a_workspace_that_its_node_evicts_is_not_saved
}

fn guest(config: &mut Value) {
    config["guest"] = json!({ "contentImage": "registry.example.com/guest:1" });
    let local = json!({ "path": "/var/lib/content" });
    config["content"] = json!({ "storage": { "kind": "local", "local": local } });
}

fn cloned(id: &str) -> StartWorkspaceRequest {
    request_with(id, |spec| {
        let git = GitInitializer {
            remote_uri: "https://example.com/a.git".to_owned(),
            checkout_location: "a".to_owned(),
            config: Some(GitConfig::default()),
            ..GitInitializer::default()
        };
        let spec_of = Some(Spec::Git(git));
        spec.initializer = Some(WorkspaceInitializer { spec: spec_of });
    })
}

/// What the guest reports when all is well, after so long.
fn well(after: &str) -> Value {
    let step = json!({ "name": "git", "bytes": 2048, "ms": 1500 });
    let filled = json!({ "version": 1, "ok": true, "steps": [step] });
    let backup = json!({ "name": "jane/m/1@local", "created": "2026-01-01T00:00:00Z" });
    let saved = json!({ "version": 1, "ok": true, "backup": backup });
    json!({
        "init-after": after, "init-message": filled.to_string(),
        "sidecar-stop-after": after, "sidecar-message": saved.to_string(),
    })
}

async fn a_workspace_is_filled_and_saved(cluster: &Cluster) {
    let mut story = Story::begin_with(cluster, guest).await;
    story.start_as(cloned("a"), well("200ms")).await;
    let status = story.until("a", WorkspacePhase::Initializing).await;
    assert_eq!(status.initializer_metrics, None);
    let status = story.until("a", WorkspacePhase::Running).await;
    let metric = status.initializer_metrics.unwrap().git.unwrap();
    assert_eq!((metric.size, metric.duration.unwrap().seconds), (2048, 1));
    story.stop("a", StopWorkspacePolicy::Normally).await;
    let conditions = story.ends("a").await;
    assert_eq!(conditions.failed, "");
    assert!(conditions.final_backup_complete() == WorkspaceConditionBool::True);
    story.end().await;
}

async fn a_workspace_that_cannot_be_filled_fails(cluster: &Cluster) {
    let mut story = Story::begin_with(cluster, guest).await;
    let report = json!({ "version": 1, "ok": false, "step": "git", "message": "no such branch" });
    let mut script = well("200ms");
    script["init-exit-code"] = "1".into();
    script["init-message"] = report.to_string().into();
    story.start_as(cloned("b"), script).await;
    let conditions = story.ends("b").await;
    assert_eq!(
        conditions.failed,
        "cannot initialize workspace: no such branch"
    );
    story.end().await;
}

async fn a_workspace_that_cannot_be_saved_says_so(cluster: &Cluster) {
    let mut story = Story::begin_with(cluster, guest).await;
    let last = json!({ "name": "jane/m/1@local", "created": "2026-01-01T00:00:00Z" });
    let report = json!({ "version": 1, "ok": false, "message": "no space left", "last": last });
    let mut script = well("0s");
    script["sidecar-exit-code"] = "1".into();
    script["sidecar-message"] = report.to_string().into();
    story.start_as(cloned("c"), script).await;
    story.until("c", WorkspacePhase::Running).await;
    story.stop("c", StopWorkspacePolicy::Normally).await;
    let failed = story.ends("c").await.failed;
    assert!(
        failed.starts_with("last backup failed: no space left"),
        "{failed}"
    );
    story.end().await;
}

async fn a_saver_that_takes_its_time_is_waited_for(cluster: &Cluster) {
    let mut story = Story::begin_with(cluster, guest).await;
    let mut script = well("0s");
    script["sidecar-stop-after"] = "1h".into();
    story.start_as(cloned("d"), script).await;
    story.until("d", WorkspacePhase::Running).await;
    story.stop("d", StopWorkspacePolicy::Normally).await;
    let ended = |pod: &k8s_openapi::api::core::v1::Pod| {
        let all = pod.status.as_ref().unwrap().container_statuses.iter();
        let mut states = all.flatten().filter_map(|one| one.state.as_ref());
        states.all(|state| state.terminated.is_some())
    };
    cluster.until_pod("ws-d", ended).await;
    story.pause().await;
    let status = story.world.describe("d").await.unwrap();
    assert_eq!(status.phase(), WorkspacePhase::Stopping);
    story
        .script("ws-d", json!({ "sidecar-stop-after": "0s" }))
        .await;
    let conditions = story.ends("d").await;
    assert!(conditions.final_backup_complete() == WorkspaceConditionBool::True);
    story.end().await;
}

async fn a_workspace_that_its_node_evicts_is_not_saved(cluster: &Cluster) {
    let mut story = Story::begin_with(cluster, guest).await;
    story.start_as(cloned("e"), well("0s")).await;
    story.until("e", WorkspacePhase::Running).await;
    story.script("ws-e", json!({ "evict-after": "0s" })).await;
    let conditions = story.ends("e").await;
    let failed = conditions.failed.as_str();
    assert!(
        failed.starts_with("Evicted: The node was low on resource"),
        "{failed}"
    );
    assert!(
        failed.contains("; last backup failed: the guest ended without a report"),
        "{failed}"
    );
    assert!(conditions.final_backup_complete() != WorkspaceConditionBool::True);
    story.end().await;
}
