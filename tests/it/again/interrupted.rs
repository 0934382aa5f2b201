//! Daemons killed, and answers lost, between any two steps of making a pod again.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use wsman::proto::wsman::*;
use wsman_sim::apiserver::faults::Fault;

use super::{BACKOFF, Belongings, collected, handed_over, rejected, start};
use crate::support::cluster;
use crate::support::world::World;

/// Fewest writes of a recreation: commit, create, hand over.
const WRITES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_killed_before_any_write_is_made_good_by_the_next() {
    let survived = interrupt(|| Fault::Hang, Ending::Runs).await;
    assert!(survived >= WRITES, "{survived}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_killed_after_any_write_is_made_good_by_the_next() {
    let survived = interrupt(|| Fault::CutAfter, Ending::Runs).await;
    assert!(survived >= WRITES, "{survived}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_at_any_step_ends_the_workspace_once_and_for_all() {
    let survived = interrupt(|| Fault::Hang, Ending::Stopped).await;
    assert!(survived >= WRITES, "{survived}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_on_another_daemon_at_any_step_ends_the_workspace_once_and_for_all() {
    let survived = interrupt(|| Fault::Delay(Duration::from_millis(500)), Ending::Raced).await;
    assert!(survived >= WRITES, "{survived}");
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    /// The next daemon brings the workspace to RUNNING.
    Runs,
    /// It is stopped with the next daemon.
    Stopped,
    /// It is stopped by another daemon while the first goes on.
    Raced,
}

/// Lets a fault strike each write of a recreation in turn, and returns how many there are.
async fn interrupt(fault: impl Fn() -> Fault, ending: Ending) -> usize {
    let mut survived = 0;
    while interrupt_at(survived, fault(), ending).await {
        survived += 1;
    }
    survived
}

/// Returns whether there was such a write.
async fn interrupt_at(write: usize, fault: Fault, ending: Ending) -> bool {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    let started = start(&world, "cut", "rejected-once").await;
    rejected(&mut updates, "cut", 1).await;
    let before = Belongings::of(&cluster, "cut").await;
    let faults = cluster.server.as_ref().unwrap().faults();
    faults.add_to_write("wsman/", write, fault);
    world.clock.advance(BACKOFF);
    let whole = async {
        updates.until("cut", WorkspacePhase::Running).await;
        handed_over(&cluster, "cut").await;
    };
    tokio::select! {
        () = faults.spent() => {}
        () = whole => return false,
    }
    if ending == Ending::Raced {
        let other = World::start(&cluster).await;
        let mut told = other.subscribe().await;
        assert_eq!(other.describe("cut").await.unwrap().id, "cut");
        other.stop_workspace("cut").await;
        told.until("cut", WorkspacePhase::Stopped).await;
        updates.until("cut", WorkspacePhase::Stopped).await;
        cluster.gone::<Pod>("ws-cut").await;
        collected(&cluster, "cut").await;
        other.drain().await.unwrap();
        world.drain().await.unwrap();
        return true;
    }
    world.kill().await;
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    // Whatever the step was, the workspace is there, and a repeated start finds it.
    let found = world.describe("cut").await.unwrap();
    assert!(
        !matches!(
            found.phase(),
            WorkspacePhase::Stopping | WorkspacePhase::Stopped
        ),
        "{found:?}"
    );
    assert_eq!(world.list().await.len(), 1);
    assert_eq!(start(&world, "cut", "rejected-once").await, started);
    if ending == Ending::Stopped {
        world.stop_workspace("cut").await;
        updates.until("cut", WorkspacePhase::Stopped).await;
        world.clock.advance(BACKOFF);
        cluster.gone::<Pod>("ws-cut").await;
        collected(&cluster, "cut").await;
        assert!(
            world
                .list()
                .await
                .iter()
                .all(|s| s.phase() == WorkspacePhase::Stopped)
        );
    } else {
        world.clock.advance(BACKOFF);
        let running = match world.describe("cut").await.unwrap() {
            status if status.phase() == WorkspacePhase::Running => status,
            _ => updates.until("cut", WorkspacePhase::Running).await,
        };
        assert_eq!(running.auth.unwrap().owner_token, started.owner_token);
        assert!(!updates.phases("cut").contains(&"STOPPED"));
        handed_over(&cluster, "cut").await;
        before.kept(&cluster, "cut", 1).await;
    }
    world.drain().await.unwrap();
    true
}
