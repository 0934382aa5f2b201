//! User activity: what it costs, and that neither a restart nor another replica loses it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use wsman::lease::LeaseState;
use wsman::proto::wsman::*;
use wsman_sim::apiserver::faults::Fault;

use super::replicas::{pair, patient, run, settled};
use super::support::cluster::{self, Cluster};
use super::support::world::{TIMEOUT, World};

on_both_clusters! {
    activity_on_a_follower_keeps_a_workspace_alive
    a_restart_keeps_activity_and_grants_nothing
    malformed_records_count_as_not_there
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) async fn mark_active(world: &World, id: &str) {
    let beat = MarkActiveRequest {
        id: id.to_owned(),
        ..Default::default()
    };
    world.client.clone().mark_active(beat).await.unwrap();
}

pub(crate) async fn last_activity(world: &World, id: &str) -> Option<Timestamp> {
    let request = DescribeWorkspaceRequest { id: id.to_owned() };
    let described = world.client.clone().describe_workspace(request).await;
    described.ok()?.into_inner().last_activity.parse().ok()
}

/// Reads until a replica knows an activity.
pub(crate) async fn learns(world: &World, id: &str, at: Option<Timestamp>) {
    let learned = async { while last_activity(world, id).await != at {} };
    if tokio::time::timeout(TIMEOUT, learned).await.is_err() {
        panic!(
            "{id}: {:?} instead of {at:?}",
            last_activity(world, id).await
        );
    }
}

/// The entries of all records.
async fn recorded(cluster: &Cluster) -> Vec<(String, String)> {
    let records = cluster.api::<ConfigMap>().await;
    let params = ListParams::default().labels("wsman.dev/record=activity");
    let records = records.list(&params).await.unwrap();
    let entries = records
        .items
        .into_iter()
        .flat_map(|record| record.data.unwrap_or_default());
    entries.collect()
}

/// Reads until a time is recorded.
async fn is_recorded(cluster: &Cluster, id: &str, at: Option<Timestamp>) {
    let recorded = async {
        while !recorded(cluster)
            .await
            .iter()
            .any(|(key, value)| key == id && value.parse().ok() == at)
        {}
    };
    tokio::time::timeout(TIMEOUT, recorded)
        .await
        .unwrap_or_else(|_| panic!("{at:?} of {id} is not recorded"));
}

async fn activity_on_a_follower_keeps_a_workspace_alive(cluster: &Cluster) {
    let (a, b) = pair(cluster).await;
    let mut updates = a.subscribe().await;
    a.start_workspace("lively").await;
    updates.until("lively", WorkspacePhase::Running).await;
    mark_active(&a, "lively").await;
    for round in 0..3 {
        for world in [&a, &b] {
            world.clock.advance(20 * MINUTE);
        }
        let (holder, follower) = settled(&a, &b).await;
        mark_active(follower, "lively").await;
        let last = last_activity(follower, "lively").await;
        learns(holder, "lively", last).await;
        // The leader has decided on everything by now.
        run(holder, &format!("other-{round}")).await;
        let status = holder.describe("lively").await.unwrap();
        assert_eq!(status.phase(), WorkspacePhase::Running, "{round}");
        assert_eq!(status.conditions.unwrap().timeout, "");
    }
    for world in [&a, &b] {
        world.clock.advance(31 * MINUTE);
    }
    let stopped = updates.until("lively", WorkspacePhase::Stopped).await;
    assert_eq!(
        stopped.conditions.unwrap().timeout,
        "workspace timed out after period of inactivity (00h31m) took longer than 00h30m"
    );
    a.drain().await.unwrap();
    b.drain().await.unwrap();
}

async fn a_restart_keeps_activity_and_grants_nothing(cluster: &Cluster) {
    let world = World::start(cluster).await;
    run(&world, "kept").await;
    mark_active(&world, "kept").await;
    world.clock.advance(11 * SECOND);
    mark_active(&world, "kept").await;
    let kept = last_activity(&world, "kept").await;
    is_recorded(cluster, "kept", kept).await;
    // At most this is lost.
    mark_active(&world, "kept").await;
    let lost = last_activity(&world, "kept").await;
    assert!(lost.unwrap().duration_since(kept.unwrap()) < SignedDuration::from_secs(10));
    let clock = world.clock.clone();
    world.kill().await;

    let client = cluster.client().await;
    let world = World::start_at(clock.clone(), client, &cluster.namespace, patient).await;
    learns(&world, "kept", kept).await;
    world
        .lease_state_of(|lease_state| matches!(lease_state, LeaseState::Follower { .. }))
        .await;
    let mut updates = world.subscribe().await;
    let passed = clock.now().duration_since(kept.unwrap());
    clock.advance(29 * MINUTE - Duration::try_from(passed).unwrap());
    world.holds().await;
    run(&world, "barrier").await;
    let status = world.describe("kept").await.unwrap();
    assert_eq!(status.conditions.unwrap().timeout, "", "not yet");
    clock.advance(MINUTE);
    let stopped = updates.until("kept", WorkspacePhase::Stopped).await;
    assert_eq!(
        stopped.conditions.unwrap().timeout,
        "workspace timed out after period of inactivity (00h30m) took longer than 00h30m"
    );
    world.drain().await.unwrap();
}

