//! Writes that the API server carried out without an answer: each is found by a look and not sent again.

use k8s_openapi::api::core::v1::Pod;
use wsman::proto::wsman::*;
use wsman_sim::apiserver::faults::Fault;

use super::support::cluster;
use super::support::world::World;

#[tokio::test]
async fn a_life_whose_answers_are_lost_creates_and_deletes_each_object_once() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let faults = cluster.server.as_ref().unwrap().faults();
    for (method, path) in [
        ("POST", "/pods"),
        ("POST", "/secrets"),
        ("POST", "/services"),
        ("PATCH", "/pods/ws-lost"),
        ("DELETE", "/pods/ws-lost"),
    ] {
        faults.add(method, path, 1, Fault::CutAfter);
    }
    faults.record();
    let mut updates = world.subscribe().await;
    let answer = world.start_workspace("lost").await;
    updates.until("lost", WorkspacePhase::Running).await;
    let known = world.describe("lost").await.unwrap();
    assert_eq!(known.auth.unwrap().owner_token, answer.owner_token);
    world.stop_workspace("lost").await;
    updates.until("lost", WorkspacePhase::Stopped).await;
    cluster.gone::<Pod>("ws-lost").await;
    faults.spent().await;
    let mut writes = cluster.writes();
    writes.retain(|write| !write.starts_with("PATCH"));
    writes.sort();
    assert_eq!(
        writes,
        [
            "DELETE pods/ws-lost",
            "POST pods",
            "POST secrets",
            "POST services",
            "POST services",
        ]
    );
    // Right after a write whose answer was lost, its object is read.
    let requests = faults.requests();
    for (method, path) in [
        ("POST", "/pods"),
        ("PATCH", "/pods/ws-lost"),
        ("DELETE", "/pods/ws-lost"),
    ] {
        let mut later = requests
            .iter()
            .skip_while(|request| request.method != method || !request.path.ends_with(path));
        assert!(
            later.any(|request| request.method == "GET" && request.path.ends_with("/pods/ws-lost")),
            "{method} {path}"
        );
    }
    world.drain().await.unwrap();
}
