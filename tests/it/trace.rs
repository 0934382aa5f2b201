//! The trace that a caller is in, on every update of the workspace it starts.

use wsman::proto::wsman::*;

use super::support::cluster::Cluster;
use super::support::world::{PATIENCE, World, request};

on_both_clusters! {
    the_trace_of_a_start_goes_with_every_update
}

async fn the_trace_of_a_start_goes_with_every_update(cluster: &Cluster) {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let world = World::start(cluster).await;
    let subscribe = async |world: &World| {
        let mut client = world.client.clone();
        let stream = client.subscribe(SubscribeRequest::default()).await;
        stream.unwrap().into_inner()
    };
    let mut stream = subscribe(&world).await;
    for (id, parent) in [("traced", PARENT), ("wrong", "00-nothing")] {
        let mut request = tonic::Request::new(request(id));
        let parent = parent.parse().unwrap();
        request.metadata_mut().insert("traceparent", parent);
        world.client.clone().start_workspace(request).await.unwrap();
    }
    world.start_workspace("untraced").await;
    let check = async |stream: &mut tonic::Streaming<SubscribeResponse>, phase| {
        let mut reached = 0;
        while reached < 3 {
            let next = tokio::time::timeout(PATIENCE, stream.message()).await;
            let message = next.unwrap().unwrap().unwrap();
            let status = message.status.unwrap();
            let wanted = (status.id == "traced").then_some(PARENT);
            let told = message.header.get("traceparent");
            assert_eq!(told.map(String::as_str), wanted, "{}", status.id);
            reached += usize::from(status.phase() == phase);
        }
    };
    check(&mut stream, WorkspacePhase::Running).await;

    // The pod remembers it.
    world.kill().await;
    let world = World::start(cluster).await;
    let mut stream = subscribe(&world).await;
    for id in ["traced", "wrong", "untraced"] {
        world.stop_workspace(id).await;
    }
    check(&mut stream, WorkspacePhase::Stopped).await;
    world.drain().await.unwrap();
}
