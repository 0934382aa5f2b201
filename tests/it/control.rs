//! Stories of changes to running workspaces: ports, timeouts, admission, SSH keys; and of rejected ones.

mod calls;
mod keys;
mod ports;

use k8s_openapi::api::core::v1::Pod;
use wsman::proto::wsman::*;

use super::support::cluster::Cluster;
use super::support::world::{Updates, World};

/// Starts a workspace and waits until it runs and is settled.
async fn running(world: &World, updates: &mut Updates, request: StartWorkspaceRequest) {
    let id = request.id.clone();
    world.client.clone().start_workspace(request).await.unwrap();
    updates.until(&id, WorkspacePhase::Running).await;
}

/// The value of an annotation of a pod.
async fn annotation(cluster: &Cluster, pod: &str, key: &str) -> Option<String> {
    let pod = cluster.api::<Pod>().await.get(pod).await.unwrap();
    pod.metadata.annotations.unwrap().remove(key)
}
