//! Stops in every phase and by everyone: callers, kubectl, the eviction API; and a pod that an interrupted deletion
//! left behind.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, EvictParams};
use serde_json::{Value, json};
use wsman::proto::wsman::*;
use wsman_sim::apiserver::faults::Fault;

use super::support::cluster::{self, Cluster};
use super::support::story::{Story, grace_end, headless, pod_name};
use super::support::world::request;

on_both_clusters! {
    a_stop_ends_a_workspace_that_is_pending
    a_stop_ends_a_workspace_that_is_being_created
    a_stop_ends_a_workspace_that_initializes
    a_stop_ends_a_workspace_that_runs
    a_stop_ends_a_workspace_that_is_interrupted
    a_stop_ends_a_headless_workspace
    a_stop_does_not_shorten_the_one_before
    an_abort_after_a_stop_is_published
    a_stop_of_what_is_stopped_does_nothing
    a_drained_node_stops_its_workspaces
    a_pod_without_our_finalizer_is_stopped_once_it_is_deleted
    a_foreign_finalizer_holds_the_pod_but_not_the_workspace
}

const POLICIES: [(StopWorkspacePolicy, &str, i64); 3] = [
    (StopWorkspacePolicy::Normally, "normally", 30),
    (StopWorkspacePolicy::Immediately, "immediately", 1),
    (StopWorkspacePolicy::Abort, "abort", 1),
];

/// Stops a workspace in a phase by each policy. Its pod does not end by itself, so its grace period can be read.
async fn stopped_in(cluster: &Cluster, phase: WorkspacePhase, script: Value) {
    let mut story = Story::begin(cluster).await;
    for (_, id, _) in POLICIES {
        let mut script = script.clone();
        script["stuck-terminating"] = "true".into();
        story.start_as(request(id), script).await;
        match phase {
            WorkspacePhase::Interrupted => {
                story.until(id, WorkspacePhase::Running).await;
                story.interrupt(id).await;
            }
            phase => drop(story.until(id, phase).await),
        }
    }
    for (policy, id, seconds) in POLICIES {
        story.stop(id, policy).await;
        let stopping = story.until(id, WorkspacePhase::Stopping).await;
        let pod = story.pod(id).await;
        let grace = pod.metadata.deletion_grace_period_seconds;
        assert_eq!(grace, Some(seconds), "{id}");
        check(&stopping, policy);
        story
            .script(&format!("ws-{id}"), json!({ "stuck-terminating": null }))
            .await;
    }
    for (policy, id, _) in POLICIES {
        let seen = &story.updates.seen;
        let ended = |s: &&WorkspaceStatus| s.id == id && s.phase() == WorkspacePhase::Stopped;
        let stopped = match seen.iter().find(ended) {
            Some(stopped) => stopped.clone(),
            None => story.until(id, WorkspacePhase::Stopped).await,
        };
        check(&stopped, policy);
        cluster.gone::<Pod>(&format!("ws-{id}")).await;
        let phases = story.updates.phases(id);
        let after = phases.iter().rposition(|p| *p == phase.as_str_name());
        let after = &phases[after.unwrap() + 1..];
        assert_eq!(after, ["STOPPING", "STOPPED"], "{id}: {phases:?}");
    }
    story.end().await;
}

/// The status of a workspace that was stopped by request.
fn check(status: &WorkspaceStatus, policy: StopWorkspacePolicy) {
    let conditions = status.conditions.as_ref().unwrap();
    let aborted = match policy {
        StopWorkspacePolicy::Abort => WorkspaceConditionBool::True,
        _ => WorkspaceConditionBool::False,
    };
    assert_eq!(conditions.aborted(), aborted);
    let asked = conditions.stopped_by_request();
    assert_eq!(asked, WorkspaceConditionBool::True);
    assert_eq!(conditions.failed, "");
    assert_eq!(conditions.timeout, "");
}

