//! A daemon that dies in the phases in which nothing moves by itself, or during something that it does not see: the
//! next one ends what must end, once, and keeps what lives. The kills of whole processes are in `processes`.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use wsman::proto::wsman::*;

use super::support::cluster::Cluster;
use super::support::story::{Story, created, grace_end, headless, node, request_with};
use super::support::world::request;

on_both_clusters! {
    a_stop_without_a_daemon_is_carried_out_by_the_next
    a_deletion_without_a_daemon_is_finished_by_the_next
    an_interrupted_workspace_keeps_its_limit
    a_limit_that_was_passed_meanwhile_ends_the_workspace
    a_timeout_that_was_only_marked_ends_the_workspace
    a_failure_without_a_daemon_is_published_by_the_next
    a_completion_without_a_daemon_is_finished_by_the_next
    a_node_that_vanished_meanwhile_fails_its_workspace
    a_stuck_pod_is_reported_once
    a_forced_stop_is_not_published_again
}

/// The mark is there, as the call writes it, but the daemon was killed before it acted on it.
async fn a_stop_without_a_daemon_is_carried_out_by_the_next(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let running = WorkspacePhase::Running;
    for (id, phase, script) in [
        (
            "pending",
            WorkspacePhase::Pending,
            json!({ "schedule-after": "1h" }),
        ),
        (
            "creating",
            WorkspacePhase::Creating,
            json!({ "pull-after": "1h" }),
        ),
        (
            "initializing",
            WorkspacePhase::Initializing,
            json!({ "never-ready": "true" }),
        ),
        ("running", running, json!({})),
        ("interrupted", running, json!({})),
    ] {
        story.start_as(request(id), script).await;
        story.until(id, phase).await;
    }
    story.interrupt("interrupted").await;
    let asleep = story.asleep().await;
    let ids = [
        "pending",
        "creating",
        "initializing",
        "running",
        "interrupted",
    ];
    for id in ids {
        let pod = format!("ws-{id}");
        hold(cluster, &pod).await;
        let asked = json!({ "gitpod.io/stoppedByRequest": "30s" });
        cluster.annotate(&pod, asked).await;
    }
    let mut story = asleep.awake().await;
    for id in ids {
        let pod = format!("ws-{id}");
        cluster.until_pod(&pod, is_let_go).await;
        let status = story.world.describe(id).await.unwrap();
        let conditions = status.conditions.as_ref().unwrap();
        assert_eq!(status.phase(), WorkspacePhase::Stopped, "{id}");
        let asked = conditions.stopped_by_request();
        assert_eq!(asked, WorkspaceConditionBool::True, "{id}");
        assert_eq!(conditions.failed, "", "{id}");
        cluster.release(&pod).await;
        cluster.gone::<Pod>(&pod).await;
    }
    // Nothing may follow a STOPPED.
    story.pause().await;
    story.end().await;
}

async fn a_deletion_without_a_daemon_is_finished_by_the_next(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("deleted").await;
    let stuck = json!({ "stuck-terminating": "true" });
    cluster.script("ws-deleted", stuck).await;
    let asleep = story.asleep().await;
    let pods = cluster.api::<Pod>().await;
    let params = DeleteParams::default().grace_period(5);
    pods.delete("ws-deleted", &params).await.unwrap();
    let mut story = asleep.awake().await;
    let stopping = story.world.describe("deleted").await.unwrap();
    assert_eq!(stopping.phase(), WorkspacePhase::Stopping);
    let moves = json!({ "stuck-terminating": null });
    cluster.script("ws-deleted", moves).await;
    let conditions = story.ends("deleted").await;
    let asked = conditions.stopped_by_request();
    assert_eq!(asked, WorkspaceConditionBool::False);
    cluster.gone::<Pod>("ws-deleted").await;
    story.quiet("deleted").await;
    story.end().await;
}

async fn an_interrupted_workspace_keeps_its_limit(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let since = created(&story.run("t").await);
    story.interrupt("t").await;
    let mut story = story.killed().await;
    let why = "workspace timed out after workspace interruption (00h05m) took longer than 00h05m";
    story.times_out("t", since, 5, why).await;
    story.end().await;
}

async fn a_limit_that_was_passed_meanwhile_ends_the_workspace(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let short = request_with("t", |spec| spec.maximum_lifetime = "40m".to_owned());
    story.start(short).await;
    let since = created(&story.until("t", WorkspacePhase::Running).await);
    let stuck = json!({ "stuck-terminating": "true" });
    cluster.script("ws-t", stuck).await;
    let mut asleep = story.asleep().await;
    asleep.pass(since + SignedDuration::from_mins(55));
    let mut story = asleep.awake().await;
    // It may be STOPPING before the stream is open, but not STOPPED.
    let moves = json!({ "stuck-terminating": null });
    cluster.script("ws-t", moves).await;
    let why = "workspace timed out after maximum lifetime (00h55m) took longer than 00h40m";
    assert_eq!(story.ends("t").await.timeout, why);
    story.end().await;
}

async fn a_timeout_that_was_only_marked_ends_the_workspace(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("t").await;
    let asleep = story.asleep().await;
    let why = "workspace timed out after a long day";
    let marks = json!({ "gitpod/timedout": why, "sim.wsman.dev/stuck-terminating": "true" });
    cluster.annotate("ws-t", marks).await;
    let mut story = asleep.awake().await;
    let deleting = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    cluster.until_pod("ws-t", deleting).await;
    let moves = json!({ "stuck-terminating": null });
    cluster.script("ws-t", moves).await;
    assert_eq!(story.ends("t").await.timeout, why);
    cluster.gone::<Pod>("ws-t").await;
    story.end().await;
}

