//! Several daemons on one cluster: all serve, the leader acts, and no end of either shows from outside.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use wsman::clock::Clock;
use wsman::lease::{DURATION, LeaseState, NAME, RENEW_DEADLINE, RETRY};
use wsman::proto::wsman::*;
use wsman_sim::apiserver::faults::Fault;

use super::activity::{last_activity, learns, mark_active};
use super::processes::{self, Daemon};
use super::support::cluster::{self, Cluster};
use super::support::proxy::Proxy;
use super::support::world::{World, request};
use super::writes::{a_life_is_cheap, served};

on_both_clusters! {
    both_serve_and_either_may_be_killed
    a_drained_holder_hands_over_at_once_with_its_last_checkpoint
    a_zombie_does_nothing
    clocks_an_hour_apart_do_no_harm
    a_removed_lease_is_made_again
    a_new_configuration_decides_at_once
}

const MINUTE: Duration = Duration::from_secs(60);

pub(crate) async fn pair(cluster: &Cluster) -> (World, World) {
    let start =
        async || World::start_with(cluster.client().await, &cluster.namespace, patient).await;
    let first = start().await;
    first.holds().await;
    let second = start().await;
    second.follows(&first).await;
    (first, second)
}

/// Clocks of these tests are far ahead of the API server's: their difference does not make anything late.
pub(crate) fn patient(config: &mut serde_json::Value) {
    for limit in ["initialization", "startup"] {
        config["manager"]["timeouts"][limit] = "100h".into();
    }
}

/// Waits until one of two replicas leads and the other knows; returns them in this order.
pub(crate) async fn settled<'a>(a: &'a World, b: &'a World) -> (&'a World, &'a World) {
    let (holder, other) = tokio::select! {
        () = a.holds() => (a, b),
        () = b.holds() => (b, a),
    };
    other.follows(holder).await;
    (holder, other)
}

/// Starts a workspace until it runs, which needs a working lifecycle.
pub(crate) async fn run(world: &World, id: &str) {
    let mut updates = world.subscribe().await;
    world.start_workspace(id).await;
    updates.until(id, WorkspacePhase::Running).await;
}

async fn both_serve_and_either_may_be_killed(cluster: &Cluster) {
    let (mut holder, mut follower) = pair(cluster).await;
    for state in [
        WorkspacePhase::Pending,
        WorkspacePhase::Creating,
        WorkspacePhase::Initializing,
        WorkspacePhase::Running,
    ] {
        let id = format!("killed-{}", state.as_str_name().to_lowercase());
        let mut updates = follower.subscribe().await;
        let mut others = holder.subscribe().await;
        let answer = follower.start_workspace(&id).await;
        while let Some(status) = updates.next().await {
            let phase = status.phase();
            if status.id == id && (phase == state || phase == WorkspacePhase::Running) {
                break;
            }
        }
        // The other serves the same.
        while others.next().await.is_some_and(|status| status.id != id) {}
        holder.kill().await;
        follower.clock.advance(DURATION);
        follower.holds().await;
        if !updates.phases(&id).contains(&"RUNNING") {
            updates.until(&id, WorkspacePhase::Running).await;
        }
        assert_eq!(follower.start_workspace(&id).await, answer);
        holder = follower;
        follower = World::start(cluster).await;
        follower.follows(&holder).await;
        assert_eq!(
            follower.describe(&id).await.unwrap().phase(),
            WorkspacePhase::Running
        );
    }
    // A follower that dies changes nothing; a new one takes part.
    follower.kill().await;
    let follower = World::start(cluster).await;
    follower.follows(&holder).await;
    let mut updates = follower.subscribe().await;
    follower.stop_workspace("killed-running").await;
    holder.kill().await;
    follower.clock.advance(DURATION);
    updates
        .until("killed-running", WorkspacePhase::Stopped)
        .await;
    cluster.gone::<Pod>("ws-killed-running").await;
    follower.drain().await.unwrap();
}

async fn a_drained_holder_hands_over_at_once_with_its_last_checkpoint(cluster: &Cluster) {
    let (holder, follower) = pair(cluster).await;
    run(&holder, "handed").await;
    mark_active(&holder, "handed").await;
    learns(&follower, "handed", last_activity(&holder, "handed").await).await;
    // Within the interval: this one waits for a checkpoint.
    mark_active(&holder, "handed").await;
    let last = last_activity(&holder, "handed").await;
    let begun = follower.clock.elapsed();
    holder.drain().await.unwrap();
    follower.holds().await;
    assert!(
        follower.clock.elapsed() - begun < RENEW_DEADLINE,
        "it had to wait for the lease to expire"
    );
    learns(&follower, "handed", last).await;
    run(&follower, "next").await;
    follower.drain().await.unwrap();
    let lease = cluster.api::<Lease>().await.get(NAME).await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some(""));
}