/// A pod that was never bound has no containers: it is deleted at once, whatever the policy.
async fn a_stop_ends_a_workspace_that_is_pending(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    for (policy, id, _) in POLICIES {
        let script = json!({ "schedule-after": "1h" });
        story.start_as(request(id), script).await;
        story.until(id, WorkspacePhase::Pending).await;
        story.stop(id, policy).await;
        let stopped = story.until(id, WorkspacePhase::Stopped).await;
        check(&stopped, policy);
        cluster.gone::<Pod>(&format!("ws-{id}")).await;
        assert_eq!(stopped.runtime.unwrap().node_name, "");
    }
    story.end().await;
}

async fn a_stop_ends_a_workspace_that_is_being_created(cluster: &Cluster) {
    let script = json!({ "pull-after": "1h" });
    stopped_in(cluster, WorkspacePhase::Creating, script).await;
}

async fn a_stop_ends_a_workspace_that_initializes(cluster: &Cluster) {
    let script = json!({ "never-ready": "true" });
    stopped_in(cluster, WorkspacePhase::Initializing, script).await;
}

async fn a_stop_ends_a_workspace_that_runs(cluster: &Cluster) {
    stopped_in(cluster, WorkspacePhase::Running, json!({})).await;
}

async fn a_stop_ends_a_workspace_that_is_interrupted(cluster: &Cluster) {
    stopped_in(cluster, WorkspacePhase::Interrupted, json!({})).await;
}

async fn a_stop_ends_a_headless_workspace(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    for (id, kind) in [
        ("prebuild", WorkspaceType::Prebuild),
        ("image", WorkspaceType::Imagebuild),
    ] {
        let request = headless(id, kind);
        let pod = pod_name(&request);
        story.start(request).await;
        story.until(id, WorkspacePhase::Running).await;
        story.stop(id, StopWorkspacePolicy::Normally).await;
        let stopped = story.until(id, WorkspacePhase::Stopped).await;
        check(&stopped, StopWorkspacePolicy::Normally);
        cluster.gone::<Pod>(&pod).await;
    }
    story.end().await;
}

async fn a_stop_does_not_shorten_the_one_before(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("twice").await;
    story
        .script("ws-twice", json!({ "stuck-terminating": "true" }))
        .await;
    story.stop("twice", StopWorkspacePolicy::Normally).await;
    story.until("twice", WorkspacePhase::Stopping).await;
    let end = grace_end(&story.pod("twice").await);
    story.stop("twice", StopWorkspacePolicy::Immediately).await;
    story.stop("twice", StopWorkspacePolicy::Normally).await;
    story.quiet("twice").await;
    let pod = story.pod("twice").await;
    assert_eq!(grace_end(&pod), end);
    assert_eq!(pod.metadata.deletion_grace_period_seconds, Some(30));
    story
        .script("ws-twice", json!({ "stuck-terminating": null }))
        .await;
    let stopped = story.until("twice", WorkspacePhase::Stopped).await;
    check(&stopped, StopWorkspacePolicy::Normally);
    story.end().await;
}

async fn an_abort_after_a_stop_is_published(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("late").await;
    story
        .script("ws-late", json!({ "stuck-terminating": "true" }))
        .await;
    story.stop("late", StopWorkspacePolicy::Normally).await;
    story.until("late", WorkspacePhase::Stopping).await;
    story.stop("late", StopWorkspacePolicy::Abort).await;
    let aborted = story.until("late", WorkspacePhase::Stopping).await;
    check(&aborted, StopWorkspacePolicy::Abort);
    story
        .script("ws-late", json!({ "stuck-terminating": null }))
        .await;
    let stopped = story.until("late", WorkspacePhase::Stopped).await;
    check(&stopped, StopWorkspacePolicy::Abort);
    story.end().await;
}

async fn a_stop_of_what_is_stopped_does_nothing(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("over").await;
    story.stop("over", StopWorkspacePolicy::Normally).await;
    story.until("over", WorkspacePhase::Stopped).await;
    // Its pod may exist or not.
    for (policy, ..) in POLICIES {
        story.stop("over", policy).await;
    }
    cluster.gone::<Pod>("ws-over").await;
    for (policy, ..) in POLICIES {
        story.stop("over", policy).await;
    }
    story.quiet("over").await;
    story.end().await;
}

