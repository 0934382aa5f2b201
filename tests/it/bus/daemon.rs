//! The whole daemon with a message bus: what survives its death, and what a broker must not affect.

use k8s_openapi::api::core::v1::Pod;
use tonic_health::pb::health_check_response::ServingStatus;

use super::*;
use crate::support::cluster::Cluster;
use crate::support::rabbit;
use crate::support::world::{World, request};

on_both_clusters! {
    a_life_is_published_on_the_bus
    fq2_a_stopped_survives_the_daemon
    a_bus_that_never_comes_holds_no_pod_for_longer_than_it_may
    fq12_a_new_daemon_publishes_the_current_state_once
    fq2_killed_daemons_lose_no_end
}

/// A daemon whose broker's URL is in a file.
async fn start(cluster: &Cluster, file: &std::path::Path) -> World {
    let change = |config: &mut serde_json::Value| {
        config["messagebus"] = serde_json::json!({ "urlFile": file });
    };
    World::start_with(cluster.client().await, &cluster.namespace, change).await
}

/// A file with the URL of a broker that does not exist.
fn nowhere(folder: &tempfile::TempDir) -> std::path::PathBuf {
    let file = folder.path().join("url");
    std::fs::write(&file, "amqp://127.0.0.1:1").unwrap();
    file
}

async fn a_life_is_published_on_the_bus(cluster: &Cluster) {
    let Some(node) = rabbit::shared("a_life").await else {
        return;
    };
    let url = node
        .vhost(&format!("life-{}", cluster.namespace), "secret")
        .await;
    let mut queue = Queue::bound(&url, "q", "jane.*.updates").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, &url).unwrap();
    let world = start(cluster, &file).await;
    let mut updates = world.subscribe().await;
    let mut traced = tonic::Request::new(request("one"));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let metadata = traced.metadata_mut();
    metadata.insert("traceparent", parent.parse().unwrap());
    metadata.insert("uber-trace-id", "1:2:0:1".parse().unwrap());
    world.client.clone().start_workspace(traced).await.unwrap();
    let running = updates.until("one", WorkspacePhase::Running).await;
    let message = queue.until_phase("one", "RUNNING").await;
    assert_eq!(message.key, "jane.m-one.updates");
    assert_eq!(world.health("messagebus").await, ServingStatus::Serving);
    assert_eq!(message.traceparent.as_deref(), Some(parent));
    assert_eq!(message.jaeger.as_deref(), Some("1:2:0:1"));
    let same: WorkspaceStatus = serde_json::from_value(message.body).unwrap();
    assert_eq!(same, running, "the bus and the stream send the same");
    world.stop_workspace("one").await;
    let stopped = updates.until("one", WorkspacePhase::Stopped).await;
    let message = queue.until_phase("one", "STOPPED").await;
    let same: WorkspaceStatus = serde_json::from_value(message.body).unwrap();
    assert_eq!(same, stopped);
    cluster.gone::<Pod>("ws-one").await;
    queue.drain().await;
    assert_eq!(queue.check(), 0);
    assert_eq!(queue.history.last().unwrap().phase, "STOPPED");
    assert_eq!(world.bus.as_ref().unwrap().borrow().unannounced, 0);
    world.drain().await.unwrap();
}

async fn fq2_a_stopped_survives_the_daemon(cluster: &Cluster) {
    let Some(node) = rabbit::shared("fq2_stopped").await else {
        return;
    };
    let url = node
        .vhost(&format!("survives-{}", cluster.namespace), "secret")
        .await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let folder = tempfile::tempdir().unwrap();
    let file = nowhere(&folder);
    // Without a broker everything except the bus works.
    let world = start(cluster, &file).await;
    let mut updates = world.subscribe().await;
    world.start_workspace("lasting").await;
    updates.until("lasting", WorkspacePhase::Running).await;
    world.stop_workspace("lasting").await;
    let stopped = updates.until("lasting", WorkspacePhase::Stopped).await;
    // STOPPED is sent to streams at once, and the pod waits for the bus.
    assert_eq!(world.describe("lasting").await.unwrap(), stopped);
    let pod: Pod = cluster.api().await.get("ws-lasting").await.unwrap();
    assert!(pod.metadata.finalizers.is_some_and(|f| !f.is_empty()));
    world.kill().await;
    std::fs::write(&file, &url).unwrap();
    let world = start(cluster, &file).await;
    let message = queue.until_phase("lasting", "STOPPED").await;
    // The pod may have changed since, as when its kubelet reports its end: then its version is newer.
    assert!(
        message.version >= stopped.status_version as i64,
        "{message:?}"
    );
    assert_eq!(message.id, format!("{}@STOPPED", pod.metadata.uid.unwrap()));
    cluster.gone::<Pod>("ws-lasting").await;
    queue.drain().await;
    queue.check();
    world.drain().await.unwrap();
}

