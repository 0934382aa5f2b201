//! The daemon is killed with -9 in every state of the content; the next one continues as if nothing had happened.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use rustix::process::Signal;
use serde_json::json;
use wsman::proto::wsman::*;

use super::desk::*;
use super::tree::Tree;
use crate::processes::{Daemon, until};
use crate::support::world::Updates;

/// Stops the workspace and follows it to its only end.
async fn stops(desk: &Desk, daemon: &Daemon, id: &str, work: &Tree) {
    let client = daemon.client().await;
    let mut updates = Updates::open(client.clone(), None).await;
    stop(&client, id).await;
    let last = updates.until(id, WorkspacePhase::Stopped).await;
    desk.ended_well(&client, &last, work).await;
    silent(&client, &mut updates).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_content_is_initialized() {
    let desk = Desk::open(SELDOM).await;
    let mut held = Held::serve(desk.folder()).await;
    let daemon = desk.daemon();
    let mut client = daemon.client().await;
    let request = asking("one", held.content.clone());
    let answer = client.start_workspace(request.clone()).await.unwrap();
    held.asked().await;
    until(&mut client, "one", WorkspacePhase::Initializing).await;
    daemon.kill();
    let daemon = desk.daemon();
    let mut client = daemon.client().await;
    let status = describe(&client, "one").await;
    assert_eq!(status.phase(), WorkspacePhase::Initializing);
    let again = client.start_workspace(request).await.unwrap();
    assert_eq!(
        again.into_inner(),
        answer.into_inner(),
        "no difference shows"
    );
    held.release();
    until(&mut client, "one", WorkspacePhase::Running).await;
    let metrics = describe(&client, "one").await.initializer_metrics;
    assert!(metrics.unwrap().git.unwrap().size > 0);
    assert!(desk.workspace("one").await.join("app/README").exists());
    let work = desk.work("one", "work", 1).await;
    stops(&desk, &daemon, "one", &work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_backup_of_the_interval_is_made() {
    let desk = Desk::open(OFTEN).await;
    let daemon = desk.daemon();
    let client = daemon.client().await;
    desk.run(&client, "one", empty()).await;
    let work = desk.work("one", "work", LARGE).await;
    desk.stop_upload("one").await;
    let before = desk.manifests().len();
    daemon.kill();
    let daemon = desk.daemon();
    let client = daemon.client().await;
    let status = describe(&client, "one").await;
    assert_eq!(status.phase(), WorkspacePhase::Running);
    desk.signal("one", SAVER, Signal::CONT).await;
    eventually("a backup", || desk.manifests().len() > before).await;
    let (name, backup) = desk.manifests().pop().unwrap();
    assert_eq!(backup["final"], false);
    desk.restores(&client, Some(&name), &work).await;
    stops(&desk, &daemon, "one", &work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_snapshot_is_taken() {
    let desk = Desk::open(SELDOM).await;
    let daemon = desk.daemon();
    let client = daemon.client().await;
    desk.run(&client, "one", empty()).await;
    let work = desk.work("one", "work", 1).await;
    desk.signal("one", SAVER, Signal::STOP).await;
    let asks = tokio::spawn(async move { snapshot(&client, "one").await });
    desk.is_asked("one").await;
    daemon.kill();
    asks.await.unwrap().unwrap_err();
    let daemon = desk.daemon();
    let client = daemon.client().await;
    desk.signal("one", SAVER, Signal::CONT).await;
    let name = snapshot(&client, "one").await.unwrap();
    desk.restores(&client, Some(&name), &work).await;
    stops(&desk, &daemon, "one", &work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_last_backup_is_made() {
    let desk = Desk::open(SELDOM).await;
    let daemon = desk.daemon();
    let client = daemon.client().await;
    desk.run(&client, "one", empty()).await;
    let work = desk.work("one", "work", LARGE).await;
    stop(&client, "one").await;
    desk.stop_upload("one").await;
    daemon.kill();
    let daemon = desk.daemon();
    let client = daemon.client().await;
    let status = describe(&client, "one").await;
    assert_eq!(status.phase(), WorkspacePhase::Stopping);
    let mut updates = Updates::open(client.clone(), None).await;
    desk.signal("one", SAVER, Signal::CONT).await;
    let last = updates.until("one", WorkspacePhase::Stopped).await;
    desk.ended_well(&client, &last, &work).await;
    silent(&client, &mut updates).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_last_backup_and_before_the_end() {
    let desk = Desk::open(SELDOM).await;
    let daemon = desk.daemon();
    let mut client = daemon.client().await;
    desk.run(&client, "one", empty()).await;
    let work = desk.work("one", "work", 1).await;
    // Keeps the pod, so that its last status can be read.
    let finalizers = json!(["gitpod.io/finalizer", "test.wsman.dev/hold"]);
    let patch = Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
    let pods = desk.cluster.api::<Pod>().await;
    let params = PatchParams::default();
    pods.patch("ws-one", &params, &patch).await.unwrap();
    desk.signal("one", SAVER, Signal::STOP).await;
    stop(&client, "one").await;
    until(&mut client, "one", WorkspacePhase::Stopping).await;
    daemon.kill();
    desk.signal("one", SAVER, Signal::CONT).await;
    eventually("the last backup", || desk.last_backups("one") == 1).await;
    let is_over = |pod: &Pod| {
        let phase = pod.status.as_ref().unwrap().phase.as_deref();
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    desk.cluster.until_pod("ws-one", is_over).await;
    let daemon = desk.daemon();
    let client = daemon.client().await;
    let is_let_go = |pod: &Pod| {
        let finalizers = pod.metadata.finalizers.as_deref().unwrap_or_default();
        finalizers == ["test.wsman.dev/hold"]
    };
    desk.cluster.until_pod("ws-one", is_let_go).await;
    let last = describe(&client, "one").await;
    desk.cluster.release("ws-one").await;
    desk.ended_well(&client, &last, &work).await;
}
