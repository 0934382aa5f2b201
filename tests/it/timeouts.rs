//! Every timeout, seen from outside: nothing happens before its time, then the workspace ends and its status names the timeout.

use jiff::SignedDuration;
use serde_json::json;
use wsman::proto::wsman::*;

use super::support::cluster::Cluster;
use super::support::story::{Story, created, grace_end, headless, pod_name, request_with};
use super::support::world::request;

on_both_clusters! {
    a_workspace_that_stays_pending_times_out
    a_workspace_whose_images_take_too_long_times_out
    a_workspace_that_never_gets_ready_times_out
    a_workspace_lives_no_longer_than_configured
    a_workspace_lives_no_longer_than_its_own_limit
    a_headless_workspace_has_its_time
    a_headless_workspace_can_have_its_own_time
    a_workspace_without_activity_times_out
    activity_moves_the_deadline
    a_workspace_can_have_its_own_timeout
    a_closed_workspace_times_out_sooner
    a_closed_workspace_can_have_its_own_timeout
    a_closed_timeout_of_zero_is_none
    a_workspace_that_is_opened_again_lives_on
    an_interrupted_workspace_that_was_used_times_out
    an_interrupted_workspace_without_activity_times_out
    a_pod_that_never_ends_is_reported_and_given_up
    a_workspace_that_is_to_stop_has_no_other_limit
}

async fn a_workspace_that_stays_pending_times_out(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let stuck = request_with("t", |spec| spec.class = "unschedulable".to_owned());
    story.start(stuck).await;
    // The status says why, in the scheduler's words.
    let pending = story.until_it("t", |s| s.message.contains("no room"));
    let since = created(&pending.await);
    let why = "workspace timed out after initialization (00h30m) took longer than 00h30m";
    story.times_out("t", since, 30, why).await;
    story.end().await;
}

async fn a_workspace_whose_images_take_too_long_times_out(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story
        .start_as(request("t"), json!({ "pull-after": "2h" }))
        .await;
    let creating = story.until("t", WorkspacePhase::Creating).await;
    let pulling = creating.conditions.as_ref().unwrap().pulling_images();
    assert_eq!(pulling, WorkspaceConditionBool::True);
    let why = "workspace timed out after pulling images (01h00m) took longer than 01h00m";
    story.times_out("t", created(&creating), 60, why).await;
    story.end().await;
}

async fn a_workspace_that_never_gets_ready_times_out(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let slow = request_with("t", |spec| spec.class = "never-ready".to_owned());
    story.start(slow).await;
    let initializing = story.until("t", WorkspacePhase::Initializing).await;
    let why = "workspace timed out after startup (01h00m) took longer than 01h00m";
    story.times_out("t", created(&initializing), 60, why).await;
    assert!(!story.updates.phases("t").contains(&"RUNNING"));
    story.end().await;
}

async fn a_workspace_lives_no_longer_than_configured(cluster: &Cluster) {
    let short = |config: &mut serde_json::Value| {
        config["manager"]["timeouts"]["maxLifetime"] = "70m".into();
    };
    let mut story = Story::begin_with(cluster, short).await;
    let since = created(&story.run("t").await);
    // Busy all its life.
    for minutes in [25, 50] {
        story.advance_to(since + SignedDuration::from_mins(minutes));
        story.mark_active("t", false).await;
    }
    story.until_it("t", was_used).await;
    let why = "workspace timed out after maximum lifetime (01h10m) took longer than 01h10m";
    story.times_out("t", since, 70, why).await;
    story.end().await;
}

async fn a_workspace_lives_no_longer_than_its_own_limit(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let short = request_with("t", |spec| spec.maximum_lifetime = "40m".to_owned());
    story.start(short).await;
    let running = story.until("t", WorkspacePhase::Running).await;
    let why = "workspace timed out after maximum lifetime (00h40m) took longer than 00h40m";
    story.times_out("t", created(&running), 40, why).await;
    story.end().await;
}