async fn a_zombie_does_nothing(cluster: &Cluster) {
    let proxy = Proxy::before(cluster).await;
    let client = proxy.client_as("wsman/zombie").await;
    let zombie = World::start_with(client, &cluster.namespace, |_| {}).await;
    zombie.holds().await;
    let other = World::start(cluster).await;
    other.follows(&zombie).await;
    run(&zombie, "contended").await;
    if let Some(server) = &cluster.server {
        server.faults().record();
    }
    proxy.cut().await;
    zombie.clock.advance(RENEW_DEADLINE);
    assert!(!zombie.holds_now(), "nothing acts without the lease");
    other.clock.advance(DURATION);
    other.holds().await;
    // For the stopped process's clock the workspace timed out long ago. It must not act on that when it continues.
    zombie.clock.advance(120 * MINUTE);
    proxy.mend().await;
    zombie.follows(&other).await;
    run(&zombie, "after").await;
    for world in [&zombie, &other] {
        let status = world.describe("contended").await.unwrap();
        assert_eq!(status.phase(), WorkspacePhase::Running);
        assert_eq!(status.conditions.unwrap().timeout, "");
    }
    if let Some(server) = &cluster.server {
        let requests = server.faults().requests();
        let mut acts: Vec<_> = requests
            .iter()
            .filter(|request| request.is_write() && request.user_agent == "wsman/zombie")
            .filter(|request| !request.path.contains("/leases"))
            .map(|request| format!("{} {}", request.method, request.path))
            .collect();
        let starts = ["pods", "secrets", "services", "services"];
        let starts = starts.map(|kind| format!("POST /api/v1/namespaces/default/{kind}"));
        acts.sort();
        assert_eq!(acts, starts, "it served the start, and no more");
    }
    zombie.drain().await.unwrap();
    other.drain().await.unwrap();
}

async fn clocks_an_hour_apart_do_no_harm(cluster: &Cluster) {
    let ahead = Clock::manual();
    ahead.set(SignedDuration::from_hours(1));
    let client = cluster.client().await;
    let holder = World::start_at(ahead, client, &cluster.namespace, patient).await;
    holder.holds().await;
    let follower = World::start(cluster).await;
    follower.follows(&holder).await;
    for round in 0..20 {
        // The leader's clock is set, forward and back.
        let jump = if round % 2 == 0 { -2 } else { 2 };
        holder.clock.set(SignedDuration::from_hours(jump));
        let until = holder.clock.elapsed() + RENEW_DEADLINE;
        holder.clock.advance(RETRY);
        let renewed = |lease_state: &LeaseState| lease_state.holds(until);
        holder.lease_state_of(renewed).await;
        follower.clock.advance(RETRY);
    }
    follower.follows(&holder).await;
    run(&follower, "timeless").await;
    let lease = cluster.api::<Lease>().await.get(NAME).await.unwrap();
    let spec = lease.spec.unwrap();
    assert_eq!(spec.holder_identity, Some(holder.identity.clone()));
    assert_eq!(spec.lease_transitions, Some(0), "it never changed hands");
    holder.drain().await.unwrap();
    follower.drain().await.unwrap();
}

async fn a_removed_lease_is_made_again(cluster: &Cluster) {
    let (a, b) = pair(cluster).await;
    let leases = cluster.api::<Lease>().await;
    let before = leases.get(NAME).await.unwrap().metadata.uid;
    leases.delete(NAME, &DeleteParams::default()).await.unwrap();
    let after = cluster.appears::<Lease>(NAME).await.metadata.uid;
    assert_ne!(before, after);
    let (holder, follower) = settled(&a, &b).await;
    run(follower, "undisturbed").await;
    assert!(holder.holds_now());
    a.drain().await.unwrap();
    b.drain().await.unwrap();
}

