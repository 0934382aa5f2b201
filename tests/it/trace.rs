//! The trace of a caller, on every update of the workspace that it starts.

use wsman::proto::wsman::*;

use super::support::cluster::Cluster;
use super::support::world::{TIMEOUT, World, request};

on_both_clusters! {
    the_trace_of_a_start_goes_with_every_update
}

async fn the_trace_of_a_start_goes_with_every_update(cluster: &Cluster) {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const JAEGER: &str = "4bf92f3577b34da6a3ce929d0e0e4736:f067aa0ba902b7:0:1";
    let world = World::start(cluster).await;
    let subscribe = async |world: &World| {
        let mut client = world.client.clone();
        let stream = client.subscribe(SubscribeRequest::default()).await;
        stream.unwrap().into_inner()
    };
    let mut stream = subscribe(&world).await;
    for (id, parent, jaeger) in [
        ("traced", PARENT, JAEGER),
        ("wrong", "00-nothing", "garbage"),
    ] {
        let mut request = tonic::Request::new(request(id));
        let metadata = request.metadata_mut();
        metadata.insert("traceparent", parent.parse().unwrap());
        // Classic clients escape the colons.
        let jaeger = jaeger.replace(':', "%3A");
        metadata.insert("uber-trace-id", jaeger.parse().unwrap());
        world.client.clone().start_workspace(request).await.unwrap();
    }
    world.start_workspace("untraced").await;
    let check = async |stream: &mut tonic::Streaming<SubscribeResponse>, phase| {
        let mut reached = 0;
        while reached < 3 {
            let next = tokio::time::timeout(TIMEOUT, stream.message()).await;
            let message = next.unwrap().unwrap().unwrap();
            let status = message.status.unwrap();
            for (name, wanted) in [("traceparent", PARENT), ("uber-trace-id", JAEGER)] {
                let wanted = (status.id == "traced").then_some(wanted);
                let sent = message.header.get(name);
                assert_eq!(sent.map(String::as_str), wanted, "{}", status.id);
            }
            reached += usize::from(status.phase() == phase);
        }
    };
    check(&mut stream, WorkspacePhase::Running).await;

    // The pod has it.
    world.kill().await;
    let world = World::start(cluster).await;
    let mut stream = subscribe(&world).await;
    for id in ["traced", "wrong", "untraced"] {
        world.stop_workspace(id).await;
    }
    check(&mut stream, WorkspacePhase::Stopped).await;
    world.drain().await.unwrap();
}