async fn a_headless_workspace_has_its_time(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.start(headless("t", WorkspaceType::Imagebuild)).await;
    let ready = |status: &WorkspaceStatus| {
        let marks = &status.metadata.as_ref().unwrap().annotations;
        status.phase() == WorkspacePhase::Running && !marks.contains_key("gitpod/never-ready")
    };
    let running = story.until_it("t", ready).await;
    let why =
        "workspace timed out after running the headless workspace (01h00m) took longer than 01h00m";
    story.times_out("t", created(&running), 60, why).await;
    story.end().await;
}

async fn a_headless_workspace_can_have_its_own_time(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let mut patient = headless("t", WorkspaceType::Prebuild);
    patient.spec.as_mut().unwrap().timeout = "3h30m".to_owned();
    story.start(patient).await;
    let running = story.until("t", WorkspacePhase::Running).await;
    let why =
        "workspace timed out after running the headless workspace (03h30m) took longer than 03h30m";
    story.times_out("t", created(&running), 210, why).await;
    story.end().await;
}

async fn a_workspace_without_activity_times_out(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let since = created(&story.run("t").await);
    // Before its first activity the startup timeout applies, not the inactivity timeout.
    let why = "workspace timed out after period of inactivity (01h00m) took longer than 01h00m";
    story.times_out("t", since, 60, why).await;
    story.end().await;
}

async fn activity_moves_the_deadline(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("t").await;
    let first = story.mark_active("t", false).await;
    story.until_it("t", was_used).await;
    story.advance_to(first + SignedDuration::from_mins(25));
    let second = story.mark_active("t", false).await;
    assert!(second > first);
    story.advance_to(first + SignedDuration::from_mins(31));
    story.quiet("t").await;
    let why = "workspace timed out after period of inactivity (00h30m) took longer than 00h30m";
    story.times_out("t", second, 30, why).await;
    story.end().await;
}

async fn a_workspace_can_have_its_own_timeout(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let patient = request_with("t", |spec| spec.timeout = "2h15m".to_owned());
    story.start(patient).await;
    let running = story.until("t", WorkspacePhase::Running).await;
    assert_eq!(running.spec.unwrap().timeout, "2h15m");
    let since = story.mark_active("t", false).await;
    story.until_it("t", was_used).await;
    let why = "workspace timed out after period of inactivity (02h15m) took longer than 02h15m";
    story.times_out("t", since, 135, why).await;
    story.end().await;
}

async fn a_closed_workspace_times_out_sooner(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("t").await;
    let since = story.mark_active("t", true).await;
    story.until_it("t", was_used).await;
    // The classic text has its "after" twice.
    let why = "workspace timed out after after being closed (00h02m) took longer than 00h02m";
    story.times_out("t", since, 2, why).await;
    story.end().await;
}

async fn a_closed_workspace_can_have_its_own_timeout(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let patient = request_with("t", |spec| spec.closed_timeout = "7m".to_owned());
    story.start(patient).await;
    story.until("t", WorkspacePhase::Running).await;
    let since = story.mark_active("t", true).await;
    story.until_it("t", was_used).await;
    let why = "workspace timed out after after being closed (00h07m) took longer than 00h07m";
    story.times_out("t", since, 7, why).await;
    story.end().await;
}

async fn a_closed_timeout_of_zero_is_none(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let open = request_with("t", |spec| spec.closed_timeout = "0".to_owned());
    story.start(open).await;
    story.until("t", WorkspacePhase::Running).await;
    let since = story.mark_active("t", true).await;
    story.until_it("t", was_used).await;
    let why = "workspace timed out after period of inactivity (00h30m) took longer than 00h30m";
    story.times_out("t", since, 30, why).await;
    story.end().await;
}

async fn a_workspace_that_is_opened_again_lives_on(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("t").await;
    let closed = story.mark_active("t", true).await;
    story.until_it("t", was_used).await;
    story.advance_to(closed + SignedDuration::from_secs(90));
    let opened = story.mark_active("t", false).await;
    let pod = story.pod("t").await;
    assert!(
        !pod.metadata
            .annotations
            .unwrap()
            .contains_key("gitpod/closed")
    );
    let why = "workspace timed out after period of inactivity (00h30m) took longer than 00h30m";
    story.times_out("t", opened, 30, why).await;
    story.end().await;
}

