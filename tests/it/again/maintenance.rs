//! Maintenance switched on and off by the ConfigMap, and by the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use tonic_types::StatusExt;
use wsman::proto::wsman::*;

use super::refused;
use crate::support::cluster::Cluster;
use crate::support::world::{TIMEOUT, World, request};

on_both_clusters! {
    maintenance_holds_back_starts_and_timeouts_but_no_stop
    maintenance_ends_when_its_time_is_over
    an_unreadable_switch_is_off
    the_configuration_switches_maintenance_on_for_good
}

const NAME: &str = "ws-manager-mk2-maintenance-mode";
/// Longer than any timeout of the example configuration.
const LONG: Duration = Duration::from_secs(100 * 3600);

async fn switch(cluster: &Cluster, content: &str) {
    let data = BTreeMap::from([("config.json", content)]);
    let map = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME }, "data": data,
    });
    let maps = cluster.api::<ConfigMap>().await;
    let object = serde_json::from_value(map.clone()).unwrap();
    let created = maps.create(&PostParams::default(), &object).await;
    if created.is_err() {
        let params = PatchParams::default();
        maps.patch(NAME, &params, &Patch::Merge(map)).await.unwrap();
    }
}

/// Waits until a start is answered as it should be: the switch is followed, not read.
async fn answers(world: &World, id: &str, in_maintenance: bool) {
    let settles = async {
        loop {
            let mut client = world.client.clone();
            let answer = client.start_workspace(request(id)).await;
            if answer.is_err() == in_maintenance {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let settled = tokio::time::timeout(TIMEOUT, settles).await;
    settled.expect("the switch is followed");
}

async fn maintenance_holds_back_starts_and_timeouts_but_no_stop(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    for id in ["idle", "stopped"] {
        world.start_workspace(id).await;
        updates.until(id, WorkspacePhase::Running).await;
    }
    let end = world.clock.now() + LONG + LONG;
    switch(cluster, &format!(r#"{{"enabledUntil":"{end}"}}"#)).await;
    answers(&world, "stopped", true).await;
    let why = refused(&world, "new").await;
    assert_eq!(why.message(), "under maintenance");
    let info = why.get_details_error_info().unwrap();
    assert_eq!(info.metadata["state"], "MAINTENANCE");
    assert_eq!(info.metadata["until"], end.to_string());

    world.clock.advance(LONG);
    world.stop_workspace("stopped").await;
    updates.until("stopped", WorkspacePhase::Stopped).await;
    let idle = world.describe("idle").await.unwrap();
    assert_eq!(idle.phase(), WorkspacePhase::Running);
    assert_eq!(idle.conditions.unwrap().timeout, "");

    // A restart knows of it before it decides anything.
    world.kill().await;
    let world = World::start(cluster).await;
    world.clock.advance(LONG);
    let mut updates = world.subscribe().await;
    refused(&world, "new").await;
    assert_eq!(
        world.describe("idle").await.unwrap().phase(),
        WorkspacePhase::Running
    );
    let maps = cluster.api::<ConfigMap>().await;
    maps.delete(NAME, &DeleteParams::default()).await.unwrap();
    let stopped = updates.until("idle", WorkspacePhase::Stopped).await;
    let timeout = stopped.conditions.unwrap().timeout;
    assert!(timeout.starts_with("workspace timed out"), "{timeout}");
    world.start_workspace("new").await;
    world.drain().await.unwrap();
}

async fn maintenance_ends_when_its_time_is_over(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    world.start_workspace("idle").await;
    updates.until("idle", WorkspacePhase::Running).await;
    let end = world.clock.now() + LONG + Duration::from_secs(3600);
    switch(cluster, &format!(r#"{{"enabledUntil":"{end}"}}"#)).await;
    answers(&world, "idle", true).await;
    world.clock.advance(LONG);
    refused(&world, "new").await;
    let idle = world.describe("idle").await.unwrap();
    assert_eq!(idle.phase(), WorkspacePhase::Running);
    world.clock.advance(Duration::from_secs(2 * 3600));
    updates.until("idle", WorkspacePhase::Stopped).await;
    world.start_workspace("new").await;
    world.drain().await.unwrap();
}

async fn an_unreadable_switch_is_off(cluster: &Cluster) {
    let world = World::start(cluster).await;
    switch(
        cluster,
        &format!(r#"{{"enabledUntil":"{}"}}"#, Timestamp::MAX),
    )
    .await;
    answers(&world, "any", true).await;
    switch(cluster, r#"{"enabledUntil":"tomorrow"}"#).await;
    answers(&world, "any", false).await;
    world.drain().await.unwrap();
    // So it is for a daemon that never saw another.
    let world = World::start(cluster).await;
    world.start_workspace("other").await;
    world.drain().await.unwrap();
}

async fn the_configuration_switches_maintenance_on_for_good(cluster: &Cluster) {
    let client = cluster.client().await;
    let world = World::start_with(client, &cluster.namespace, |config| {
        config["manager"]["maintenanceMode"] = true.into();
    });
    let world = world.await;
    let why = refused(&world, "new").await;
    assert_eq!(why.message(), "under maintenance");
    let info = why.get_details_error_info().unwrap();
    assert!(!info.metadata.contains_key("until"), "{info:?}");
    world.clock.advance(LONG);
    refused(&world, "new").await;
    world.drain().await.unwrap();
}
