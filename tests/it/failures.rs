//! Every failure that a kubelet, a node or a person can cause: what the stream and Describe return, and that the first
//! failure stays.

use serde_json::{Value, json};
use wsman::proto::wsman::*;

use super::support::cluster::Cluster;
use super::support::story::{Story, headless, pod_name, request_with};
use super::support::world::request;

on_both_clusters! {
    a_container_that_ends_badly_fails_its_workspace
    a_container_that_ends_well_stops_its_workspace
    the_message_of_a_headless_task_is_published
    an_image_that_cannot_be_pulled_fails_the_start
    a_volume_that_cannot_be_mounted_fails_the_start
    a_mount_that_will_be_tried_again_is_no_failure
    an_evicted_pod_fails_its_workspace
    a_pod_that_is_refused_every_time_fails_its_workspace
    a_failure_set_by_hand_fails_the_workspace
    the_first_failure_stays
    a_failure_while_stopping_is_none
    a_failed_mount_before_the_start_does_not_end_what_runs
}

/// A workspace, what happens to its container, and the expected texts.
struct Row {
    id: &'static str,
    kind: WorkspaceType,
    script: Value,
    failed: &'static str,
    task_failed: &'static str,
}

fn row(id: &'static str, script: Value, failed: &'static str) -> Row {
    Row {
        id,
        kind: WorkspaceType::Regular,
        script,
        failed,
        task_failed: "",
    }
}

/// Runs all rows side by side to their ends.
async fn published<'a>(cluster: &'a Cluster, rows: &[Row]) -> Story<'a> {
    let mut story = Story::begin(cluster).await;
    for row in rows {
        let mut script = row.script.clone();
        // Long enough to be seen running.
        script["exit-after"] = "400ms".into();
        let start = story.start_as(headless(row.id, row.kind), script);
        start.await;
    }
    let mut left = rows.len();
    while left > 0 {
        let status = story.updates.next().await.expect("the stream goes on");
        left -= usize::from(status.phase() == WorkspacePhase::Stopped);
    }
    for row in rows {
        let (id, seen) = (row.id, &story.updates.seen);
        let last = seen.iter().rfind(|status| status.id == id).unwrap();
        let conditions = last.conditions.clone().unwrap();
        assert_eq!(conditions.failed, row.failed, "{id}");
        assert_eq!(conditions.headless_task_failed, row.task_failed, "{id}");
        assert_eq!(conditions.timeout, "", "{id}");
        let asked = conditions.stopped_by_request();
        assert_eq!(asked, WorkspaceConditionBool::False, "{id}");
    }
    stays_failed(&story);
    story
}

/// A published failure keeps its text for ever.
fn stays_failed(story: &Story<'_>) {
    let mut first = std::collections::HashMap::new();
    for status in &story.updates.seen {
        let failed = status.conditions.as_ref().unwrap().failed.as_str();
        let known = *first.entry(status.id.as_str()).or_insert(failed);
        if known.is_empty() {
            first.insert(&status.id, failed);
        } else {
            assert_eq!(known, failed, "{status:?}");
        }
    }
}

async fn a_container_that_ends_badly_fails_its_workspace(cluster: &Cluster) {
    let nameless = "workspace pod failed without giving a reason";
    let rows = [
        // F5: the termination log; of JSON lines the last one with a message.
        row(
            "f5-plain",
            json!({ "exit-code": "1", "termination-message": "no space left" }),
            "no space left",
        ),
        row(
            "f5-json",
            json!({
                "exit-code": "1",
                "termination-message":
                    "{\"message\":\"starting\"}\n{\"message\":\"cannot start\",\"error\":\"port taken\"}\nnoise\n",
            }),
            "cannot start: port taken",
        ),
        row(
            "f5-killed",
            json!({ "exit-code": "137", "termination-message": "killed" }),
            "killed",
        ),
        // F6
        row(
            "f6",
            json!({ "exit-code": "3" }),
            "container workspace ran with an error: exit code 3",
        ),
        row(
            "f6-255",
            json!({ "exit-code": "255" }),
            "container workspace ran with an error: exit code 255",
        ),
        // F7: killed for an unknown reason.
        row(
            "f7",
            json!({ "exit-code": "137" }),
            "container workspace was killed: exit code 137",
        ),
        // F4: the kubelet of a healthy node lost track of the container.
        row(
            "f4",
            json!({ "exit-reason": "ContainerStatusUnknown" }),
            nameless,
        ),
        // F9
        row(
            "f9",
            json!({ "exit-reason": "OOMKilled" }),
            "workspace container workspace terminated for an unknown reason: (OOMKilled) ",
        ),
        row(
            "f9-code",
            json!({ "exit-reason": "ContainerCannotRun", "exit-code": "128" }),
            "workspace container workspace terminated for an unknown reason: (ContainerCannotRun) ",
        ),
        row(
            "f9-255",
            json!({ "exit-reason": "Unknown", "exit-code": "255" }),
            nameless,
        ),
    ];
    let story = published(cluster, &rows).await;
    for row in &rows {
        let phases = story.updates.phases(row.id);
        assert_eq!(phases.last(), Some(&"STOPPED"), "{}", row.id);
        assert!(phases.contains(&"STOPPING"), "{}: {phases:?}", row.id);
    }
    story.end().await;
}