async fn malformed_records_count_as_not_there(cluster: &Cluster) {
    let world = World::start(cluster).await;
    run(&world, "odd").await;
    mark_active(&world, "odd").await;
    let last = last_activity(&world, "odd").await;
    is_recorded(cluster, "odd", last).await;
    world.kill().await;
    let records = cluster.api::<ConfigMap>().await;
    let ours = ListParams::default().labels("wsman.dev/record=activity");
    for record in records.list(&ours).await.unwrap() {
        let data = serde_json::json!({ "data": { "odd": "long ago", "a.b": "", "another": "2026-01-01T00:00:00Z" } });
        records
            .patch(
                &record.metadata.name.unwrap(),
                &PatchParams::default(),
                &Patch::Merge(data),
            )
            .await
            .unwrap();
    }
    let world = World::start(cluster).await;
    assert_eq!(last_activity(&world, "odd").await, None);
    mark_active(&world, "odd").await;
    let last = last_activity(&world, "odd").await;
    is_recorded(cluster, "odd", last).await;
    // A client that removes the record does not change what is known.
    records
        .delete_collection(&DeleteParams::default(), &ours)
        .await
        .unwrap();
    world.clock.advance(10 * SECOND);
    is_recorded(cluster, "odd", last).await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_cost_a_write_per_interval_and_none_when_nothing_changed() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let faults = cluster.server.as_ref().unwrap().faults();
    run(&world, "beating").await;
    faults.record();
    mark_active(&world, "beating").await;
    is_recorded(&cluster, "beating", last_activity(&world, "beating").await).await;
    let mut first = cluster.writes();
    first.sort();
    assert_eq!(first, ["PATCH pods/ws-beating", "POST configmaps"]);

    faults.record();
    for _ in 0..50 {
        mark_active(&world, "beating").await;
    }
    assert_eq!(cluster.writes(), [""; 0], "50 heartbeats");
    world.clock.advance(10 * SECOND);
    let last = last_activity(&world, "beating").await;
    is_recorded(&cluster, "beating", last).await;
    let written = cluster.writes();
    let [one] = &written[..] else {
        panic!("{written:?}")
    };
    assert!(one.starts_with("PATCH configmaps/wsman-activity-"), "{one}");
    world.clock.advance(60 * SECOND);
    world.holds().await;
    run(&world, "barrier").await;
    let more = cluster.writes();
    let more = more.iter().filter(|write| write.contains("configmaps"));
    assert_eq!(more.count(), 1, "nothing new, nothing written");
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_decided_before_the_records_were_read() {
    let cluster = cluster::embedded().await;
    let client = cluster.client().await;
    let world = World::start_with(client, &cluster.namespace, patient).await;
    for id in ["old", "barrier"] {
        run(&world, id).await;
    }
    // Without its activity the workspace would exceed the startup timeout.
    world.clock.advance(70 * MINUTE);
    world.holds().await;
    for id in ["old", "barrier"] {
        mark_active(&world, id).await;
        let last = last_activity(&world, id).await;
        world.clock.advance(10 * SECOND);
        is_recorded(&cluster, id, last).await;
    }
    let clock = world.clock.clone();
    world.kill().await;

    let faults = cluster.server.as_ref().unwrap().faults();
    let records = "record%3Dactivity";
    faults.add("GET", records, usize::MAX, Fault::CutBefore);
    faults.record();
    let client = cluster.client().await;
    let world = World::start_at(clock.clone(), client, &cluster.namespace, |_| {}).await;
    world
        .lease_state_of(|lease_state| matches!(lease_state, LeaseState::Follower { .. }))
        .await;
    clock.advance(wsman::lease::DURATION);
    world.holds().await;
    let mut updates = world.subscribe().await;
    world.stop_workspace("barrier").await;
    let reads = || {
        let requests = faults.requests().into_iter();
        requests
            .filter(|request| request.query.contains(records))
            .count()
    };
    let before = reads();
    let more = async {
        while reads() < before + 3 {
            world.list().await;
        }
    };
    tokio::time::timeout(TIMEOUT, more).await.unwrap();
    let acts = cluster.writes();
    assert_eq!(acts, ["PATCH pods/ws-barrier"], "only the call itself");
    faults.clear();
    updates.until("barrier", WorkspacePhase::Stopped).await;
    let status = world.describe("old").await.unwrap();
    assert_eq!(status.phase(), WorkspacePhase::Running);
    assert_eq!(status.conditions.unwrap().timeout, "");
    world.drain().await.unwrap();
}
