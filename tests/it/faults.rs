//! What the daemon does when the API server is away, slow, restarted or rejects requests: each fault is injected.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams};
use tonic::Code;
use tonic_types::StatusExt;
use wsman::proto::wsman::*;
use wsman_sim::apiserver::faults::Fault;

use super::support::cluster::{self, Cluster};
use super::support::proxy::Proxy;
use super::support::world::{World, request};

on_both_clusters! {
    an_open_subscribe_survives_the_api_server
    a_deletion_during_an_outage_is_published
    an_unreachable_api_server_is_unavailable_within_the_deadline
}

async fn an_open_subscribe_survives_the_api_server(cluster: &Cluster) {
    let proxy = Proxy::before(cluster).await;
    let world = World::start_with(proxy.client().await, &cluster.namespace, |_| {}).await;
    let mut updates = world.subscribe().await;
    world.start_workspace("before").await;
    updates.until("before", WorkspacePhase::Running).await;
    proxy.cut().await;
    // The index is still served.
    assert_eq!(
        world.describe("before").await.unwrap().phase(),
        WorkspacePhase::Running
    );
    proxy.mend().await;
    world.start_workspace("after").await;
    updates.until("after", WorkspacePhase::Running).await;
    world.stop_workspace("before").await;
    updates.until("before", WorkspacePhase::Stopped).await;
    world.drain().await.unwrap();
}

async fn a_deletion_during_an_outage_is_published(cluster: &Cluster) {
    let proxy = Proxy::before(cluster).await;
    let world = World::start_with(proxy.client().await, &cluster.namespace, |_| {}).await;
    let mut updates = world.subscribe().await;
    for id in ["gone", "left"] {
        world.start_workspace(id).await;
        updates.until(id, WorkspacePhase::Running).await;
    }
    proxy.cut().await;
    let pods = cluster.api::<Pod>().await;
    cluster.release("ws-gone").await;
    pods.delete("ws-gone", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    cluster.gone::<Pod>("ws-gone").await;
    cluster.forget_history().await;
    proxy.mend().await;
    let stopped = updates.until("gone", WorkspacePhase::Stopped).await;
    assert!(stopped.status_version > 0);
    let left = world.list().await;
    // STOPPED is published before the pod is deleted, and until then the pod is listed as STOPPED.
    let lives = left
        .iter()
        .filter(|status| status.phase() != WorkspacePhase::Stopped);
    let lives: Vec<_> = lives.map(|status| status.id.as_str()).collect();
    assert_eq!(lives, ["left"]);
    world.drain().await.unwrap();
}

async fn an_unreachable_api_server_is_unavailable_within_the_deadline(cluster: &Cluster) {
    let proxy = Proxy::before(cluster).await;
    let world = World::start_with(proxy.client().await, &cluster.namespace, |_| {}).await;
    proxy.cut().await;
    let mut start = tonic::Request::new(request("unlucky"));
    start.set_timeout(Duration::from_secs(2));
    let begun = std::time::Instant::now();
    let failed = world
        .client
        .clone()
        .start_workspace(start)
        .await
        .unwrap_err();
    assert!(
        matches!(failed.code(), Code::Unavailable | Code::DeadlineExceeded),
        "{failed}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "within the caller's deadline"
    );
    // A retry finishes or starts it.
    proxy.mend().await;
    world.start_workspace("unlucky").await;
    let pods = cluster
        .api::<Pod>()
        .await
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(pods.items.len(), 1);
    world.drain().await.unwrap();
}

/// Injects a fault into the next requests of a method on a path.
pub(super) fn strike(cluster: &Cluster, method: &str, path: &str, times: usize, fault: Fault) {
    cluster
        .server
        .as_ref()
        .unwrap()
        .faults()
        .add(method, path, times, fault);
}

pub(super) fn answers(code: u16, reason: &str, message: &str, retry_after: Option<u32>) -> Fault {
    Fault::Status {
        code,
        reason: reason.to_owned(),
        message: message.to_owned(),
        retry_after,
    }
}

#[tokio::test]
async fn errors_of_the_api_server_have_their_code_and_leave_nothing() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    for (fault, code, reason) in [
        (
            answers(403, "Forbidden", "pods is forbidden", None),
            Code::PermissionDenied,
            "CLUSTER_REFUSED",
        ),
        (
            answers(403, "Forbidden", "exceeded quota: pods", None),
            Code::ResourceExhausted,
            "EXHAUSTED",
        ),
        (
            answers(422, "Invalid", "spec is odd", None),
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (
            answers(
                404,
                "NotFound",
                "admission webhook \"pods\" denied the request: no",
                None,
            ),
            Code::PermissionDenied,
            "CLUSTER_REFUSED",
        ),
        (
            answers(400, "BadRequest", "the body is odd", None),
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
    ] {
        strike(&cluster, "POST", "/pods", 1, fault);
        let refused = world
            .client
            .clone()
            .start_workspace(request("refused"))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            (reason, "wsman.dev")
        );
    }
    assert_eq!(
        cluster
            .api::<Pod>()
            .await
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        0
    );
    world.drain().await.unwrap();
}

#[tokio::test]
async fn a_busy_api_server_is_obeyed() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    strike(
        &cluster,
        "POST",
        "/pods",
        2,
        answers(429, "TooManyRequests", "slow down", Some(1)),
    );
    let begun = std::time::Instant::now();
    world.start_workspace("later").await;
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "twice as long as was asked"
    );
    // Without that much time, the caller gets the time to wait.
    strike(
        &cluster,
        "POST",
        "/pods",
        1,
        answers(429, "TooManyRequests", "slow down", Some(30)),
    );
    let mut start = tonic::Request::new(request("refused"));
    start.set_timeout(Duration::from_secs(2));
    let refused = world
        .client
        .clone()
        .start_workspace(start)
        .await
        .unwrap_err();
    assert!(
        matches!(refused.code(), Code::Unavailable | Code::DeadlineExceeded),
        "{refused}"
    );
    world.drain().await.unwrap();
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_recognised() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    strike(&cluster, "POST", "/pods", 1, Fault::CutAfter);
    let answer = world.start_workspace("stored").await;
    assert_eq!(
        world
            .describe("stored")
            .await
            .unwrap()
            .auth
            .unwrap()
            .owner_token,
        answer.owner_token
    );
    let pods = cluster
        .api::<Pod>()
        .await
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(pods.items.len(), 1);
    world.drain().await.unwrap();
}

