//! F-S8: deadlines on the wire: official clients cancel such calls themselves.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use wsman::proto::wsman::WorkspacePhase;
use wsman::rpc::frames::frame;

use super::while_time_leaps;
use crate::support::cluster;
use crate::support::story::request_with;
use crate::support::world::World;

/// A class of workspaces that never run.
const NEVER: &str = "never-ready";

/// Starts a workspace and waits until it runs, by a client that waits for ever; returns the status of the call.
async fn start(world: &World, class: &str, timeout: Option<&str>) -> Status {
    let stream = TcpStream::connect(world.addr).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let uri = format!(
        "http://{}/wsman.WorkspaceManager/StartWorkspace",
        world.addr
    );
    let mut ask = Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("wsman-wait", "running");
    if let Some(timeout) = timeout {
        ask = ask.header("grpc-timeout", timeout);
    }
    let (answer, mut body) = sender.send_request(ask.body(()).unwrap(), false).unwrap();
    let message = prost::Message::encode_to_vec(&request_with("a", |spec| {
        spec.class = class.to_owned();
    }));
    // A stream with a response accepts no more data.
    let _ = body.send_data(frame(0, &message), true);
    let answer = answer.await.unwrap();
    let status = |headers: &HeaderMap| Status::from_header_map(headers);
    let outcome = match status(answer.headers()) {
        Some(outcome) => outcome,
        None => {
            let mut body = answer.into_body();
            while let Some(part) = body.data().await {
                let _: Bytes = part.unwrap();
            }
            status(&body.trailers().await.unwrap().unwrap()).unwrap()
        }
    };
    connection.abort();
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs8_any_deadline_is_deadline_exceeded() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    for timeout in ["1n", "1u", "1m", "5m", "20m", "40m", "60m", "100m", "200m"] {
        for _ in 0..5 {
            let outcome = start(&world, NEVER, Some(timeout)).await;
            // UNAVAILABLE if the API server had not answered by then; never CANCELLED, because the client did not
            // cancel.
            let codes = [Code::DeadlineExceeded, Code::Unavailable];
            assert!(codes.contains(&outcome.code()), "{timeout}: {outcome}");
        }
    }
    world.load_of(|load| load.calls == 0).await;
    world.kill().await;
}

#[tokio::test]
async fn fs8_without_a_deadline_there_is_one() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    let begun = tokio::time::Instant::now();
    let outcome = async {
        let mut outcome = pin!(start(&world, NEVER, None));
        // Time advances only while the call waits.
        tokio::select! {
            outcome = &mut outcome => outcome,
            _ = updates.until("a", WorkspacePhase::Creating) => {
                while_time_leaps(Duration::from_secs(7), outcome).await
            }
        }
    };
    let outcome = outcome.await;
    let took = begun.elapsed();
    assert_eq!(outcome.code(), Code::DeadlineExceeded, "{outcome}");
    let minute = Duration::from_secs(59)..Duration::from_secs(75);
    assert!(minute.contains(&took), "{took:?}");
    world.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs8_a_huge_deadline_does_no_harm() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    assert_eq!(start(&world, "", Some("99999999H")).await.code(), Code::Ok);
    world.drain().await.unwrap();
}
