//! F-S10: connections that overload a server or occupy it. The others are served meanwhile. Handshakes that never end
//! are in `tls`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::cluster;
use crate::support::world::{TIMEOUT, World};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:method: POST`, `:scheme: http`, `:path: /` and `:authority: x`, as HPACK has them.
const HEAD: [u8; 6] = [0x83, 0x86, 0x84, 0x01, 0x01, b'x'];

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

async fn speak_http2(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// Sends one part after the other for as long as the server reads, reads the responses, and returns how much was sent
/// before the server closed the connection; `None` if it never did.
async fn flood(world: &World, parts: impl Iterator<Item = Vec<u8>>) -> Option<usize> {
    let (mut read, mut write) = speak_http2(world).await.into_split();
    let closed = async {
        let mut part = [0; 4096];
        while read.read(&mut part).await.is_ok_and(|count| count > 0) {}
    };
    let sent = std::sync::atomic::AtomicUsize::new(0);
    let count = |bytes| sent.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    let send = async {
        for part in parts {
            if write.write_all(&part).await.is_err() {
                return true;
            }
            count(part.len());
        }
        false
    };
    let closed = tokio::select! {
        () = closed => true,
        closed = send => closed,
    };
    closed.then(|| count(0))
}

/// Runs floods while others are served.
async fn beside<T>(world: &World, floods: impl Future<Output = T>) -> T {
    let served = async {
        loop {
            let list = tokio::time::timeout(Duration::from_secs(10), world.list());
            list.await.expect("others are served");
            tokio::task::yield_now().await;
        }
    };
    let floods = tokio::time::timeout(TIMEOUT, floods);
    tokio::select! {
        flooded = floods => flooded.expect("the flood is over"),
        () = served => unreachable!(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs10_rapid_resets_end_their_connection() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let resets = (0..100_000_u32).map(|n| {
        let stream = 2 * n + 1;
        let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        [frame(HEADERS, END_HEADERS, stream, &HEAD), reset].concat()
    });
    let sent = beside(&world, flood(&world, resets)).await;
    assert!(sent.is_some(), "it was never closed");
    world
        .load_of(|load| (load.connections, load.streams, load.calls) == (1, 0, 0))
        .await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs10_a_head_without_end_ends_its_connection() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    // A header of 16,000 bytes that is not indexed, again and again.
    let mut field = vec![0x00, 0x01, b'a', 0x7f, 0x81, 0x7c];
    field.extend_from_slice(&[b'a'; 16_000]);
    let endless = (0..4096).map(|n| match n {
        0 => frame(HEADERS, 0, 1, &HEAD),
        _ => frame(CONTINUATION, 0, 1, &field),
    });
    let sent = beside(&world, flood(&world, endless)).await;
    assert!(sent.is_some_and(|sent| sent < 16 << 20), "{sent:?}");
    // In the smallest pieces too.
    let endless = (0..1_000_000).map(|n| match n {
        0 => frame(HEADERS, 0, 1, &HEAD),
        _ => frame(CONTINUATION, 0, 1, &[]),
    });
    let sent = beside(&world, flood(&world, endless)).await;
    assert!(sent.is_some_and(|sent| sent < 16 << 20), "{sent:?}");
    world.load_of(|load| load.connections == 1).await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs10_pings_and_settings_delay_no_other() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    for kind in [PING, SETTINGS] {
        let payload: &[u8] = if kind == PING { &[0; 8] } else { &[] };
        let part = frame(kind, 0, 0, payload).repeat(100);
        let parts = std::iter::repeat_n(part, 500);
        // Whether the connection survives is up to HTTP/2.
        beside(&world, flood(&world, parts)).await;
    }
    // And by a client that never reads the responses: the server stops reading instead of keeping them.
    let mut deaf = speak_http2(&world).await;
    let part = frame(PING, 0, 0, &[0; 8]).repeat(1000);
    let stopped = async {
        let mut sent = 0;
        loop {
            let write = tokio::time::timeout(Duration::from_secs(1), deaf.write_all(&part));
            match write.await {
                Ok(Ok(())) => sent += part.len(),
                Ok(Err(_)) | Err(_) => return sent,
            }
            assert!(sent < 64 << 20, "it takes everything");
        }
    };
    beside(&world, stopped).await;
    drop(deaf);
    world.load_of(|load| load.connections == 1).await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs10_idle_connections_are_no_burden() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut idle = Vec::new();
    for n in 0..4000 {
        idle.push(match n % 2 {
            0 => TcpStream::connect(world.addr).await.unwrap(),
            _ => speak_http2(&world).await,
        });
    }
    world.load_of(|load| load.connections == 4001).await;
    let mut updates = world.subscribe().await;
    world.start_workspace("a").await;
    updates
        .until("a", wsman::proto::wsman::WorkspacePhase::Running)
        .await;
    drop(idle);
    world.load_of(|load| load.connections == 1).await;
    drop(updates);
    world.drain().await.unwrap();
}
