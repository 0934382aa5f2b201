//! F-S12, HTTP/1.1 byte by byte: pipelines, chunks, wrong lengths, and requests that never end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use wsman::rpc::in_flight::ConnectionLimiter;
use wsman::server::listen;

use crate::streams::while_time_leaps;
use crate::support::cluster;
use crate::support::world::{TIMEOUT, World};

/// Sends bytes and returns what is received until the end of the connection, or until `enough`.
async fn exchange(world: &World, bytes: &[u8], enough: impl Fn(&str) -> bool) -> String {
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    // A request may be rejected before its last byte.
    let _ = stream.write_all(bytes).await;
    let mut text = String::new();
    let mut part = [0; 4096];
    let read = async {
        while !enough(&text) {
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => return,
                Ok(count) => text.push_str(&String::from_utf8_lossy(&part[..count])),
            }
        }
    };
    tokio::time::timeout(TIMEOUT, read)
        .await
        .unwrap_or_else(|_| panic!("no end after {text}"));
    text
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}\r\n{body}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let describe = |id: &str| {
        let body = format!("{{\"id\":\"{id}\"}}");
        post(
            "/rpc/DescribeWorkspace",
            &format!("content-length: {}\r\n", body.len()),
            &body,
        )
    };
    let ids = ["one", "two", "three", "four"];
    let all: String = ids.iter().map(|id| describe(id)).collect();
    let received = exchange(&world, all.as_bytes(), |text| {
        text.matches("does not exist").count() == 4
    })
    .await;
    let places: Vec<_> = ids
        .iter()
        .map(|id| {
            received
                .find(&format!("workspace {id} does not exist"))
                .expect(&received)
        })
        .collect();
    assert!(places.is_sorted(), "{received}");
    assert_eq!(received.matches("HTTP/1.1 404").count(), 4, "{received}");
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_are_taken_as_they_are() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let path = "/rpc/GetWorkspaces";
    let chunked = "transfer-encoding: chunked\r\n";
    let mut long = post(path, chunked, "").into_bytes();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..17 {
        long.extend_from_slice(&chunk);
    }
    // Far more than the server reads, and no end.
    let mut endless = long.clone();
    for _ in 17..80 {
        endless.extend_from_slice(&chunk);
    }
    let line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(4 << 20));
    for bytes in [&endless[..], line.as_bytes()] {
        // Whether the response arrives depends on timing; the end does.
        let received = exchange(&world, bytes, |_| false).await;
        assert!(
            received.is_empty() || received.starts_with("HTTP/1.1 4"),
            "{received}"
        );
    }
    long.extend_from_slice(b"0\r\n\r\n");
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "chunks",
            post(path, chunked, "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n").into(),
            "HTTP/1.1 200",
        ),
        ("17 MiB of chunks", long, "HTTP/1.1 413"),
        (
            "1 GiB",
            post(path, "content-length: 1073741824\r\n", "{}").into(),
            "HTTP/1.1 413",
        ),
        (
            "more than there is",
            post(path, "content-length: 18446744073709551615\r\n", "{}").into(),
            "HTTP/1.1 4",
        ),
        (
            "no number",
            post(path, "content-length: -1\r\n", "{}").into(),
            "HTTP/1.1 400",
        ),
        (
            "two lengths",
            post(path, "content-length: 2\r\ncontent-length: 3\r\n", "{}").into(),
            "HTTP/1.1 400",
        ),
        (
            "both",
            post(
                path,
                &format!("content-length: 2\r\n{chunked}"),
                "0\r\n\r\n",
            )
            .into(),
            "HTTP/1.1 ",
        ),
        (
            "a bad chunk",
            post(path, chunked, "zz\r\n").into(),
            "HTTP/1.1 400",
        ),
        (
            "no HTTP",
            b"EHLO example.com, this is no request at all\r\n\r\n".to_vec(),
            "HTTP/1.1 400",
        ),
        (
            "gRPC by HTTP/1.1",
            post(path, "", "")
                .replace("application/json", "application/grpc")
                .into(),
            "HTTP/1.1 415",
        ),
        (
            "many headers",
            format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000)).into(),
            "HTTP/1.1 431",
        ),
    ];
    for (name, bytes, wanted) in cases {
        let received = exchange(&world, &bytes, |text| text.contains("\r\n\r\n")).await;
        assert!(received.starts_with(wanted), "{name}: {received}");
    }
    world.list().await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_breaks_off_does_nothing() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let body = serde_json::to_string(&crate::support::world::request("a")).unwrap();
    let whole = post(
        "/rpc/StartWorkspace",
        &format!("content-length: {}\r\n", body.len()),
        &body,
    );
    for cut in [whole.len() - 1, whole.len() - body.len(), 40] {
        let mut stream = TcpStream::connect(world.addr).await.unwrap();
        stream.write_all(&whole.as_bytes()[..cut]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut received = String::new();
        let read = tokio::time::timeout(TIMEOUT, stream.read_to_string(&mut received));
        let _ = read.await.expect("the connection ends");
        assert!(!received.contains(" 200 "), "{received}");
    }
    assert!(world.list().await.is_empty());
    world.drain().await.unwrap();
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_disconnected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut connections = listen::accept(
        listener,
        None,
        ConnectionLimiter::new(9, watch::Sender::default()),
    );
    for sent in [&b""[..], b"PRI * HTT", b"GET / HT"] {
        let mut client = TcpStream::connect(addr).await.unwrap();
        client.write_all(sent).await.unwrap();
        let mut server = futures::StreamExt::next(&mut connections)
            .await
            .unwrap()
            .unwrap();
        let mut received = vec![0; sent.len()];
        server.read_exact(&mut received).await.unwrap();
        assert_eq!(received, sent);
        // Nothing is in flight, so paused time moves by itself.
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        let error = server.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert!(begun.elapsed() <= Duration::from_secs(31));
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_client_may_be_silent_after_a_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut connections = listen::accept(
        listener,
        None,
        ConnectionLimiter::new(9, watch::Sender::default()),
    );
    let mut client = TcpStream::connect(addr).await.unwrap();
    client
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut server = futures::StreamExt::next(&mut connections)
        .await
        .unwrap()
        .unwrap();
    server.read_exact(&mut [0; 24]).await.unwrap();
    tokio::time::pause();
    let mut received = [0; 1];
    let silent = tokio::time::timeout(Duration::from_secs(3600), server.read(&mut received));
    assert!(silent.await.is_err(), "it is still there after an hour");
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_disconnected() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut client = TcpStream::connect(world.addr).await.unwrap();
    let whole = post("/rpc/DescribeCluster", "content-length: 2\r\n", "{}");
    // The response to the first shows that the server reads the second.
    client
        .write_all(format!("{whole}{}", &whole[..40]).as_bytes())
        .await
        .unwrap();
    let mut received = Vec::new();
    let mut part = [0; 4096];
    let ended = async {
        loop {
            match client.read(&mut part).await {
                Ok(0) | Err(_) => return,
                Ok(count) => received.extend_from_slice(&part[..count]),
            }
        }
    };
    // Each leap is longer than what a client gets.
    while_time_leaps(Duration::from_secs(31), ended).await;
    assert!(String::from_utf8_lossy(&received).starts_with("HTTP/1.1 200"));
    world.kill().await;
}