async fn a_failure_without_a_daemon_is_published_by_the_next(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("failed").await;
    hold(cluster, "ws-failed").await;
    let asleep = story.asleep().await;
    let end = json!({
        "exit-after": "0s", "exit-code": "1", "termination-message": "gave up",
    });
    cluster.script("ws-failed", end).await;
    cluster
        .until_pod("ws-failed", |pod| phase(pod) == "Failed")
        .await;
    let mut story = asleep.awake().await;
    cluster.until_pod("ws-failed", is_let_go).await;
    let status = story.world.describe("failed").await.unwrap();
    assert_eq!(status.phase(), WorkspacePhase::Stopped);
    assert_eq!(status.conditions.unwrap().failed, "gave up");
    cluster.release("ws-failed").await;
    cluster.gone::<Pod>("ws-failed").await;
    // Nothing may follow a STOPPED.
    story.pause().await;
    story.end().await;
}

async fn a_completion_without_a_daemon_is_finished_by_the_next(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.start(headless("done", WorkspaceType::Prebuild)).await;
    story.until("done", WorkspacePhase::Running).await;
    hold(cluster, "prebuild-done").await;
    let asleep = story.asleep().await;
    let end = json!({ "exit-after": "0s" });
    cluster.script("prebuild-done", end).await;
    cluster
        .until_pod("prebuild-done", |pod| phase(pod) == "Succeeded")
        .await;
    let mut story = asleep.awake().await;
    cluster.until_pod("prebuild-done", is_let_go).await;
    let status = story.world.describe("done").await.unwrap();
    assert_eq!(status.phase(), WorkspacePhase::Stopped);
    assert_eq!(status.conditions.unwrap().failed, "");
    cluster.release("prebuild-done").await;
    cluster.gone::<Pod>("prebuild-done").await;
    // Nothing may follow a STOPPED.
    story.pause().await;
    story.end().await;
}

async fn a_node_that_vanished_meanwhile_fails_its_workspace(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let running = story.run("lost").await;
    hold(cluster, "ws-lost").await;
    let asleep = story.asleep().await;
    let nodes = cluster.nodes().await;
    let name = node(&running);
    nodes.delete(&name, &DeleteParams::default()).await.unwrap();
    let mut story = asleep.awake().await;
    cluster.until_pod("ws-lost", is_let_go).await;
    let status = story.world.describe("lost").await.unwrap();
    assert_eq!(status.phase(), WorkspacePhase::Stopped);
    assert_eq!(status.message, "stopped by force: its node is gone");
    let why = "workspace node disappeared before backup was taken";
    assert_eq!(status.conditions.unwrap().failed, why);
    cluster.release("ws-lost").await;
    cluster.gone::<Pod>("ws-lost").await;
    // Nothing may follow a STOPPED.
    story.pause().await;
    story.end().await;
}

async fn a_stuck_pod_is_reported_once(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("stuck").await;
    let stuck = json!({ "stuck-terminating": "true" });
    cluster.script("ws-stuck", stuck).await;
    story.stop("stuck", StopWorkspacePolicy::Normally).await;
    story.until("stuck", WorkspacePhase::Stopping).await;
    let over = grace_end(&story.pod("stuck").await);
    story.advance_to(over + SignedDuration::from_mins(1));
    let reported = story.until("stuck", WorkspacePhase::Stopping).await;
    let mut story = story.killed().await;
    // A second write would have another version.
    story.quiet("stuck").await;
    let status = story.world.describe("stuck").await.unwrap();
    assert_eq!(status, reported);
    // Its timeout did not start again.
    story.advance_to(over + SignedDuration::from_mins(60));
    let stopped = story.until("stuck", WorkspacePhase::Stopped).await;
    let why = "stopped by force: its pod did not end within 1h0m0s";
    assert_eq!(stopped.message, why);
    story.end().await;
}

async fn a_forced_stop_is_not_published_again(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("over").await;
    let stuck = json!({ "stuck-terminating": "true" });
    cluster.script("ws-over", stuck).await;
    story.stop("over", StopWorkspacePolicy::Normally).await;
    story.until("over", WorkspacePhase::Stopping).await;
    let over = grace_end(&story.pod("over").await);
    story.advance_to(over + SignedDuration::from_mins(60));
    let stopped = story.until("over", WorkspacePhase::Stopped).await;
    let mut story = story.killed().await;
    // The pod is still there: the new daemon lists it, and leaves it alone.
    story.quiet("over").await;
    let status = story.world.describe("over").await.unwrap();
    assert_eq!(status, stopped);
    let moves = json!({ "stuck-terminating": null });
    cluster.script("ws-over", moves).await;
    cluster.gone::<Pod>("ws-over").await;
    story.end().await;
}

/// Keeps a pod in the API after its end, so that its last status can be read.
async fn hold(cluster: &Cluster, pod: &str) {
    let finalizers = ["gitpod.io/finalizer", "test.wsman.dev/hold"];
    let patch = json!({ "metadata": { "finalizers": finalizers } });
    let pods = cluster.api::<Pod>().await;
    pods.patch(pod, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref().unwrap();
    status.phase.as_deref().unwrap_or_default()
}

/// The daemon is done with a pod.
fn is_let_go(pod: &Pod) -> bool {
    let finalizers = pod.metadata.finalizers.as_deref().unwrap_or_default();
    finalizers == ["test.wsman.dev/hold"]
}
