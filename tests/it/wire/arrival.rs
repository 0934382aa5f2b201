//! Requests that never arrive completely: their time and their bytes are limited, in every protocol.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use wsman::proto::wsman::SubscribeRequest;
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::rpc::frames::frame;
use wsman::rpc::in_flight::CONNECTION_BYTES;

use crate::streams::while_time_leaps;
use crate::support::cluster;
use crate::support::world::{TIMEOUT, World};

/// The bytes of a request that is never finished.
const HALF: usize = 15 << 20;

/// One connection, and its driver.
async fn connect(world: &World) -> (SendRequest<Bytes>, AbortOnDropHandle<()>) {
    let stream = TcpStream::connect(world.addr).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let moving = tokio::spawn(async move { drop(connection.await) });
    (sender, AbortOnDropHandle::new(moving))
}

/// Sends as much of a request as `body` has, and no end.
async fn begin(
    sender: &SendRequest<Bytes>,
    world: &World,
    (path, kind): (&str, &str),
    body: Bytes,
) -> (ResponseFuture, h2::SendStream<Bytes>) {
    let mut sender = sender.clone().ready().await.unwrap();
    let request = Request::post(format!("http://{}{path}", world.addr))
        .header("content-type", kind)
        .body(())
        .unwrap();
    let (answer, mut stream) = sender.send_request(request, false).unwrap();
    stream.send_data(body, false).unwrap();
    (answer, stream)
}

/// The code of a response, the limit in it, and its status line.
async fn rejection(answer: ResponseFuture) -> (Code, Option<String>, u16) {
    let answer = tokio::time::timeout(TIMEOUT, answer).await;
    let (parts, mut body) = answer.expect("an answer in time").unwrap().into_parts();
    let mut content = Vec::new();
    while let Some(part) = body.data().await {
        content.extend_from_slice(&part.unwrap());
    }
    let status = status(&parts.headers, &content);
    let info = status.get_details_error_info().unwrap();
    let limit = info.metadata.get("limit").cloned();
    (status.code(), limit, parts.status.as_u16())
}

fn status(headers: &HeaderMap, content: &[u8]) -> Status {
    let by_json = || wsman::http::errors::from_json(&serde_json::from_slice(content).unwrap());
    Status::from_header_map(headers).or_else(by_json).unwrap()
}

const FORMS: [(&str, &str); 3] = [
    ("/wsman.WorkspaceManager/StartWorkspace", "application/grpc"),
    (
        "/wsman.WorkspaceManager/StartWorkspace",
        "application/grpc-web+proto",
    ),
    ("/rpc/StartWorkspace", "application/json"),
];

#[tokio::test]
async fn requests_that_never_end_have_so_much_time_and_so_much_room() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    for form in FORMS {
        let (sender, _moving) = connect(&world).await;
        let mut half = vec![b' '; HALF];
        if form.1 != "application/json" {
            half.splice(..5, [0, 1, 0, 0, 0]);
        }
        let half = Bytes::from(half);
        let mut waiting = Vec::new();
        for count in 1..=CONNECTION_BYTES / HALF {
            waiting.push(begin(&sender, &world, form, half.clone()).await);
            let held = count * (HALF - 1024);
            world.load_of(|load| load.request_bytes == held).await;
        }
        // There is no room for another one, and its bytes are not kept.
        let (answer, _stream) = begin(&sender, &world, form, half.clone()).await;
        let (code, limit, line) = rejection(answer).await;
        assert_eq!(
            (code, limit.as_deref()),
            (Code::ResourceExhausted, Some("REQUEST_BYTES"))
        );
        assert_eq!(
            line,
            if form.1 == "application/json" {
                429
            } else {
                200
            }
        );
        let held = world
            .load_of(|load| load.request_bytes <= CONNECTION_BYTES)
            .await;
        assert!(held.request_bytes >= CONNECTION_BYTES / HALF * (HALF - 1024));
        // A small request is answered.
        world.list().await;
        let ask = ("/wsman.WorkspaceManager/GetWorkspaces", "application/grpc");
        let (answer, mut stream) = begin(&sender, &world, ask, frame(0, b"")).await;
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        // Each gets its timeout, and its bytes are released.
        let (answers, _streams): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let all = futures::future::join_all(answers.into_iter().map(rejection));
        let late = while_time_leaps(Duration::from_secs(31), all).await;
        for (code, limit, line) in late {
            assert_eq!((code, limit), (Code::DeadlineExceeded, None), "{form:?}");
            assert_eq!(
                line,
                if form.1 == "application/json" {
                    408
                } else {
                    200
                }
            );
        }
        world
            .load_of(|load| load.request_bytes == 0 && load.calls == 0)
            .await;
    }
    world.kill().await;
}

#[tokio::test]
async fn answers_have_no_such_limits() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    let (sender, _moving) = connect(&world).await;
    let reflect = (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "application/grpc",
    );
    // A client stream may also be silent between two messages.
    let list = frame(0, &[0x3a, 0]);
    let (answer, mut requests) = begin(&sender, &world, reflect, list.clone()).await;
    let mut answers = answer.await.unwrap().into_body();
    answers.data().await.unwrap().unwrap();
    let minutes = tokio::time::sleep(Duration::from_secs(300));
    while_time_leaps(Duration::from_secs(5), minutes).await;
    requests.send_data(list, false).unwrap();
    answers.data().await.unwrap().unwrap();
    // Not within one.
    requests
        .send_data(Bytes::from_static(&[0, 0]), false)
        .unwrap();
    let ended = async { while answers.data().await.is_some() {} };
    while_time_leaps(Duration::from_secs(31), ended).await;
    world.start_workspace("a").await;
    updates.next().await.unwrap();
    drop((updates, sender));
    world.kill().await;
}

/// The request of a stream counts for as long as the stream is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_count_with_their_filters() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let filter = wsman::proto::wsman::MetadataFilter {
        owner: "x".repeat(10_000),
        ..Default::default()
    };
    let request = SubscribeRequest {
        must_match: Some(filter),
    };
    let mut client = WorkspaceManagerClient::new(world.channel().await);
    let stream = client.subscribe(request).await.unwrap();
    world.load_of(|load| load.request_bytes > 8_000).await;
    drop((stream, client));
    world.load_of(|load| load.request_bytes == 0).await;
    world.drain().await.unwrap();
}