async fn a_bus_that_never_comes_holds_no_pod_for_longer_than_it_may(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    let world = start(cluster, &nowhere(&folder)).await;
    let mut updates = world.subscribe().await;
    world.start_workspace("held").await;
    updates.until("held", WorkspacePhase::Running).await;
    world.stop_workspace("held").await;
    updates.until("held", WorkspacePhase::Stopped).await;
    // It shows, and the daemon is still ready.
    assert_eq!(world.health("messagebus").await, ServingStatus::NotServing);
    assert_eq!(world.health("").await, ServingStatus::Serving);
    assert!(world.probe("/readyz").await.ends_with("ok"));
    let all = world.probe("/readyz?verbose").await;
    assert!(all.contains("[+]lease ok\n"), "{all}");
    assert!(all.contains("[-]messagebus failed: "), "{all}");
    assert_eq!(world.health("lease").await, ServingStatus::Serving);
    let answer = world.probe("/messagebus").await;
    assert!(answer.contains(r#""isConnected":false"#), "{answer}");
    assert!(answer.contains("127.0.0.1:1"), "{answer}");
    world.clock.advance(Duration::from_secs(299));
    let pods = cluster.api::<Pod>().await;
    assert!(pods.get_opt("ws-held").await.unwrap().is_some());
    world.clock.advance(Duration::from_secs(2));
    cluster.gone::<Pod>("ws-held").await;
    let mut bus = world.bus.clone().unwrap();
    // Its STOPPED is not dropped.
    reached(&mut bus, "it is counted", |state| {
        state.unannounced == 1 && state.waiting == 1
    })
    .await;
    world.drain().await.unwrap();
}

async fn fq12_a_new_daemon_publishes_the_current_state_once(cluster: &Cluster) {
    let Some(node) = rabbit::shared("fq12").await else {
        return;
    };
    let url = node
        .vhost(&format!("fq12-{}", cluster.namespace), "secret")
        .await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, &url).unwrap();
    let world = start(cluster, &file).await;
    for id in ["a", "b", "c"] {
        world.start_workspace(id).await;
        queue.until_phase(id, "RUNNING").await;
    }
    world.kill().await;
    queue.drain().await;
    let before = queue.history.len();
    let world = start(cluster, &file).await;
    let mut bus = world.bus.clone().unwrap();
    reached(&mut bus, "all are confirmed", |state| state.confirmed == 3).await;
    queue.drain().await;
    assert_eq!(queue.history.len(), before + 3);
    assert_eq!(queue.check(), 3, "under the ids they had");
    world.drain().await.unwrap();
}

async fn fq2_killed_daemons_lose_no_end(cluster: &Cluster) {
    let Some(node) = rabbit::shared("fq2_daemons").await else {
        return;
    };
    let url = node
        .vhost(&format!("daemons-{}", cluster.namespace), "secret")
        .await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, &url).unwrap();
    const COUNT: usize = 12;
    let mut world = start(cluster, &file).await;
    for n in 0..COUNT {
        world.start_workspace(&format!("w{n}")).await;
    }
    for n in 0..COUNT {
        world.stop_workspace(&format!("w{n}")).await;
        if n % 3 == 2 {
            // Some are stopping, some are stopped and not announced, some are gone.
            world.kill().await;
            world = start(cluster, &file).await;
        }
    }
    queue.until("all ends", all_stopped(COUNT)).await;
    for n in 0..COUNT {
        cluster.gone::<Pod>(&format!("ws-w{n}")).await;
    }
    world.drain().await.unwrap();
    queue.drain().await;
    queue.check();
}
