//! A node is lost in every state of the content: the failure is stated, and an earlier backup restores.

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use rustix::process::Signal;
use wsman::proto::wsman::*;

use super::desk::*;
use crate::support::world::{Updates, World};

const VANISHED: &str = "workspace node disappeared before backup was taken";

/// Removes the node of a workspace, and returns its last status.
async fn lost(desk: &Desk, world: &World, updates: &mut Updates, id: &str) -> WorkspaceStatus {
    let status = world.describe(id).await.unwrap();
    let node = status.runtime.unwrap().node_name;
    let nodes = desk.cluster.nodes().await;
    nodes.delete(&node, &DeleteParams::default()).await.unwrap();
    let last = updates.until(id, WorkspacePhase::Stopped).await;
    assert_eq!(last.message, "stopped by force: its node is gone");
    let conditions = last.conditions.as_ref().unwrap();
    assert_ne!(conditions.final_backup_complete(), YES);
    desk.cluster.gone::<Pod>(&format!("ws-{id}")).await;
    silent(&world.client, updates).await;
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_content_is_initialized() {
    let desk = Desk::open(SELDOM).await;
    let mut held = Held::serve(desk.folder()).await;
    let world = desk.world().await;
    let mut updates = world.subscribe().await;
    let request = asking("one", held.content.clone());
    world.client.clone().start_workspace(request).await.unwrap();
    held.asked().await;
    updates.until("one", WorkspacePhase::Initializing).await;
    let last = lost(&desk, &world, &mut updates, "one").await;
    assert_eq!(last.conditions.unwrap().failed, VANISHED);
    assert_eq!(desk.manifests(), []);
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_backup_of_the_interval() {
    let desk = Desk::open(OFTEN).await;
    let world = desk.world().await;
    let mut updates = world.subscribe().await;
    desk.run(&world.client, "one", empty()).await;
    eventually("a backup", || !desk.manifests().is_empty()).await;
    let before = desk.manifests().len();
    let work = desk.work("one", "work", 1).await;
    eventually("a backup", || desk.manifests().len() > before).await;
    // The machine is gone, and with it what it would have saved.
    desk.signal("one", SAVER, Signal::STOP).await;
    let (name, _) = desk.manifests().pop().unwrap();
    desk.work("one", "unsaved", 1).await;
    updates.until("one", WorkspacePhase::Running).await;
    let last = lost(&desk, &world, &mut updates, "one").await;
    let failed = last.conditions.unwrap().failed;
    assert!(failed.starts_with(VANISHED), "{failed}");
    assert!(failed.contains(AGE), "{failed}");
    assert_eq!(desk.last_backups("one"), 0);
    desk.restores(&world.client, Some(&name), &work).await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_last_backup_is_made() {
    let desk = Desk::open(SELDOM).await;
    let world = desk.world().await;
    let mut updates = world.subscribe().await;
    desk.run(&world.client, "one", empty()).await;
    let work = desk.work("one", "work", 1).await;
    let name = backup(&world.client, "one").await;
    desk.work("one", "unsaved", LARGE).await;
    stop(&world.client, "one").await;
    desk.stop_upload("one").await;
    let last = lost(&desk, &world, &mut updates, "one").await;
    let failed = last.conditions.unwrap().failed;
    assert!(failed.starts_with("last backup failed: "), "{failed}");
    assert!(failed.contains(VANISHED), "{failed}");
    assert!(failed.contains(AGE), "{failed}");
    assert_eq!(desk.last_backups("one"), 0);
    // What was cut off is nothing to begin with.
    desk.restores(&world.client, None, &work).await;
    desk.restores(&world.client, Some(&name), &work).await;
    world.drain().await.unwrap();
}