async fn a_container_that_ends_well_stops_its_workspace(cluster: &Cluster) {
    // F8
    let rows = [
        row("f8", json!({}), ""),
        row("f8-said", json!({ "termination-message": "bye" }), ""),
        Row {
            kind: WorkspaceType::Imagebuild,
            ..row("f8-image", json!({}), "")
        },
    ];
    let story = published(cluster, &rows).await;
    let ended_with = |id: &str, message: &str| {
        let mut seen = story.updates.seen.iter().filter(|status| status.id == id);
        seen.any(|s| s.phase() == WorkspacePhase::Stopping && s.message == message)
    };
    assert!(ended_with("f8", "workspace is stopping"));
    assert!(ended_with("f8-image", "headless workspace is stopping"));
    story.end().await;
}

async fn the_message_of_a_headless_task_is_published(cluster: &Cluster) {
    let prebuild = |id, script, failed, task_failed| Row {
        kind: WorkspaceType::Prebuild,
        task_failed,
        ..row(id, script, failed)
    };
    let rows = [
        prebuild("p-done", json!({}), "", ""),
        // A task that failed completes the workspace, with its reason.
        prebuild(
            "p-task",
            json!({ "termination-message": "make: *** [all] Error 2" }),
            "",
            "make: *** [all] Error 2",
        ),
        prebuild(
            "p-failed",
            json!({ "exit-code": "2", "termination-message": "out of luck" }),
            "out of luck",
            "out of luck",
        ),
        prebuild(
            "p-code",
            json!({ "exit-code": "2" }),
            "container workspace ran with an error: exit code 2",
            "",
        ),
    ];
    published(cluster, &rows).await.end().await;
}

async fn an_image_that_cannot_be_pulled_fails_the_start(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let failing = request_with("f3", |spec| spec.class = "image-pull-error".to_owned());
    story.start(failing).await;
    let failed = story.until("f3", WorkspacePhase::Creating).await;
    let failed = match failed.conditions.unwrap().failed {
        // Seen before the first attempt.
        none if none.is_empty() => {
            let creating = story.until("f3", WorkspacePhase::Creating).await;
            creating.conditions.unwrap().failed
        }
        failed => failed,
    };
    assert_eq!(failed, "cannot pull image: no such image");
    assert_eq!(story.ends("f3").await.failed, failed);
    stays_failed(&story);
    story.end().await;
}

async fn a_volume_that_cannot_be_mounted_fails_the_start(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    // F12: only events show it. The first attempt may fail for temporary reasons.
    let why = "MountVolume.SetUp failed for volume \"tools\" : configmap \"tools\" not found";
    let script = json!({ "failed-mount": why });
    story.start_as(request("f12"), script).await;
    story.until("f12", WorkspacePhase::Creating).await;
    event(cluster, "ws-f12", "FailedMount").await;
    story.quiet("f12").await;
    let waiting = story.world.describe("f12").await.unwrap();
    assert_eq!(waiting.conditions.unwrap().failed, "");
    let message = format!("containers are being created: FailedMount: {why}");
    assert_eq!(waiting.message, message);
    warn(cluster, "ws-f12", "FailedMount", why, 3).await;
    assert_eq!(story.ends("f12").await.failed, why);
    assert!(!story.updates.phases("f12").contains(&"RUNNING"));
    stays_failed(&story);
    story.end().await;
}

async fn a_mount_that_will_be_tried_again_is_no_failure(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    // F10 and F11
    for (id, why) in [
        (
            "f10",
            "MountVolume.MountDevice failed for volume \"pvc-1\" : rpc error",
        ),
        (
            "f11",
            "Unable to attach or mount volumes: unmounted volumes=[vol-this-workspace]",
        ),
    ] {
        let script = json!({ "failed-mount": why });
        story.start_as(request(id), script).await;
        story.until(id, WorkspacePhase::Creating).await;
        event(cluster, &format!("ws-{id}"), "FailedMount").await;
        story.quiet(id).await;
        story
            .script(&format!("ws-{id}"), json!({ "failed-mount": null }))
            .await;
        let running = story.until(id, WorkspacePhase::Running).await;
        assert_eq!(running.conditions.unwrap().failed, "");
    }
    story.end().await;
}

async fn an_evicted_pod_fails_its_workspace(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("f2").await;
    story.script("ws-f2", json!({ "evict-after": "0s" })).await;
    let failed = story.ends("f2").await.failed;
    let why = "Evicted: The node was low on resource: memory.";
    assert!(failed.starts_with(why), "{failed}");
    stays_failed(&story);
    story.end().await;
}

async fn a_pod_that_is_refused_every_time_fails_its_workspace(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    // Whatever reason the kubelet gives: another node may accept it.
    let script = json!({ "reject": "UnexpectedAdmissionError" });
    story.start_as(request("f2"), script).await;
    assert_eq!(
        story.ends("f2").await.failed,
        "Pod reached maximum recreations 3, failing; \
         UnexpectedAdmissionError: Pod was rejected: the simulation was asked to refuse it"
    );
    stays_failed(&story);
    story.end().await;
}

