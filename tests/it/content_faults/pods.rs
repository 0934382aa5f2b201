//! Pods that others delete, and guests that are killed.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, EvictParams};
use rustix::process::Signal;
use wsman::proto::wsman::*;

use super::desk::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_workspace_is_saved() {
    let desk = Desk::open(SELDOM).await;
    let world = desk.world().await;
    let mut updates = world.subscribe().await;
    desk.run(&world.client, "one", empty()).await;
    let work = desk.work("one", "work", 1).await;
    let pods = desk.cluster.api::<Pod>().await;
    pods.evict("ws-one", &EvictParams::default()).await.unwrap();
    let last = updates.until("one", WorkspacePhase::Stopped).await;
    desk.ended_well(&world.client, &last, &work).await;
    silent(&world.client, &mut updates).await;
    world.drain().await.unwrap();
}

/// Nobody waits for the save of a pod that was deleted by force, and nobody calls it saved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_deleted_by_force_states_that_it_is_not_saved() {
    let desk = Desk::open(SELDOM).await;
    let world = desk.world().await;
    let mut updates = world.subscribe().await;
    desk.run(&world.client, "one", empty()).await;
    let work = desk.work("one", "work", 1).await;
    let name = backup(&world.client, "one").await;
    desk.work("one", "unsaved", LARGE).await;
    desk.signal("one", SAVER, Signal::STOP).await;
    let pods = desk.cluster.api::<Pod>().await;
    let force = DeleteParams::default().grace_period(0);
    pods.delete("ws-one", &force).await.unwrap();
    let last = updates.until("one", WorkspacePhase::Stopped).await;
    let conditions = last.conditions.unwrap();
    let why = "last backup failed: the pod was deleted by force before its content was saved; ";
    let failed = &conditions.failed;
    assert!(failed.starts_with(why), "{failed}");
    assert!(failed.contains(AGE), "{failed}");
    assert_ne!(conditions.final_backup_complete(), YES);
    silent(&world.client, &mut updates).await;
    desk.restores(&world.client, Some(&name), &work).await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saver_that_is_killed_is_started_again() {
    let desk = Desk::open(SELDOM).await;
    let world = desk.world().await;
    let mut updates = world.subscribe().await;
    desk.run(&world.client, "one", empty()).await;
    let work = desk.work("one", "work", 1).await;
    desk.signal("one", SAVER, Signal::KILL).await;
    let runs_again = |pod: &Pod| {
        let inits = pod.status.as_ref().unwrap().init_container_statuses.iter();
        let mut savers = inits.flatten().filter(|status| status.name == SAVER);
        savers.any(|status| {
            let state = status.state.as_ref();
            status.restart_count > 0 && state.is_some_and(|state| state.running.is_some())
        })
    };
    desk.cluster.until_pod("ws-one", runs_again).await;
    let status = world.describe("one").await.unwrap();
    assert_eq!(status.phase(), WorkspacePhase::Running);
    stop(&world.client, "one").await;
    let last = updates.until("one", WorkspacePhase::Stopped).await;
    desk.ended_well(&world.client, &last, &work).await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saver_that_is_killed_at_the_end_is_a_stated_failure() {
    let desk = Desk::open(SELDOM).await;
    let world = desk.world().await;
    let mut updates = world.subscribe().await;
    desk.run(&world.client, "one", empty()).await;
    let work = desk.work("one", "work", 1).await;
    let name = backup(&world.client, "one").await;
    desk.work("one", "unsaved", LARGE).await;
    stop(&world.client, "one").await;
    desk.stop_upload("one").await;
    desk.signal("one", SAVER, Signal::KILL).await;
    let last = updates.until("one", WorkspacePhase::Stopped).await;
    let conditions = last.conditions.unwrap();
    let why = "last backup failed: the guest ended without a report, exit code 137; ";
    let failed = &conditions.failed;
    assert!(failed.starts_with(why), "{failed}");
    assert!(failed.contains(AGE), "{failed}");
    assert_ne!(conditions.final_backup_complete(), YES);
    assert_eq!(desk.last_backups("one"), 0);
    silent(&world.client, &mut updates).await;
    desk.restores(&world.client, Some(&name), &work).await;
    desk.restores(&world.client, None, &work).await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_is_killed_at_the_start_names_its_step() {
    let desk = Desk::open(SELDOM).await;
    let mut held = Held::serve(desk.folder()).await;
    let world = desk.world().await;
    let mut updates = world.subscribe().await;
    let request = asking("one", held.content.clone());
    world.client.clone().start_workspace(request).await.unwrap();
    held.asked().await;
    desk.signal("one", "content-init", Signal::KILL).await;
    let last = updates.until("one", WorkspacePhase::Stopped).await;
    let why = "cannot initialize workspace: git was cut off before it was done";
    assert_eq!(last.conditions.unwrap().failed, why);
    assert_eq!(desk.manifests(), []);
    silent(&world.client, &mut updates).await;
    world.drain().await.unwrap();
}
