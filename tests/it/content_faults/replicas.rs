//! Two daemons on one cluster, in every state of the content: either may be killed, and the content is saved once.

use k8s_openapi::api::core::v1::Pod;
use rustix::process::Signal;
use wsman::lease::DURATION;
use wsman::proto::wsman::*;

use super::desk::*;
use crate::support::world::World;

async fn pair(desk: &Desk) -> (World, World) {
    let first = desk.world().await;
    first.holds().await;
    let second = desk.world().await;
    second.follows(&first).await;
    (first, second)
}

/// Kills the leader; the other one leads.
async fn killed(leader: World, follower: &World) {
    leader.kill().await;
    follower.clock.advance(DURATION);
    follower.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_while_the_content_is_initialized() {
    let desk = Desk::open(SELDOM).await;
    let mut held = Held::serve(desk.folder()).await;
    let (leader, follower) = pair(&desk).await;
    let mut updates = follower.subscribe().await;
    let request = asking("one", held.content.clone());
    let mut client = leader.client.clone();
    client.start_workspace(request).await.unwrap();
    held.asked().await;
    updates.until("one", WorkspacePhase::Initializing).await;
    killed(leader, &follower).await;
    held.release();
    updates.until("one", WorkspacePhase::Running).await;
    let work = desk.work("one", "work", 1).await;
    stop(&follower.client, "one").await;
    let last = updates.until("one", WorkspacePhase::Stopped).await;
    desk.ended_well(&follower.client, &last, &work).await;
    silent(&follower.client, &mut updates).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_while_a_backup_is_made() {
    let desk = Desk::open(OFTEN).await;
    let (leader, follower) = pair(&desk).await;
    let mut updates = follower.subscribe().await;
    desk.run(&leader.client, "one", empty()).await;
    let work = desk.work("one", "work", LARGE).await;
    desk.stop_upload("one").await;
    killed(leader, &follower).await;
    desk.signal("one", SAVER, Signal::CONT).await;
    // A call through the other one finds the same guest.
    let name = snapshot(&follower.client, "one").await.unwrap();
    desk.restores(&follower.client, Some(&name), &work).await;
    stop(&follower.client, "one").await;
    let last = updates.until("one", WorkspacePhase::Stopped).await;
    desk.ended_well(&follower.client, &last, &work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_while_the_last_backup_is_made() {
    let desk = Desk::open(SELDOM).await;
    let (leader, follower) = pair(&desk).await;
    let mut updates = follower.subscribe().await;
    desk.run(&follower.client, "one", empty()).await;
    let work = desk.work("one", "work", LARGE).await;
    stop(&follower.client, "one").await;
    desk.stop_upload("one").await;
    updates.until("one", WorkspacePhase::Stopping).await;
    killed(leader, &follower).await;
    desk.signal("one", SAVER, Signal::CONT).await;
    let last = updates.until("one", WorkspacePhase::Stopped).await;
    desk.ended_well(&follower.client, &last, &work).await;
    silent(&follower.client, &mut updates).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replica_that_takes_a_snapshot_is_killed() {
    let desk = Desk::open(SELDOM).await;
    let (leader, follower) = pair(&desk).await;
    let mut updates = leader.subscribe().await;
    desk.run(&leader.client, "one", empty()).await;
    let work = desk.work("one", "work", 1).await;
    desk.signal("one", SAVER, Signal::STOP).await;
    let client = follower.client.clone();
    let asks = tokio::spawn(async move { snapshot(&client, "one").await });
    desk.is_asked("one").await;
    follower.kill().await;
    asks.await.unwrap().unwrap_err();
    desk.signal("one", SAVER, Signal::CONT).await;
    let name = snapshot(&leader.client, "one").await.unwrap();
    desk.restores(&leader.client, Some(&name), &work).await;
    stop(&leader.client, "one").await;
    let last = updates.until("one", WorkspacePhase::Stopped).await;
    desk.ended_well(&leader.client, &last, &work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_after_the_last_backup_and_before_the_end() {
    let desk = Desk::open(SELDOM).await;
    let (leader, follower) = pair(&desk).await;
    let mut updates = follower.subscribe().await;
    desk.run(&follower.client, "one", empty()).await;
    let work = desk.work("one", "work", 1).await;
    desk.signal("one", SAVER, Signal::STOP).await;
    stop(&leader.client, "one").await;
    updates.until("one", WorkspacePhase::Stopping).await;
    leader.kill().await;
    desk.signal("one", SAVER, Signal::CONT).await;
    let is_over = |pod: &Pod| {
        let phase = pod.status.as_ref().unwrap().phase.as_deref();
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    // Nobody leads: the pod waits for the other one.
    desk.cluster.until_pod("ws-one", is_over).await;
    follower.clock.advance(DURATION);
    let last = updates.until("one", WorkspacePhase::Stopped).await;
    desk.ended_well(&follower.client, &last, &work).await;
    silent(&follower.client, &mut updates).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_write_what_one_would_and_save_once() {
    let desk = Desk::open(SELDOM).await;
    let (leader, follower) = pair(&desk).await;
    desk.cluster.server.as_ref().unwrap().faults().record();
    let (mut updates, mut others) = (leader.subscribe().await, follower.subscribe().await);
    desk.run(&follower.client, "one", empty()).await;
    let work = desk.work("one", "work", 1).await;
    stop(&follower.client, "one").await;
    let last = others.until("one", WorkspacePhase::Stopped).await;
    updates.until("one", WorkspacePhase::Stopped).await;
    let writes = desk.cluster.writes();
    let of = |write: &str| writes.iter().filter(|one| *one == write).count();
    let once = ["POST pods", "POST secrets", "DELETE pods/ws-one"];
    assert_eq!(once.map(of), [1; 3], "{writes:#?}");
    // The stop, the outcome of the last backup, and the end.
    assert_eq!(of("PATCH pods/ws-one"), 3, "{writes:#?}");
    desk.ended_well(&leader.client, &last, &work).await;
    silent(&leader.client, &mut updates).await;
    silent_too(&follower, &mut others).await;
}

/// The bystander is there already.
async fn silent_too(world: &World, updates: &mut crate::support::world::Updates) {
    updates.until("bystander", WorkspacePhase::Running).await;
    let status = world.describe("bystander").await.unwrap();
    assert_eq!(status.phase(), WorkspacePhase::Running);
}
