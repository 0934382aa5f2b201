//! The writes of a workspace's life to the API server: how many, in which order, and what a rejected write leaves
//! behind.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use tonic::Code;
use tonic_types::StatusExt;
use wsman::proto::wsman::*;
use wsman_sim::apiserver::faults::Fault;

use super::support::cluster::{self, Cluster};
use super::support::world::{Updates, World, request};

fn forbidden(message: &str) -> Fault {
    Fault::Status {
        code: 403,
        reason: "Forbidden".to_owned(),
        message: message.to_owned(),
        retry_after: None,
    }
}

fn strike(cluster: &Cluster, collection: &str, times: usize, fault: Fault) {
    let faults = cluster.server.as_ref().unwrap().faults();
    faults.add("POST", collection, times, fault);
}

pub(super) async fn served(cluster: &Cluster, id: &str) {
    for kind in ["ide", "ports"] {
        cluster
            .appears::<Service>(&format!("ws-p-{id}-{kind}"))
            .await;
    }
}

async fn until(updates: &mut Updates, is_so: impl Fn(&WorkspaceStatus) -> bool) -> WorkspaceStatus {
    loop {
        let status = updates.next().await.unwrap();
        if is_so(&status) {
            return status;
        }
    }
}

/// Lets one daemon start a workspace and another stop it, and records the writes.
pub(super) async fn a_life_is_cheap(cluster: &Cluster, starts: &World, stops: &World) {
    cluster.server.as_ref().unwrap().faults().record();
    let mut updates = stops.subscribe().await;
    starts.start_workspace("cheap").await;
    updates.until("cheap", WorkspacePhase::Running).await;
    served(cluster, "cheap").await;
    stops.stop_workspace("cheap").await;
    updates.until("cheap", WorkspacePhase::Stopped).await;
    cluster.gone::<Pod>("ws-cheap").await;
    let mut writes = cluster.writes();
    // Everything that the pod needs is written concurrently.
    writes[1..4].sort();
    assert_eq!(
        writes,
        [
            "POST pods",
            "POST secrets",
            "POST services",
            "POST services",
            "PATCH pods/ws-cheap",
            "DELETE pods/ws-cheap",
            "PATCH pods/ws-cheap",
        ]
    );
}

#[tokio::test]
async fn a_lifetime_costs_four_writes_and_its_dependants_and_none_fails() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    a_life_is_cheap(&cluster, &world, &world).await;
    let faults = cluster.server.as_ref().unwrap().faults();
    let mut updates = world.subscribe().await;
    // A restart writes nothing.
    world.start_workspace("kept").await;
    updates.until("kept", WorkspacePhase::Running).await;
    served(&cluster, "kept").await;
    world.kill().await;
    faults.record();
    let world = World::start(&cluster).await;
    assert_eq!(
        world.describe("kept").await.unwrap().phase(),
        WorkspacePhase::Running
    );
    world.drain().await.unwrap();
    assert_eq!(cluster.writes(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_stops_at_once_delete_each_pod_once() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    let ids: Vec<_> = (0..100).map(|n| format!("one-{n}")).collect();
    futures::future::join_all(ids.iter().map(|id| world.start_workspace(id))).await;
    for id in &ids {
        if !updates.phases(id).contains(&"RUNNING") {
            updates.until(id, WorkspacePhase::Running).await;
        }
        served(&cluster, id).await;
    }
    cluster.server.as_ref().unwrap().faults().record();
    futures::future::join_all(ids.iter().map(|id| world.stop_workspace(id))).await;
    for id in &ids {
        cluster.gone::<Pod>(&format!("ws-{id}")).await;
    }
    let mut writes = cluster.writes();
    writes.sort();
    let mut expected: Vec<_> = ids
        .iter()
        .flat_map(|id| ["DELETE", "PATCH", "PATCH"].map(|method| format!("{method} pods/ws-{id}")))
        .collect();
    expected.sort();
    assert_eq!(writes, expected);
    world.drain().await.unwrap();
}

#[tokio::test]
async fn a_start_whose_secret_is_refused_is_taken_back() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    strike(&cluster, "/secrets", 1, forbidden("not allowed"));
    let refused = world.client.clone().start_workspace(request("half")).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    cluster.gone::<Pod>("ws-half").await;
    cluster.gone::<Secret>("ws-half").await;
    cluster.gone::<Service>("ws-p-half-ide").await;
    // And the id is free again.
    world.start_workspace("half").await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_service_shows_in_the_status_until_it_is_there_and_takes_nothing_back() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    strike(
        &cluster,
        "/services",
        usize::MAX,
        forbidden("no Services today"),
    );
    world.start_workspace("bare").await;
    let why = "a Service was refused: ";
    let shows = |status: &WorkspaceStatus| {
        status.phase() == WorkspacePhase::Running && status.message.contains(why)
    };
    let status = until(&mut updates, shows).await;
    assert!(status.message.contains("no Services today"), "{status:?}");
    assert_eq!(status.conditions.unwrap().failed, "");
    assert!(cluster.api::<Pod>().await.get("ws-bare").await.is_ok());

    cluster.server.as_ref().unwrap().faults().clear();
    world.clock.advance(Duration::from_secs(60));
    served(&cluster, "bare").await;
    let well = |status: &WorkspaceStatus| status.message.is_empty();
    until(&mut updates, well).await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_answers_without_its_services_and_a_drain_waits_for_them() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let slow = Fault::Delay(Duration::from_secs(1));
    strike(&cluster, "/services", 2, slow);
    world.start_workspace("early").await;
    let services = cluster.api::<Service>().await;
    assert!(services.get_opt("ws-p-early-ide").await.unwrap().is_none());
    world.drain().await.unwrap();
    for kind in ["ide", "ports"] {
        let name = format!("ws-p-early-{kind}");
        assert!(services.get_opt(&name).await.unwrap().is_some(), "{name}");
    }
}

#[tokio::test]
async fn a_prefix_that_is_in_use_is_refused_before_anything_is_written() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    world.start_workspace("first").await;
    served(&cluster, "first").await;
    cluster.server.as_ref().unwrap().faults().record();
    let mut second = request("second");
    second.service_prefix = "P-First".to_owned();
    let refused = world.client.clone().start_workspace(second).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.metadata["state"], "NAME_IN_USE");
    assert!(refused.message().contains("workspace first"), "{refused}");
    assert_eq!(cluster.writes(), [""; 0]);
    world.drain().await.unwrap();
}
