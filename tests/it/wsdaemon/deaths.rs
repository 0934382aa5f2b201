//! The ws-daemon or wsman dies in the middle of each call: the next one continues, and a life ends as it would have.

use wsman::proto::wsman::*;

use super::{Life, daemon, world};
use crate::support::cluster;
use crate::support::wsdaemon::Act;

/// The calls of a life, and whether they are those of its end.
const CALLS: [(&str, bool); 6] = [
    ("Init", false),
    ("Exists", false),
    ("Wait", false),
    ("Exists", true),
    ("Wait", true),
    ("Dispose", true),
];

/// Lives until a call is held; the second half is [`finish`].
async fn live_until(life: &mut Life<'_>, id: &str, method: &'static str, at_end: bool) {
    // Those of the last life.
    life.node.methods();
    match at_end {
        false => {
            life.node.script(method, [Act::Hold]);
            life.start(id, WorkspaceType::Regular).await;
        }
        true => {
            life.run(id, WorkspaceType::Regular).await;
            life.node.methods();
            life.node.script(method, [Act::Hold]);
            life.world.stop_workspace(id).await;
        }
    }
    life.node.called(method).await;
}

async fn finish(life: &mut Life<'_>, id: &str, at_end: bool) {
    let stopped = match at_end {
        true => life.ends(id, "ws").await,
        false => {
            life.until(id, WorkspacePhase::Running).await;
            life.stop(id).await
        }
    };
    let conditions = stopped.conditions.unwrap();
    assert_eq!(conditions.failed, "", "{id}");
    let yes = WorkspaceConditionBool::True;
    assert_eq!(conditions.final_backup_complete(), yes, "{id}");
    assert!(life.node.filled(id).is_none(), "{id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_restarts_on_another_address() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    for (at, (method, at_end)) in CALLS.into_iter().enumerate() {
        let id = format!("w{at}");
        live_until(&mut life, &id, method, at_end).await;
        life.node.appear(&cluster).await;
        finish(&mut life, &id, at_end).await;
    }
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_dies_and_comes_back_later() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    for (at, (method, at_end)) in CALLS.into_iter().enumerate() {
        let id = format!("w{at}");
        live_until(&mut life, &id, method, at_end).await;
        // Its connections break, and its pod is still there.
        life.node.kill();
        life.node.appear(&cluster).await;
        finish(&mut life, &id, at_end).await;
    }
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wsman_is_killed_in_each_call() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    for (at, (method, at_end)) in CALLS.into_iter().enumerate() {
        let id = format!("w{at}");
        live_until(&mut life, &id, method, at_end).await;
        life = life.killed().await;
        finish(&mut life, &id, at_end).await;
    }
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_replica_takes_over() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    life.world.holds().await;
    let other = world(&cluster, &life.node, None).await;
    other.follows(&life.world).await;
    let (method, at_end) = CALLS[5];
    live_until(&mut life, "w", method, at_end).await;
    assert_eq!(
        life.node.methods(),
        [] as [&str; 0],
        "only the leader calls"
    );
    let updates = other.subscribe().await;
    let dead = std::mem::replace(&mut life.world, other);
    life.updates = updates;
    dead.kill().await;
    life.world.outlive_the_dead().await;
    finish(&mut life, "w", at_end).await;
    assert_eq!(life.node.methods(), ["Dispose"]);
    daemon::remove(&cluster).await;
    life.end().await;
}
