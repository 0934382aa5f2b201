//! Nodes that disappear, do not report or are declared out of service, under workspaces that run and under those that
//! stop.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use wsman::proto::wsman::*;

use super::support::cluster::Cluster;
use super::support::story::{Story, node};
use super::support::world::TIMEOUT;

on_both_clusters! {
    a_workspace_whose_node_is_removed_fails
    a_workspace_whose_node_is_silent_fails_after_its_toleration
    a_workspace_whose_node_comes_back_lives_on
    a_workspace_that_stops_on_a_removed_node_ends
    a_workspace_that_stops_on_a_dead_node_ends
}

const VANISHED: &str = "workspace node disappeared before backup was taken";

async fn a_workspace_whose_node_is_removed_fails(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let running = story.run("lost").await;
    let nodes = story.cluster.nodes().await;
    let name = node(&running);
    nodes.delete(&name, &DeleteParams::default()).await.unwrap();
    let stopped = story.until("lost", WorkspacePhase::Stopped).await;
    assert_eq!(stopped.message, "stopped by force: its node is gone");
    assert_eq!(stopped.conditions.unwrap().failed, VANISHED);
    // No kubelet ever reported that the pod ended.
    cluster.gone::<Pod>("ws-lost").await;
    story.quiet("lost").await;
    story.end().await;
}

async fn a_workspace_whose_node_is_silent_fails_after_its_toleration(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let running = story.run("silent").await;
    story.mark_active("silent", false).await;
    let since = silence(&story, &node(&running)).await;
    // The pod tolerates it for five minutes.
    let due = since + SignedDuration::from_mins(5);
    story
        .until_it("silent", |s| {
            s.conditions.as_ref().unwrap().first_user_activity.is_some()
        })
        .await;
    story.quiet_until("silent", due).await;
    let running = story.world.describe("silent").await.unwrap();
    assert_eq!(running.phase(), WorkspacePhase::Running);
    story.advance_to(due);
    let stopped = story.until("silent", WorkspacePhase::Stopped).await;
    assert_eq!(stopped.message, "stopped by force: its node is lost");
    assert_eq!(stopped.conditions.unwrap().failed, VANISHED);
    cluster.gone::<Pod>("ws-silent").await;
    story.end().await;
}

async fn a_workspace_whose_node_comes_back_lives_on(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let name = node(&story.run("back").await);
    let since = silence(&story, &name).await;
    let other = node(&story.run("witness").await);
    assert_ne!(name, other);
    story.advance_to(since + SignedDuration::from_mins(4));
    let back = json!({ "metadata": { "annotations": { "sim.wsman.dev/lost": null } } });
    let nodes = story.cluster.nodes().await;
    patch(&nodes, &name, back).await;
    until(&nodes, &name, |node| unreachable(node).is_none()).await;
    // Nodes are watched in order: once the daemon knows of the end of this one, it knows that the first is back.
    let end = DeleteParams::default();
    nodes.delete(&other, &end).await.unwrap();
    assert_eq!(story.ends("witness").await.failed, VANISHED);
    story.advance_to(since + SignedDuration::from_mins(20));
    story.quiet("back").await;
    let described = story.world.describe("back").await.unwrap();
    assert_eq!(described.phase(), WorkspacePhase::Running);
    story.end().await;
}

async fn a_workspace_that_stops_on_a_removed_node_ends(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let running = story.run("stuck").await;
    story
        .script("ws-stuck", json!({ "stuck-terminating": "true" }))
        .await;
    story.stop("stuck", StopWorkspacePolicy::Normally).await;
    story.until("stuck", WorkspacePhase::Stopping).await;
    story.quiet("stuck").await;
    let nodes = story.cluster.nodes().await;
    let name = node(&running);
    nodes.delete(&name, &DeleteParams::default()).await.unwrap();
    let stopped = story.until("stuck", WorkspacePhase::Stopped).await;
    assert_eq!(stopped.message, "stopped by force: its node is gone");
    // It had a stop request: that its node is gone too is no failure.
    assert_eq!(stopped.conditions.unwrap().failed, "");
    cluster.gone::<Pod>("ws-stuck").await;
    story.quiet("stuck").await;
    story.end().await;
}

/// Every step of the escalation, each once: the grace period ends, it is reported, the node is declared out of service.
async fn a_workspace_that_stops_on_a_dead_node_ends(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let running = story.run("dead").await;
    silence(&story, &node(&running)).await;
    story.stop("dead", StopWorkspacePolicy::Immediately).await;
    story.until("dead", WorkspacePhase::Stopping).await;
    story.advance_to(Timestamp::now() + SignedDuration::from_secs(90));
    let reported = story.until("dead", WorkspacePhase::Stopping).await;
    assert!(
        reported
            .message
            .starts_with("still stopping: grace ended at ")
    );
    story.quiet("dead").await;

    let nodes = story.cluster.nodes().await;
    let name = node(&running);
    let known = nodes.get(&name).await.unwrap();
    let mut taints = serde_json::to_value(known.spec.unwrap().taints.unwrap()).unwrap();
    let dead = json!({ "key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute" });
    taints.as_array_mut().unwrap().push(dead);
    patch(&nodes, &name, json!({ "spec": { "taints": taints } })).await;
    let stopped = story.until("dead", WorkspacePhase::Stopped).await;
    assert_eq!(stopped.message, "stopped by force: its node is lost");
    assert_eq!(stopped.conditions.unwrap().failed, "");
    cluster.gone::<Pod>("ws-dead").await;
    story.quiet("dead").await;
    story.end().await;
}

/// Removes the kubelet of a node, and returns since when the control plane knows.
async fn silence(story: &Story<'_>, name: &str) -> Timestamp {
    let nodes = story.cluster.nodes().await;
    let lost = json!({ "metadata": { "annotations": { "sim.wsman.dev/lost": "true" } } });
    patch(&nodes, name, lost).await;
    let tainted = until(&nodes, name, |node| unreachable(node).is_some()).await;
    unreachable(&tainted).unwrap()
}

fn unreachable(node: &Node) -> Option<Timestamp> {
    let taints = node.spec.as_ref()?.taints.as_ref()?;
    let taint = taints.iter().find(|taint| {
        taint.key == "node.kubernetes.io/unreachable" && taint.effect == "NoExecute"
    })?;
    Some(taint.time_added.as_ref()?.0)
}

async fn patch(nodes: &Api<Node>, name: &str, patch: Value) {
    nodes
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

/// Waits until a node matches.
async fn until(nodes: &Api<Node>, name: &str, holds: impl Fn(&Node) -> bool) -> Node {
    let found = kube::runtime::wait::await_condition(nodes.clone(), name, |node: Option<&Node>| {
        node.is_some_and(&holds)
    });
    let found = tokio::time::timeout(TIMEOUT, found).await;
    found.expect("the node changes").unwrap().unwrap()
}