/// As in `kubectl drain`.
async fn a_drained_node_stops_its_workspaces(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("drained").await;
    let pods = cluster.api::<Pod>().await;
    story
        .script("ws-drained", json!({ "stuck-terminating": "true" }))
        .await;
    pods.evict("ws-drained", &EvictParams::default())
        .await
        .unwrap();
    story.until("drained", WorkspacePhase::Stopping).await;
    // The pod's own grace period, not that of a stop.
    let pod = story.pod("drained").await;
    assert_eq!(pod.metadata.deletion_grace_period_seconds, Some(180));
    story
        .script("ws-drained", json!({ "stuck-terminating": null }))
        .await;
    let conditions = story.ends("drained").await;
    let asked = conditions.stopped_by_request();
    assert_eq!(asked, WorkspaceConditionBool::False);
    assert_eq!(conditions.failed, "");
    cluster.gone::<Pod>("ws-drained").await;
    story.end().await;
}

/// Workspaces of classic managers may have none yet; then their deletion is their end.
async fn a_pod_without_our_finalizer_is_stopped_once_it_is_deleted(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("unheld").await;
    cluster.release("ws-unheld").await;
    story.stop("unheld", StopWorkspacePolicy::Normally).await;
    story.until("unheld", WorkspacePhase::Stopped).await;
    cluster.gone::<Pod>("ws-unheld").await;
    story.quiet("unheld").await;
    story.end().await;
}

/// Another finalizer may keep the pod for any time, and the id with it.
async fn a_foreign_finalizer_holds_the_pod_but_not_the_workspace(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("held").await;
    let patch =
        json!({ "metadata": { "finalizers": ["gitpod.io/finalizer", "test.wsman.dev/hold"] } });
    let patch = kube::api::Patch::Merge(patch);
    let pods = cluster.api::<Pod>().await;
    pods.patch("ws-held", &Default::default(), &patch)
        .await
        .unwrap();
    story.stop("held", StopWorkspacePolicy::Normally).await;
    story.until("held", WorkspacePhase::Stopped).await;
    let described = story.world.describe("held").await.unwrap();
    assert_eq!(described.phase(), WorkspacePhase::Stopped);
    story.quiet("held").await;
    let pod = story.pod("held").await;
    assert_eq!(pod.metadata.finalizers.unwrap(), ["test.wsman.dev/hold"]);
    cluster.release("ws-held").await;
    cluster.gone::<Pod>("ws-held").await;
    story.quiet("held").await;
    story.end().await;
}

/// The API server deletes in two steps. Nothing else would ever clean up after an interruption between them.
#[tokio::test]
async fn a_pod_that_was_deleted_by_half_is_deleted_again_once() {
    let cluster = &cluster::embedded().await;
    let mut story = Story::begin(cluster).await;
    let waiting = json!({ "schedule-after": "1h" });
    story.start_as(request("half"), waiting).await;
    cluster.release("ws-half").await;
    let faults = cluster.server.as_ref().unwrap().faults();
    faults.add("DELETE", "/pods/ws-half", 1, Fault::CutHalfway);
    let pods = cluster.api::<Pod>().await;
    pods.delete("ws-half", &DeleteParams::default())
        .await
        .unwrap_err();
    story.until("half", WorkspacePhase::Stopped).await;
    let due = grace_end(&story.pod("half").await) + SignedDuration::from_mins(1);
    faults.record();
    story.quiet_until("half", due).await;
    story.advance_to(due);
    cluster.gone::<Pod>("ws-half").await;
    story.quiet("half").await;
    let deletes = faults.requests();
    let deletes = deletes
        .iter()
        .filter(|r| r.method == "DELETE" && r.path.ends_with("/pods/ws-half"));
    assert_eq!(deletes.count(), 1);
    story.end().await;
}