async fn an_interrupted_workspace_that_was_used_times_out(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("t").await;
    let since = story.mark_active("t", false).await;
    let interrupted = story.interrupt("t").await;
    assert_eq!(
        interrupted.message,
        "container workspace was terminated unexpectedly - workspace should recover"
    );
    let why = "workspace timed out after workspace interruption (00h05m) took longer than 00h05m";
    story.times_out("t", since, 5, why).await;
    story.end().await;
}

async fn an_interrupted_workspace_without_activity_times_out(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let since = created(&story.run("t").await);
    story.interrupt("t").await;
    let why = "workspace timed out after workspace interruption (00h05m) took longer than 00h05m";
    story.times_out("t", since, 5, why).await;
    story.end().await;
}

async fn a_pod_that_never_ends_is_reported_and_given_up(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("t").await;
    story
        .script("ws-t", json!({ "stuck-terminating": "true" }))
        .await;
    story.stop("t", StopWorkspacePolicy::Normally).await;
    let stopping = story.until("t", WorkspacePhase::Stopping).await;
    assert_eq!(stopping.message, "");
    let over = grace_end(&story.pod("t").await);
    let minute = SignedDuration::from_mins(1);

    // A minute after its grace period it is reported, with its reason and time.
    story.quiet_until("t", over + minute).await;
    story.advance_to(over + minute);
    let reported = story.until("t", WorkspacePhase::Stopping).await;
    let node = &reported.runtime.as_ref().unwrap().node_name;
    assert_eq!(
        reported.message,
        format!(
            "still stopping: grace ended at {over}, but node {node} has not reported the end of the pod"
        )
    );

    // After an hour it is deleted by force.
    story.quiet_until("t", over + minute * 60).await;
    story.advance_to(over + minute * 60);
    let stopped = story.until("t", WorkspacePhase::Stopped).await;
    assert_eq!(
        stopped.message,
        "stopped by force: its pod did not end within 1h0m0s"
    );
    assert_eq!(
        stopped.conditions.unwrap().timeout,
        "workspace timed out after stopping (01h00m) took longer than 01h00m"
    );
    // Its node may still run it, so the pod stays. When it is deleted at last, STOPPED is not sent again.
    assert!(story.pod("t").await.metadata.finalizers.is_none());
    story.quiet("t").await;
    story
        .script("ws-t", json!({ "stuck-terminating": null }))
        .await;
    cluster
        .gone::<k8s_openapi::api::core::v1::Pod>("ws-t")
        .await;
    story.quiet("t").await;
    story.end().await;
}

async fn a_workspace_that_is_to_stop_has_no_other_limit(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let slow = request_with("t", |spec| spec.class = "never-ready".to_owned());
    let pod = pod_name(&slow);
    story.start(slow).await;
    let since = created(&story.until("t", WorkspacePhase::Initializing).await);
    story
        .script(&pod, json!({ "stuck-terminating": "true" }))
        .await;
    story.stop("t", StopWorkspacePolicy::Normally).await;
    story.until("t", WorkspacePhase::Stopping).await;
    story.advance_to(since + SignedDuration::from_mins(60));
    let reported = story.until("t", WorkspacePhase::Stopping).await;
    assert!(reported.message.starts_with("still stopping: "));
    // The timeout of the start is over by now; that of stopping is not.
    story.quiet("t").await;
    story
        .script(&pod, json!({ "stuck-terminating": null }))
        .await;
    assert_eq!(story.ends("t").await.timeout, "");
    story.end().await;
}

/// The first activity is published.
fn was_used(status: &WorkspaceStatus) -> bool {
    let conditions = status.conditions.as_ref().unwrap();
    conditions.first_user_activity.is_some()
}