#[tokio::test]
async fn a_start_that_lost_its_daemon_is_finished_by_the_same_call() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    strike(&cluster, "POST", "/secrets", 1, Fault::Hang);
    let mut start = tonic::Request::new(request("cut"));
    start.set_timeout(Duration::from_secs(1));
    let late = world
        .client
        .clone()
        .start_workspace(start)
        .await
        .unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    world.kill().await;
    let world = World::start(&cluster).await;
    let answer = world.start_workspace("cut").await;
    assert_eq!(
        world
            .describe("cut")
            .await
            .unwrap()
            .auth
            .unwrap()
            .owner_token,
        answer.owner_token
    );
    cluster.api::<Secret>().await.get("ws-cut").await.unwrap();
    world.drain().await.unwrap();
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_cut_a_start_in_half() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    strike(
        &cluster,
        "POST",
        "/secrets",
        1,
        Fault::Delay(Duration::from_millis(300)),
    );
    let mut client = world.client.clone();
    let hung_up = tokio::time::timeout(
        Duration::from_millis(100),
        client.start_workspace(request("alone")),
    )
    .await;
    assert!(hung_up.is_err());
    updates.until("alone", WorkspacePhase::Running).await;
    for service in ["ws-p-alone-ide", "ws-p-alone-ports"] {
        cluster.appears::<Service>(service).await;
    }
    world.drain().await.unwrap();
}

#[tokio::test]
async fn a_service_that_was_deleted_is_recreated() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    world.start_workspace("served").await;
    updates.until("served", WorkspacePhase::Running).await;
    let services = cluster.api::<Service>().await;
    let before = cluster.appears::<Service>("ws-p-served-ide").await;
    services
        .delete("ws-p-served-ide", &DeleteParams::default())
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(60));
    let after = cluster.appears::<Service>("ws-p-served-ide").await;
    assert_ne!(before.metadata.uid, after.metadata.uid);
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_api_server_restarts_with_and_without_its_history() {
    for forgets in [false, true] {
        let mut cluster = cluster::embedded().await;
        let world = World::start(&cluster).await;
        let mut updates = world.subscribe().await;
        world.start_workspace("before").await;
        updates.until("before", WorkspacePhase::Running).await;
        cluster.restart(forgets).await;
        world.start_workspace("after").await;
        updates.until("after", WorkspacePhase::Running).await;
        world.stop_workspace("before").await;
        updates.until("before", WorkspacePhase::Stopped).await;
        world.drain().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_restarts_under_an_open_subscribe() {
    let Some((server, cluster)) = cluster::own_real("a_real_api_server_restarts").await else {
        return;
    };
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    world.start_workspace("before").await;
    updates.until("before", WorkspacePhase::Running).await;
    server.restart_api_server().await;
    world.start_workspace("after").await;
    updates.until("after", WorkspacePhase::Running).await;
    world.stop_workspace("before").await;
    updates.until("before", WorkspacePhase::Stopped).await;
    world.drain().await.unwrap();
}
