//! Subscribe streams with the cheapest reader: HTTP/2 frames by hand, on its own thread.
//!
//! Ten thousand tonic clients would dominate the measurement. A message is timestamped when the read that completed it
//! returned, so the cost of these readers counts against the daemon.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// Of SETTINGS and PING: an answer. Of DATA and HEADERS: the end of the stream.
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const HEAD: usize = 9;
/// The initial windows of a connection.
const FIRST_WINDOW: u32 = 65_535;
const WIDEST_WINDOW: u32 = i32::MAX as u32;

/// How a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All, at once.
    All,
    /// Until its windows are full; then it only answers pings. A client that does not answer is closed soon.
    Stalls,
}

/// One message of one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) stream: usize,
    pub(crate) version: u64,
    pub(crate) at: Instant,
}

/// The part of `SubscribeResponse` that distinguishes updates.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
}

/// See [`Response`].
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(uint64, tag = "10")]
    status_version: u64,
}

/// Open streams. They end with this value.
pub(crate) struct Streams {
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    begun: AtomicUsize,
    messages: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
}

impl Streams {
    /// Opens `count` streams, spread over `connections`, and returns after the daemon has answered all.
    pub(crate) async fn open(
        addr: &str,
        count: usize,
        connections: usize,
        reading: Reading,
    ) -> Self {
        let (shared, stop) = (Arc::new(Shared::default()), CancellationToken::new());
        let each = count / connections;
        let work = {
            let (shared, addr) = (Arc::clone(&shared), addr.to_owned());
            async move {
                let mut tasks = JoinSet::new();
                for first in (0..count).step_by(each) {
                    let socket = TcpStream::connect(&addr).await.unwrap();
                    socket.set_nodelay(true).unwrap();
                    let connection = Connection {
                        shared: Arc::clone(&shared),
                        first,
                        partial: HashMap::new(),
                    };
                    tasks.spawn(connection.run(socket, each, reading));
                }
                while let Some(ended) = tasks.join_next().await {
                    ended.unwrap();
                }
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(work));
        });
        let streams = Self {
            shared,
            stop,
            thread: Some(thread),
        };
        streams.wait(&streams.shared.begun, count).await;
        streams
    }

    /// Waits until so many messages came since the last [`Streams::take`].
    pub(crate) async fn received(&self, count: usize) {
        self.wait(&self.shared.messages, count).await;
    }

    /// Takes what was seen.
    pub(crate) fn take(&self) -> Vec<Seen> {
        let mut seen = self.shared.seen.lock().unwrap();
        self.shared.messages.store(0, Ordering::Relaxed);
        std::mem::take(&mut seen)
    }

    // Looks now and then: to be woken by every read would take time from what is measured.
    async fn wait(&self, counter: &AtomicUsize, goal: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while counter.load(Ordering::Relaxed) < goal {
            let ended = self.thread.as_ref().unwrap().is_finished();
            let count = counter.load(Ordering::Relaxed);
            let late = Instant::now() > deadline;
            assert!(!ended && !late, "{count} of {goal}; ended: {ended}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.thread.take().unwrap().join();
    }
}

struct Connection {
    shared: Arc<Shared>,
    /// Number of the first of its streams.
    first: usize,
    /// Messages whose end has not come yet, by the id of their stream.
    partial: HashMap<u32, BytesMut>,
}

impl Connection {
    async fn run(mut self, mut socket: TcpStream, streams: usize, reading: Reading) {
        let window = match reading {
            Reading::Stalls => FIRST_WINDOW,
            Reading::All => WIDEST_WINDOW,
        };
        socket.write_all(&opening(streams, window)).await.unwrap();
        let (mut read, mut answer) = (BytesMut::new(), BytesMut::new());
        loop {
            read.reserve(64 << 10);
            let count = socket.read_buf(&mut read).await.unwrap();
            assert!(count > 0, "the daemon closed a connection");
            let at = Instant::now();
            let mut seen = Vec::new();
            while let Some((kind, flags, id, payload)) = frame(&mut read) {
                match kind {
                    DATA => self.received(id, payload, at, &mut seen),
                    HEADERS => {
                        assert_eq!(flags & ACK, 0, "a stream ended at once");
                        self.shared.begun.fetch_add(1, Ordering::Relaxed);
                    }
                    SETTINGS | PING if flags & ACK == 0 => {
                        let echo: &[u8] = if kind == PING { &payload } else { &[] };
                        put(&mut answer, kind, ACK, 0, echo);
                    }
                    SETTINGS | PING | WINDOW_UPDATE => {}
                    other => panic!("the daemon sent a frame of type {other}"),
                }
            }
            if !seen.is_empty() {
                let mut all = self.shared.seen.lock().unwrap();
                self.shared
                    .messages
                    .fetch_add(seen.len(), Ordering::Relaxed);
                all.append(&mut seen);
            }
            if !answer.is_empty() {
                socket.write_all_buf(&mut answer).await.unwrap();
            }
        }
    }

    /// Takes in a piece of a stream.
    fn received(&mut self, id: u32, payload: Bytes, at: Instant, seen: &mut Vec<Seen>) {
        let partial = self.partial.entry(id).or_default();
        partial.extend_from_slice(&payload);
        while let Some(length) = partial
            .get(1..5)
            .map(|mut length| length.get_u32() as usize)
        {
            if partial.len() < 5 + length {
                return;
            }
            let message = Response::decode(&partial[5..5 + length]).unwrap();
            partial.advance(5 + length);
            // Ids of streams are 1, 3, 5.
            let stream = self.first + id as usize / 2;
            let version = message.status.unwrap_or_default().status_version;
            seen.push(Seen {
                stream,
                version,
                at,
            });
        }
    }
}

/// Everything that a client has to say to open `count` streams.
fn opening(count: usize, window: u32) -> BytesMut {
    let mut bytes = BytesMut::from(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]);
    let mut setting = BytesMut::new();
    // SETTINGS_INITIAL_WINDOW_SIZE.
    setting.put_u16(4);
    setting.put_u32(window);
    put(&mut bytes, SETTINGS, 0, 0, &setting);
    if window > FIRST_WINDOW {
        let more = (window - FIRST_WINDOW).to_be_bytes();
        put(&mut bytes, WINDOW_UPDATE, 0, 0, &more);
    }
    let mut fields = BytesMut::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", "/wsman.WorkspaceManager/Subscribe"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ] {
        // Literal, not indexed, not compressed; all are shorter than 127 bytes.
        fields.put_u8(0);
        for text in [name, value] {
            fields.put_u8(text.len() as u8);
            fields.put_slice(text.as_bytes());
        }
    }
    for n in 0..count {
        let id = 1 + 2 * n as u32;
        put(&mut bytes, HEADERS, END_HEADERS, id, &fields);
        // An empty message: not compressed, of no length.
        put(&mut bytes, DATA, ACK, id, &[0; 5]);
    }
    bytes
}

fn put(bytes: &mut BytesMut, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    bytes.put_uint(payload.len() as u64, 3);
    bytes.put_u8(kind);
    bytes.put_u8(flags);
    bytes.put_u32(id);
    bytes.put_slice(payload);
}

/// Takes a frame off the front: its type, flags, stream and payload.
fn frame(bytes: &mut BytesMut) -> Option<(u8, u8, u32, Bytes)> {
    let length = bytes.get(..3)?;
    let length = HEAD + usize::from(length[0]) * 65_536 + usize::from(length[1]) * 256;
    let length = length + usize::from(bytes[2]);
    if bytes.len() < length {
        return None;
    }
    let mut frame = bytes.split_to(length).freeze();
    frame.advance(3);
    Some((frame.get_u8(), frame.get_u8(), frame.get_u32(), frame))
}
