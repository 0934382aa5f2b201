//! Pods that people edit: marks are removed while a workspace runs, and it still ends correctly.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use wsman::proto::wsman::*;

use super::support::cluster::Cluster;
use super::support::story::Story;

on_both_clusters! {
    a_pod_that_lost_its_url_or_id_ends_when_it_is_deleted
    a_workspace_that_lost_its_url_or_id_can_be_stopped
    a_pod_that_lost_the_label_by_which_it_is_found_gets_it_back
}

async fn edit(cluster: &Cluster, pod: &str, metadata: Value) {
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    let pods = cluster.api::<Pod>().await;
    pods.patch(pod, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Starts a workspace and removes an annotation of its pod.
async fn without(story: &mut Story<'_>, id: &str, mark: &str) {
    story.run(id).await;
    edit(
        story.cluster,
        &format!("ws-{id}"),
        json!({ "annotations": { mark: null } }),
    )
    .await;
    let named = |status: &WorkspaceStatus| status.message.contains(mark);
    let edited = story.until_it(id, named).await;
    assert_eq!(edited.phase(), WorkspacePhase::Running);
}

async fn a_pod_that_lost_its_url_or_id_ends_when_it_is_deleted(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    for (id, mark) in [("no-url", "gitpod/url"), ("no-id", "gitpod/id")] {
        without(&mut story, id, mark).await;
    }
    let pods = cluster.api::<Pod>().await;
    for id in ["no-url", "no-id"] {
        let pod = format!("ws-{id}");
        pods.delete(&pod, &DeleteParams::default()).await.unwrap();
        story.until(id, WorkspacePhase::Stopped).await;
        cluster.gone::<Pod>(&pod).await;
    }
    story.end().await;
}

async fn a_workspace_that_lost_its_url_or_id_can_be_stopped(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    for (id, mark) in [("no-url", "gitpod/url"), ("no-id", "gitpod/id")] {
        without(&mut story, id, mark).await;
    }
    // A later daemon knows what the pods have.
    let mut story = story.killed().await;
    for id in ["no-url", "no-id"] {
        story.stop(id, StopWorkspacePolicy::Normally).await;
        let stopped = story.until(id, WorkspacePhase::Stopped).await;
        let asked = stopped.conditions.unwrap().stopped_by_request();
        assert_eq!(asked, WorkspaceConditionBool::True);
        cluster.gone::<Pod>(&format!("ws-{id}")).await;
    }
    story.end().await;
}

async fn a_pod_that_lost_the_label_by_which_it_is_found_gets_it_back(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("stray").await;
    edit(
        cluster,
        "ws-stray",
        json!({ "labels": { "gpwsman": null } }),
    )
    .await;
    let marked = |pod: &Pod| {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        labels.get("gpwsman").is_some_and(|value| value == "true")
    };
    cluster.until_pod("ws-stray", marked).await;
    let pods = cluster.api::<Pod>().await;
    pods.delete("ws-stray", &DeleteParams::default())
        .await
        .unwrap();
    story.until("stray", WorkspacePhase::Stopped).await;
    cluster.gone::<Pod>("ws-stray").await;
    let phases = story.updates.phases("stray");
    let ends = phases.iter().filter(|phase| **phase == "STOPPED").count();
    assert_eq!(ends, 1, "{phases:?}");
    story.end().await;
}
