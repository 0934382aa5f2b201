//! F-S4, F-S5 and F-S6: readers that come late and that come back. The checker of histories checks what they saw.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::DeleteParams;
use wsman::proto::wsman::*;

use super::record::{Client, History, Reader};
use crate::processes::Daemon;
use crate::support::cluster::Cluster;
use crate::support::world::{World, request};

on_both_clusters! {
    fs4_fs6_late_joiners_get_a_snapshot_and_then_everything_in_order
    fs5_tokens_continue_across_kills_and_replicas
    fs5_a_draining_daemon_hands_its_readers_over
}

/// Joins while workspaces come and go, again and again.
async fn fs4_fs6_late_joiners_get_a_snapshot_and_then_everything_in_order(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let history = History::default();
    let mut client = world.client.clone();
    let mut witness = Reader::new("witness", &history);
    witness.open("a", &mut client).await;
    witness.until_complete().await;
    let mut readers = Vec::new();
    for round in 0..12 {
        let id = format!("w{round}");
        world.start_workspace(&id).await;
        // In another state each time.
        let phases = [
            WorkspacePhase::Pending,
            WorkspacePhase::Creating,
            WorkspacePhase::Running,
        ];
        let reached = [phases[round % phases.len()], WorkspacePhase::Running];
        loop {
            let update = witness.next().await.expect("the stream goes on");
            let update = update.status.filter(|status| status.id == id);
            if update.is_some_and(|status| reached.contains(&status.phase())) {
                break;
            }
        }
        if round % 3 == 2 {
            world.stop_workspace(&format!("w{}", round - 1)).await;
        }
        let mut joiner = Reader::new(&format!("joiner {round}"), &history);
        joiner.open("a", &mut client).await;
        assert_eq!(joiner.began, "snapshot");
        readers.push(joiner);
    }
    // The last one that all must see.
    world.start_workspace("last").await;
    readers.push(witness);
    for reader in &mut readers {
        reader.until("last", WorkspacePhase::Running).await;
        assert_eq!(reader.complete, 1);
    }
    world.stop_workspace("last").await;
    for reader in &mut readers {
        reader.until("last", WorkspacePhase::Stopped).await;
    }
    history.list("a", &mut client).await;
    history.check();
    drop((readers, client));
    world.drain().await.unwrap();
}

async fn start(client: &mut Client, id: &str) {
    client.start_workspace(request(id)).await.unwrap();
}

async fn stop(client: &mut Client, id: &str) {
    let stop = StopWorkspaceRequest {
        id: id.to_owned(),
        ..Default::default()
    };
    client.stop_workspace(stop).await.unwrap();
}

/// Two daemons in processes of their own; one is killed with -9 while readers follow it.
async fn fs5_tokens_continue_across_kills_and_replicas(cluster: &Cluster) {
    let (a, b) = (Daemon::start(cluster, 0), Daemon::start(cluster, 0));
    let (mut to_a, mut to_b) = (a.client().await, b.client().await);
    let history = History::default();
    let mut one = Reader::new("one", &history);
    let mut other = Reader::new("other", &history);
    let running = WorkspacePhase::Running;
    one.open("a", &mut to_a).await;
    other.open("a", &mut to_a).await;
    start(&mut to_a, "x").await;
    one.until("x", running).await;
    other.until("x", running).await;
    // Inside the log of the same daemon: the missed updates are sent.
    one.close();
    start(&mut to_a, "y").await;
    other.until("y", running).await;
    one.open("a", &mut to_a).await;
    assert_eq!(one.began, "resumed");
    one.until("y", running).await;
    // On the other replica, in the middle of a start, with an end that it did not see.
    one.close();
    stop(&mut to_a, "x").await;
    other.until("x", WorkspacePhase::Stopped).await;
    start(&mut to_a, "z").await;
    other.until("z", running).await;
    one.open("b", &mut to_b).await;
    assert_eq!(one.began, "resumed");
    one.until("z", running).await;
    // Killed in full flow: its readers resume at the other.
    start(&mut to_a, "k").await;
    a.kill();
    while other.next().await.is_some() {}
    let leases = cluster.api::<Lease>().await;
    let _ = leases
        .delete(wsman::lease::NAME, &DeleteParams::default())
        .await;
    other.open("b", &mut to_b).await;
    assert_eq!(other.began, "resumed");
    one.until("k", running).await;
    stop(&mut to_b, "y").await;
    for reader in [&mut one, &mut other] {
        reader.until("y", WorkspacePhase::Stopped).await;
    }
    // Outside of what a new daemon knows: it starts with a snapshot.
    one.close();
    start(&mut to_b, "late").await;
    other.until("late", running).await;
    let c = Daemon::start(cluster, 0);
    let mut to_c = c.client().await;
    one.open("c", &mut to_c).await;
    assert_eq!(one.began, "snapshot");
    one.until_complete().await;
    stop(&mut to_c, "z").await;
    for reader in [&mut one, &mut other] {
        reader.until("z", WorkspacePhase::Stopped).await;
    }
    history.list("b", &mut to_b).await;
    history.list("c", &mut to_c).await;
    history.check();
}

/// The streams of a draining daemon end with OK, and resume at another replica.
async fn fs5_a_draining_daemon_hands_its_readers_over(cluster: &Cluster) {
    let (mut a, b) = (Daemon::start(cluster, 0), Daemon::start(cluster, 0));
    let (mut to_a, mut to_b) = (a.client().await, b.client().await);
    let history = History::default();
    let mut readers: Vec<_> = (0..8)
        .map(|n| Reader::new(&format!("reader {n}"), &history))
        .collect();
    for reader in &mut readers {
        reader.open("a", &mut to_a).await;
        reader.until_complete().await;
    }
    start(&mut to_b, "before").await;
    for reader in &mut readers {
        reader.until("before", WorkspacePhase::Running).await;
    }
    a.signal("-TERM");
    let feed = async {
        for n in 0..20 {
            start(&mut to_b.clone(), &format!("w{n}")).await;
        }
    };
    let follow = readers.iter_mut().map(|reader| {
        let mut to_b = to_b.clone();
        async move {
            while reader.next().await.is_some() {}
            reader.open("b", &mut to_b).await;
            assert_eq!(reader.began, "resumed");
        }
    });
    futures::join!(feed, futures::future::join_all(follow));
    drop(to_a);
    assert_eq!(a.ended().await.code(), Some(0));
    stop(&mut to_b, "before").await;
    for reader in &mut readers {
        reader.until("before", WorkspacePhase::Stopped).await;
    }
    start(&mut to_b, "after").await;
    for reader in &mut readers {
        reader.until("after", WorkspacePhase::Running).await;
    }
    history.list("b", &mut to_b).await;
    history.check();
}
