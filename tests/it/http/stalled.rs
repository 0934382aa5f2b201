//! F-S1 in every protocol of a stream: a reader that reads nothing for a minute gets an error when it reads again.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::{JSON, Web};
use crate::streams::while_time_leaps;
use crate::support::cluster::{self, Cluster};
use crate::support::story::Story;
use crate::support::world::TIMEOUT;

/// Makes updates that together are longer than what fits between the daemon and a reader.
async fn flood(story: &mut Story<'_>, cluster: &Cluster, updates: usize, length: usize) {
    for n in 0..updates {
        let annotations = json!({
            "gitpod.io/annotation.number": n.to_string(),
            "gitpod.io/annotation.filling": "x".repeat(length),
        });
        cluster.annotate("ws-w", annotations).await;
    }
    let last = (updates - 1).to_string();
    let is_last = |status: &wsman::proto::wsman::WorkspaceStatus| {
        let metadata = status.metadata.as_ref().unwrap();
        metadata.annotations.get("number") == Some(&last)
    };
    story.until_it("w", is_last).await;
}

#[tokio::test]
async fn fs1_a_reader_that_reads_nothing_for_a_minute_must_resync() {
    let cluster = cluster::embedded().await;
    let mut story = Story::begin(&cluster).await;
    story.run("w").await;
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .http2_only(true)
        .http2_initial_stream_window_size(4096);
    let web = Web {
        client: builder.build_http(),
        addr: story.world.addr,
    };
    let mut streams = Vec::new();
    for (content, accept) in [
        ("application/json", "application/x-ndjson"),
        ("application/json", "text/event-stream"),
        ("application/connect+json", "*/*"),
        ("application/connect+proto", "*/*"),
        ("application/grpc", "*/*"),
        ("application/grpc-web+proto", "*/*"),
    ] {
        let path = "/wsman.WorkspaceManager/Subscribe";
        let headers = [("content-type", content), ("accept", accept)];
        let empty = match content {
            "application/json" => Bytes::new(),
            "application/connect+json" => wsman::rpc::frames::frame(0, b"{}"),
            _ => wsman::rpc::frames::frame(0, b""),
        };
        let stream = web.begin(Method::POST, path, &headers, empty).await;
        assert_eq!(stream.status(), 200, "{content}");
        streams.push((content, accept, stream.into_body()));
    }
    flood(&mut story, &cluster, 20, 2000).await;
    // The steps are shorter than the timeout of HTTP/2 pings.
    let over = tokio::time::sleep(Duration::from_secs(90));
    while_time_leaps(Duration::from_secs(5), over).await;
    for (content, accept, stream) in streams {
        let rest = tokio::time::timeout(TIMEOUT, stream.collect()).await;
        let rest = rest.expect("it ends").unwrap();
        let trailers = format!("{:?}", rest.trailers());
        let rest = rest.to_bytes();
        let text = format!("{}{trailers}", String::from_utf8_lossy(&rest));
        // What was in flight, and then the end.
        assert!(text.contains("resync"), "{content} {accept}: {text}");
        assert!(rest.len() < 20 * 2000, "{content}: nothing was kept back");
    }
    // A reader that reads keeps its stream.
    cluster
        .annotate("ws-w", json!({ "gitpod.io/annotation.after": "yes" }))
        .await;
    story.updates.next().await.expect("the stream goes on");
    assert_eq!(
        web.post("/rpc/DescribeCluster", &[JSON], "{}").await.line,
        200
    );
    drop(web);
    story.world.kill().await;
}

/// Where HTTP has no windows of its own, the connection is what is stuck; it is closed.
#[tokio::test]
async fn fs1_a_connection_with_blocked_writes_for_a_minute_is_closed() {
    let cluster = cluster::embedded().await;
    let mut story = Story::begin(&cluster).await;
    story.run("w").await;
    let mut stuck = Vec::new();
    for accept in ["application/x-ndjson", "text/event-stream"] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(story.world.addr).await.unwrap();
        let ask =
            format!("GET /rpc/Subscribe HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        stuck.push(stream);
    }
    story.world.load_of(|load| load.streams == 3).await;
    flood(&mut story, &cluster, 120, 100_000).await;
    let gone = story.world.streams(1);
    let begun = tokio::time::Instant::now();
    while_time_leaps(Duration::from_secs(9), gone).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(90), "{took:?}");
    for mut stream in stuck {
        // What was in flight, without the last chunk.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"));
    }
    cluster
        .annotate("ws-w", json!({ "gitpod.io/annotation.after": "yes" }))
        .await;
    story.updates.next().await.expect("the stream goes on");
    story.world.kill().await;
}
