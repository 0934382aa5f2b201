//! F-S11: a daemon ends within its shutdown timeouts, also with open connections.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use wsman::proto::wsman::*;

use super::record::Client;
use crate::processes::Daemon;
use crate::support::cluster;
use crate::support::world::request;

async fn send(addr: &str, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Requests a stream over HTTP/1.1, and waits until it is open.
async fn listen(addr: &str, accept: &str) -> TcpStream {
    let ask = format!("GET /rpc/Subscribe HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n\r\n");
    let mut stream = send(addr, &ask).await;
    let mut line = [0; 15];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 200 OK");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs11_a_drain_ends_in_time_with_eight_kinds_of_peers() {
    let cluster = cluster::embedded().await;
    let mut daemon = Daemon::start(&cluster, 0);
    let client = daemon.client().await;
    let addr = daemon.addr.clone();
    let subscribe = async |mut client: Client| {
        let stream = client.subscribe(SubscribeRequest::default()).await;
        stream.unwrap().into_inner()
    };
    // 1: one that reads its stream.
    let mut reads = subscribe(client.clone()).await;
    let reads = tokio::spawn(async move { while let Ok(Some(_)) = reads.message().await {} });
    // 2: one that never reads.
    let _stuck = subscribe(daemon.client().await).await;
    // 3: one that watches the health for ever.
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let _watch = health.watch(HealthCheckRequest::default()).await.unwrap();
    // 4: one that waits for something that never happens.
    let waits = tokio::spawn({
        let mut client = daemon.client().await;
        let mut start = request("waits");
        start.spec.as_mut().unwrap().class = "default".to_owned();
        async move {
            let mut start = Request::new(start);
            let metadata = start.metadata_mut();
            metadata.insert("wsman-wait", "running".parse().unwrap());
            client.start_workspace(start).await
        }
    });
    // 5 and 6: readers over HTTP/1.1, of lines and of events.
    let _lines = listen(&addr, "application/x-ndjson").await;
    let _events = listen(&addr, "text/event-stream").await;
    // 7: one that sends nothing. 8: one that stops in the middle of a request.
    let _silent = send(&addr, "").await;
    let half = "POST /rpc/GetWorkspaces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let _half = send(&addr, half).await;
    let begun = Instant::now();
    daemon.signal("-TERM");
    assert_eq!(daemon.ended().await.code(), Some(0));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
    reads.await.unwrap();
    let _ = waits.await.unwrap();
}
