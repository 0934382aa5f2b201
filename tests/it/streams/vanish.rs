//! F-S2: callers that disappear in every way. Their resources are released.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;
use wsman::rpc::in_flight::InFlight;

use super::while_time_leaps;
use crate::support::cluster;
use crate::support::proxy::Link;
use crate::support::world::World;

const ASK: &[u8] = b"GET /rpc/Subscribe HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn channel(addr: &str) -> WorkspaceManagerClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    WorkspaceManagerClient::new(endpoint.connect().await.unwrap())
}

/// A connection that ends with a reset.
async fn abrupt(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.addr).await.unwrap();
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs2_streams_end_with_their_reader() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    world.list().await;
    let all = |streams, connections| {
        let wanted = InFlight {
            connections,
            streams,
            ..InFlight::default()
        };
        world.load_of(move |load| *load == wanted)
    };
    all(0, 1).await;
    // One of two streams is cancelled; the connection stays.
    let kept = world.subscribe().await;
    drop(world.subscribe().await);
    all(1, 1).await;
    let page = world.probe("/load").await;
    let in_flight = r#"{"connections":1,"turnedAway":0,"streams":1,"calls":0,"requestBytes":0}"#;
    assert!(page.ends_with(in_flight), "{page}");
    // The connection is closed.
    let mut gone = channel(&world.addr.to_string()).await;
    let stream = gone.subscribe(SubscribeRequest::default()).await.unwrap();
    all(2, 2).await;
    drop((gone, stream));
    all(1, 1).await;
    // It is reset, in HTTP/1.1 and in HTTP/2.
    let mut reset = abrupt(&world).await;
    reset.write_all(ASK).await.unwrap();
    reset.read_exact(&mut [0; 12]).await.unwrap();
    all(2, 2).await;
    drop(reset);
    all(1, 1).await;
    let reset = abrupt(&world).await;
    let (mut sender, connection) = h2::client::handshake(reset).await.unwrap();
    let connection = tokio::spawn(connection);
    let uri = format!("http://{}/rpc/Subscribe", world.addr);
    let ask = http::Request::get(uri).body(()).unwrap();
    let (answer, _) = sender.send_request(ask, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    all(2, 2).await;
    connection.abort();
    drop(sender);
    all(1, 1).await;
    // Cut in between.
    let link = Link::to(world.addr.to_string()).await;
    let mut cut = channel(link.addr()).await;
    let stream = cut.subscribe(SubscribeRequest::default()).await.unwrap();
    all(2, 2).await;
    link.cut().await;
    all(1, 1).await;
    drop((cut, stream, kept));
    all(0, 1).await;
    world.drain().await.unwrap();
}

/// The other machine is gone without a packet: the pings of HTTP/2 notice within 30 s.
#[tokio::test]
async fn fs2_a_half_open_connection_is_found_out() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let link = Link::to(world.addr.to_string()).await;
    let mut client = channel(link.addr()).await;
    let subscribed = client.subscribe(SubscribeRequest::default()).await;
    world.load_of(|load| load.streams == 1).await;
    // While it answers, it may be silent.
    let idle = async {
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(300) {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
    };
    while_time_leaps(Duration::from_secs(9), idle).await;
    world.load_of(|load| load.streams == 1).await;
    link.silence();
    let begun = tokio::time::Instant::now();
    let gone = world.streams(0);
    while_time_leaps(Duration::from_secs(5), gone).await;
    let took = begun.elapsed();
    assert!(took <= Duration::from_secs(40), "{took:?}");
    drop(subscribed);
    world.kill().await;
}