async fn a_new_configuration_decides_at_once(cluster: &Cluster) {
    let world = World::start(cluster).await;
    run(&world, "shortened").await;
    mark_active(&world, "shortened").await;
    world.clock.advance(6 * MINUTE);
    world.holds().await;
    run(&world, "barrier").await;
    let status = world.describe("shortened").await.unwrap();
    assert_eq!(status.conditions.unwrap().timeout, "");
    let mut updates = world.subscribe().await;
    world.reconfigure(|config| {
        config["manager"]["timeouts"]["regularWorkspace"] = "5m".into();
        config["manager"]["workspaceClass"]["default"]["name"] = "Renamed".into();
    });
    let stopped = updates.until("shortened", WorkspacePhase::Stopped).await;
    assert_eq!(
        stopped.conditions.unwrap().timeout,
        "workspace timed out after period of inactivity (00h06m) took longer than 00h05m"
    );
    let described = world
        .client
        .clone()
        .describe_cluster(DescribeClusterRequest::default())
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = described
        .workspace_classes
        .iter()
        .map(|class| class.display_name.as_str())
        .collect();
    assert!(names.contains(&"Renamed"), "{names:?}");
    // A pod's next version shows the new default.
    run(&world, "later").await;
    let spec = world.describe("later").await.unwrap().spec.unwrap();
    assert_eq!(spec.timeout, "5m0s");
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_write_what_one_would() {
    let cluster = cluster::embedded().await;
    let (holder, follower) = pair(&cluster).await;
    a_life_is_cheap(&cluster, &follower, &holder).await;
    holder.drain().await.unwrap();
    follower.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_the_lease_calls_are_served_and_the_lifecycle_waits() {
    let cluster = cluster::embedded().await;
    let faults = cluster.server.as_ref().unwrap().faults();
    let forbidden = Fault::Status {
        code: 403,
        reason: "Forbidden".to_owned(),
        message: "leases is forbidden".to_owned(),
        retry_after: None,
    };
    faults.add("", "/leases", usize::MAX, forbidden);
    faults.record();
    let client = cluster.client().await;
    let world = World::start_unready(client, &cluster.namespace).await;
    world
        .readiness(|answer| answer.contains("lease: cannot get leases.coordination.k8s.io"))
        .await;
    let mut updates = world.subscribe().await;
    world.start_workspace("waiting").await;
    updates.until("waiting", WorkspacePhase::Running).await;
    served(&cluster, "waiting").await;
    world.stop_workspace("waiting").await;
    let asked = updates.next().await.unwrap().conditions.unwrap();
    assert_eq!(asked.stopped_by_request(), WorkspaceConditionBool::True);
    assert!(!world.holds_now());
    let mut writes = cluster.writes();
    writes.sort();
    let starts = ["pods", "secrets", "services", "services"].map(|kind| format!("POST {kind}"));
    let mut expected = vec!["PATCH pods/ws-waiting".to_owned()];
    expected.extend(starts);
    assert_eq!(writes, expected, "only what the calls write");
    faults.clear();
    world.clock.advance(RETRY);
    updates.until("waiting", WorkspacePhase::Stopped).await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_hangs_ends_the_leadership_before_another_may_start() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    run(&world, "held").await;
    let mut updates = world.subscribe().await;
    let faults = cluster.server.as_ref().unwrap().faults();
    for method in ["PATCH", "GET"] {
        faults.add(method, "/leases", usize::MAX, Fault::Hang);
    }
    faults.record();
    let until = world.clock.elapsed() + RENEW_DEADLINE;
    world.clock.advance(RETRY);
    // The renewal hangs for ever; the leadership ends by its own clock.
    assert!(world.holds_now());
    world.clock.advance(until - world.clock.elapsed());
    assert!(!world.holds_now());
    world.stop_workspace("held").await;
    let conditions = updates.next().await.unwrap().conditions.unwrap();
    assert_eq!(
        conditions.stopped_by_request(),
        WorkspaceConditionBool::True
    );
    for _ in 0..50 {
        world.list().await;
    }
    assert_eq!(cluster.writes(), ["PATCH pods/ws-held"], "only the call");
    // The next attempt goes well.
    faults.clear();
    updates.until("held", WorkspacePhase::Stopped).await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_stopped_wakes_as_a_follower() {
    let cluster = cluster::embedded().await;
    let stopped = Daemon::start(&cluster, 0);
    let mut client = stopped.client().await;
    cluster.appears::<Lease>(NAME).await;
    client.start_workspace(request("frozen")).await.unwrap();
    processes::until(&mut client, "frozen", WorkspacePhase::Running).await;
    let other = Daemon::start(&cluster, 0);
    let mut others = other.client().await;
    stopped.signal("-STOP");
    let stop = StopWorkspaceRequest {
        id: "frozen".to_owned(),
        ..Default::default()
    };
    others.stop_workspace(stop).await.unwrap();
    // The other one takes over when the Lease expires.
    cluster.gone::<Pod>("ws-frozen").await;
    stopped.signal("-CONT");
    client.start_workspace(request("thawed")).await.unwrap();
    processes::until(&mut client, "thawed", WorkspacePhase::Running).await;
    let lease = cluster.api::<Lease>().await.get(NAME).await.unwrap();
    assert_eq!(lease.spec.unwrap().lease_transitions, Some(1));
}
