//! Which pages may call, byte by byte: hosts and origins of browsers, on a daemon without authentication.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use wsman::rpc::frames::frame;

use crate::http::Web;
use crate::support::cluster;
use crate::support::world::{TIMEOUT, World};

/// Requests a stop with some headers, and returns the whole response.
async fn stop(world: &World, target: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    let request = format!(
        "POST {target} HTTP/1.1\r\n{headers}connection: close\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{{\"id\":\"a\"}}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(TIMEOUT, stream.read_to_string(&mut answer));
    read.await.expect("an answer in time").unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_others_stop_no_workspace() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    world.start_workspace("a").await;
    let path = "/rpc/StopWorkspace";
    for (headers, line, named) in [
        // A name that resolves to this machine, as its own page calls it.
        (
            "host: evil.example\r\norigin: http://evil.example\r\n",
            403,
            "evil.example",
        ),
        ("host: evil.example:8080\r\n", 403, "evil.example"),
        // A page of another site.
        (
            "host: localhost:8080\r\norigin: http://evil.example\r\n",
            403,
            "http://evil.example",
        ),
        (
            "host: localhost:8080\r\norigin: http://localhost:3000\r\n",
            403,
            "localhost:3000",
        ),
        ("host: localhost:8080\r\norigin: null\r\n", 403, "null"),
        ("", 400, "is missing"),
        (
            "host: localhost\r\nhost: localhost\r\n",
            400,
            "is there twice",
        ),
        (
            "host: localhost\r\nhost: evil.example\r\n",
            400,
            "is there twice",
        ),
        ("host: me@localhost\r\n", 400, "is no host"),
    ] {
        let answer = stop(&world, path, headers).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {line} ")),
            "{headers}: {answer}"
        );
        assert!(
            answer.contains(named) && answer.contains("google.rpc.ErrorInfo"),
            "{answer}"
        );
        if line == 403 {
            assert!(answer.contains("FOREIGN_ORIGIN"), "{answer}");
        }
    }
    let answer = stop(
        &world,
        "http://localhost/rpc/StopWorkspace",
        "host: evil.example\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let status = world.describe("a").await.unwrap();
    let asked = status.conditions.unwrap_or_default().stopped_by_request;
    assert_ne!(asked, 1, "nothing was stopped");
    // Its own page, and programs, may.
    let own = format!("host: {0}\r\norigin: http://{0}\r\n", world.addr);
    let answer = stop(&world, path, &own).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_is_asked_for_its_host_too() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let call = async |authority: &str, host: Option<&str>, origin: Option<&str>| {
        let stream = TcpStream::connect(world.addr).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        let moving = tokio::spawn(async move { drop(connection.await) });
        let mut request = http::Request::post(format!(
            "http://{authority}/wsman.WorkspaceManager/GetWorkspaces"
        ))
        .header("content-type", "application/grpc");
        for (name, value) in [("host", host), ("origin", origin)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let mut sender = sender.ready().await.unwrap();
        let (answer, mut body) = sender
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        body.send_data(frame(0, b""), true).unwrap();
        let answer = tokio::time::timeout(TIMEOUT, answer).await;
        let answer = answer.expect("an answer in time").unwrap();
        moving.abort();
        // A response with messages has its status after them.
        let status = Status::from_header_map(answer.headers());
        let info = status.as_ref().and_then(StatusExt::get_details_error_info);
        let details = info.map(|info| (info.reason, info.metadata));
        (status.map(|status| status.code()), details)
    };
    let addr = world.addr.to_string();
    assert_eq!(call(&addr, None, None).await.0, None);
    assert_eq!(call("localhost:1", None, None).await.0, None);
    assert_eq!(call(&addr, Some(&addr), None).await.0, None);
    let (code, details) = call("evil.example", None, None).await;
    let (reason, metadata) = details.unwrap();
    assert_eq!(
        (code, reason.as_str()),
        (Some(Code::PermissionDenied), "FOREIGN_ORIGIN")
    );
    assert_eq!(metadata["host"], "evil.example");
    let (code, details) = call(&addr, None, Some("http://evil.example")).await;
    assert_eq!(code, Some(Code::PermissionDenied));
    assert_eq!(details.unwrap().1["origin"], "http://evil.example");
    let (code, details) = call(&addr, Some("evil.example"), None).await;
    assert_eq!(
        (code, details.unwrap().0.as_str()),
        (Some(Code::InvalidArgument), "INVALID_REQUEST")
    );
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origins_that_are_listed_are_hosts_too() {
    let cluster = cluster::embedded().await;
    let world = World::start_with(cluster.client().await, &cluster.namespace, |config| {
        let origins = serde_json::json!(["https://app.example.com"]);
        config["rpcServer"]["cors"] = serde_json::json!({ "allowOrigins": origins });
    })
    .await;
    for headers in [
        "host: app.example.com\r\n",
        "host: app.example.com\r\norigin: https://app.example.com\r\n",
        "host: localhost\r\norigin: https://app.example.com\r\n",
    ] {
        let answer = stop(&world, "/rpc/StopWorkspace", headers).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{headers}: {answer}");
    }
    let answer = stop(&world, "/rpc/StopWorkspace", "host: other.example.com\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let headers = [
        ("content-type", "application/json"),
        ("origin", "https://app.example.com"),
    ];
    let answer = Web::http2(world.addr)
        .post("/rpc/GetWorkspaces", &headers, "{}")
        .await;
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://app.example.com"
    );
    world.drain().await.unwrap();
}
