//! F-S7: how much one connection may have in flight, and how many connections there may be.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use http::Method;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;
use wsman::rpc::in_flight::{CALLS, ConnectionLimiter, InFlight, STREAMS};
use wsman::server::listen;
use wsman_sim::apiserver::faults::Fault;

use crate::http::{JSON, Web};
use crate::support::cluster;
use crate::support::world::{TIMEOUT, World, request};

/// The reason and the limit in an error.
fn details(status: &Status) -> (String, HashMap<String, String>) {
    let info = status.get_details_error_info().unwrap();
    (info.reason, info.metadata)
}

fn limit(name: &str) -> HashMap<String, String> {
    HashMap::from([("limit".to_owned(), name.to_owned())])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs7_streams_beyond_the_limit_of_a_connection_are_refused_at_once() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(world.subscribe().await);
    }
    let mut client = world.client.clone();
    let refused = client.subscribe(SubscribeRequest::default()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("2000"), "{refused}");
    assert_eq!(
        details(&refused),
        ("EXHAUSTED".to_owned(), limit("STREAMS"))
    );
    // Other calls and other connections are not affected.
    world.list().await;
    let mut other = WorkspaceManagerClient::new(world.channel().await);
    drop(other.subscribe(SubscribeRequest::default()).await.unwrap());
    // The open ones still work, and a permit is free as soon as one ends.
    world.start_workspace("a").await;
    streams[0].until("a", WorkspacePhase::Running).await;
    world.load_of(|load| load.streams == STREAMS).await;
    streams.pop();
    world.load_of(|load| load.streams < STREAMS).await;
    streams.push(world.subscribe().await);
    drop(streams);
    world.load_of(|load| load.streams == 0).await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs7_json_and_grpc_web_count_like_grpc() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let web = Web::http2(world.addr);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let stream = web.begin(Method::GET, "/rpc/Subscribe", &[], "").await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let refused = web.get("/rpc/Subscribe").await;
    assert_eq!(refused.line, 429);
    let (code, reason, _) = refused.error();
    assert_eq!(
        (code.as_str(), reason.as_str()),
        ("resource_exhausted", "EXHAUSTED")
    );
    // A Connect stream has it in its last message.
    let kind = [("content-type", "application/connect+json")];
    let refused = web.post("/rpc/Subscribe", &kind, "").await;
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(text.contains("\"code\":\"resource_exhausted\""), "{text}");
    for kind in ["application/grpc-web+proto", "application/grpc"] {
        let path = "/wsman.WorkspaceManager/Subscribe";
        let refused = web.post(path, &[("content-type", kind)], "").await;
        assert_eq!(refused.line, 200);
        assert_eq!(refused.headers["grpc-status"], "8", "{kind}");
        assert_eq!(refused.headers["content-type"], kind);
    }
    assert_eq!(
        web.post("/rpc/GetWorkspaces", &[JSON], "{}").await.line,
        200
    );
    drop(streams);
    world.load_of(|load| load.streams == 0).await;
    assert_eq!(
        web.begin(Method::GET, "/rpc/Subscribe", &[], "")
            .await
            .status(),
        200
    );
    drop(web);
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs7_calls_beyond_the_limit_of_a_connection_are_refused_at_once() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let faults = cluster.server.as_ref().unwrap().faults();
    faults.add("POST", "/pods", usize::MAX, Fault::Hang);
    let starts: Vec<_> = (0..CALLS)
        .map(|n| {
            let mut client = world.client.clone();
            let start = async move { client.start_workspace(request(&format!("w{n}"))).await };
            tokio::spawn(start)
        })
        .collect();
    world.load_of(|load| load.calls == CALLS).await;
    let list = world
        .client
        .clone()
        .get_workspaces(GetWorkspacesRequest::default())
        .await;
    let refused = list.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("200"), "{refused}");
    assert_eq!(details(&refused), ("EXHAUSTED".to_owned(), limit("CALLS")));
    // Streams have their own permits.
    drop(world.subscribe().await);
    for start in &starts {
        start.abort();
    }
    world.load_of(|load| load.calls == 0).await;
    world.list().await;
    world.kill().await;
}

#[tokio::test]
async fn fs10_connections_beyond_the_limit_are_closed_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let load = watch::Sender::new(InFlight::default());
    let mut connections = listen::accept(listener, None, ConnectionLimiter::new(2, load.clone()));
    let mut clients = Vec::new();
    let mut served = Vec::new();
    for _ in 0..2 {
        clients.push(TcpStream::connect(addr).await.unwrap());
        served.push(connections.next().await.unwrap().unwrap());
    }
    for turned_away in 1..=3 {
        let mut further = TcpStream::connect(addr).await.unwrap();
        let closed = tokio::time::timeout(TIMEOUT, further.read(&mut [0; 1])).await;
        assert!(matches!(closed.unwrap(), Ok(0) | Err(_)));
        let counts = *load.borrow();
        assert_eq!((counts.connections, counts.turned_away), (2, turned_away));
    }
    // However one ends, its permit is free again.
    served.pop();
    clients.push(TcpStream::connect(addr).await.unwrap());
    let next = tokio::time::timeout(Duration::from_secs(10), connections.next()).await;
    served.push(next.unwrap().unwrap().unwrap());
    drop(served);
    assert_eq!(load.borrow().connections, 0);
}