async fn a_failure_set_by_hand_fails_the_workspace(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("f1").await;
    // The pod takes its time to end, so that there is something to describe.
    story
        .script("ws-f1", json!({ "stuck-terminating": "true" }))
        .await;
    let why = json!({ "gitpod/explicitFail": "disk of node is broken" });
    story.annotate("ws-f1", why).await;
    let stopping = story.until("f1", WorkspacePhase::Stopping).await;
    let described = story.world.describe("f1").await.unwrap();
    assert_eq!(described, stopping);
    assert_eq!(
        described.conditions.unwrap().failed,
        "disk of node is broken"
    );
    story
        .script("ws-f1", json!({ "stuck-terminating": null }))
        .await;
    assert_eq!(story.ends("f1").await.failed, "disk of node is broken");
    stays_failed(&story);

    // An empty text is no failure (the classic manager ends its search there).
    story.run("f1-empty").await;
    story
        .annotate("ws-f1-empty", json!({ "gitpod/explicitFail": "" }))
        .await;
    story.quiet("f1-empty").await;
    story.end().await;
}

async fn the_first_failure_stays(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    // The kubelet retries, each time with another text; the pod outlasts several attempts.
    let script = json!({ "image-pull-error": "first", "stuck-terminating": "true" });
    story.start_as(request("sticky"), script).await;
    let stopping = story.until("sticky", WorkspacePhase::Stopping).await;
    let first = stopping.conditions.unwrap().failed;
    assert_eq!(first, "cannot pull image: first");
    for reason in ["ImagePullBackOff", "ErrImagePull"] {
        let message = format!("second in {reason}");
        let waiting = json!({ "waiting": { "reason": reason, "message": message } });
        story.report("sticky", waiting, false).await;
    }
    story
        .script("ws-sticky", json!({ "stuck-terminating": null }))
        .await;
    assert_eq!(story.ends("sticky").await.failed, first);
    stays_failed(&story);
    story.end().await;
}

async fn a_failure_while_stopping_is_none(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    // A program may exit with any code after SIGTERM, within its grace period or at the end of it.
    for (id, script) in [
        ("late-code", json!({ "exit-code": "143" })),
        ("late-kill", json!({ "ignore-term": "true" })),
        ("late-oom", json!({ "exit-reason": "OOMKilled" })),
    ] {
        story.start_as(request(id), script).await;
        story.until(id, WorkspacePhase::Running).await;
    }
    for id in ["late-code", "late-kill", "late-oom"] {
        story.stop(id, StopWorkspacePolicy::Immediately).await;
    }
    for _ in 0..3 {
        let stopped = |s: &WorkspaceStatus| s.phase() == WorkspacePhase::Stopped;
        let status = loop {
            let status = story.updates.next().await.expect("the stream goes on");
            if stopped(&status) {
                break status;
            }
        };
        assert_eq!(status.conditions.unwrap().failed, "", "{}", status.id);
    }
    story.end().await;
}

async fn a_failed_mount_before_the_start_does_not_end_what_runs(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let request = request("mounted");
    let pod = pod_name(&request);
    // A kubelet often fails at first, because a volume or a map is not there yet; here it reports that after the
    // start.
    story.start(request).await;
    story.until("mounted", WorkspacePhase::Running).await;
    let why = "MountVolume.SetUp failed for volume \"tools\" : not found";
    warn(cluster, &pod, "FailedMount", why, 3).await;
    story
        .annotate(&pod, json!({ "gitpod.io/annotation.touched": "yes" }))
        .await;
    let running = story.until("mounted", WorkspacePhase::Running).await;
    assert_eq!(running.conditions.unwrap().failed, "");
    story.quiet("mounted").await;
    story.end().await;
}

/// Waits for an event about a pod.
async fn event(cluster: &Cluster, pod: &str, reason: &str) {
    use futures::TryStreamExt;
    use kube::runtime::WatchStreamExt;
    use kube::runtime::watcher::{Config, watcher};
    let events = cluster.api::<k8s_openapi::api::core::v1::Event>().await;
    let fields = format!("involvedObject.name={pod},reason={reason}");
    let watch = watcher(events, Config::default().fields(&fields)).applied_objects();
    let mut watch = std::pin::pin!(watch);
    let found = tokio::time::timeout(super::support::world::TIMEOUT, watch.try_next());
    found.await.expect("the event comes").unwrap();
}

/// Writes a warning about a pod, as a kubelet does.
async fn warn(cluster: &Cluster, pod: &str, reason: &str, message: &str, count: i32) {
    let events = cluster.api::<k8s_openapi::api::core::v1::Event>().await;
    let event = json!({
        "metadata": { "name": format!("{pod}.by-hand") },
        "involvedObject": { "kind": "Pod", "name": pod, "namespace": cluster.namespace },
        "type": "Warning", "reason": reason, "message": message, "count": count,
        "source": { "component": "kubelet" },
    });
    let event = serde_json::from_value(event).unwrap();
    events.create(&Default::default(), &event).await.unwrap();
}
