//! Subscribe over HTTP against a daemon: each protocol streams the whole life of a workspace, and ends when the daemon
//! drains.

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;
use serde_json::Value;
use wsman::proto::wsman::*;
use wsman::rpc::frames::{END, frame};

use super::{JSON, Web};
use crate::support::cluster;
use crate::support::world::{TIMEOUT, World};

/// How a stream is requested and read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Lines,
    Events,
    GetEvents,
    ConnectJson,
    ConnectProto,
}

const FORMS: [Form; 5] = [
    Form::Lines,
    Form::Events,
    Form::GetEvents,
    Form::ConnectJson,
    Form::ConnectProto,
];

/// A stream of updates, taken apart as it comes.
struct Updates {
    form: Form,
    body: Incoming,
    text: Vec<u8>,
}

impl Updates {
    /// Subscribes to the workspaces of an owner.
    async fn open(web: &Web, form: Form, owner: &str) -> Self {
        let must_match = Some(MetadataFilter {
            owner: owner.to_owned(),
            ..Default::default()
        });
        let request = SubscribeRequest { must_match };
        let json = serde_json::to_string(&request).unwrap();
        let kind = |name| ("content-type", name);
        let path = "/rpc/Subscribe";
        let answer = match form {
            Form::Lines => {
                web.begin(
                    Method::POST,
                    path,
                    &[JSON, ("accept", "application/x-ndjson")],
                    json,
                )
                .await
            }
            Form::Events => {
                web.begin(
                    Method::POST,
                    path,
                    &[JSON, ("accept", "text/event-stream")],
                    json,
                )
                .await
            }
            Form::GetEvents => {
                let query: String = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("message", &json)
                    .finish();
                let path = format!("{path}?{query}");
                web.begin(Method::GET, &path, &[("accept", "text/event-stream")], "")
                    .await
            }
            Form::ConnectJson => {
                web.begin(
                    Method::POST,
                    path,
                    &[kind("application/connect+json")],
                    frame(0, json.as_bytes()),
                )
                .await
            }
            Form::ConnectProto => {
                let encoded = frame(0, &request.encode_to_vec());
                web.begin(
                    Method::POST,
                    path,
                    &[kind("application/connect+proto")],
                    encoded,
                )
                .await
            }
        };
        assert_eq!(answer.status(), 200, "{form:?}");
        Self {
            form,
            body: answer.into_body(),
            text: Vec::new(),
        }
    }

    /// The next update; `None` once the stream ended with OK.
    async fn next(&mut self) -> Option<WorkspaceStatus> {
        loop {
            if let Some(piece) = self.take() {
                match piece {
                    Piece::Nothing => continue,
                    Piece::Update(status) => return Some(*status),
                    Piece::End => {
                        let more = self.more().await.unwrap_or_default();
                        assert!(more.is_empty(), "something follows the end");
                        return None;
                    }
                }
            }
            match self.more().await {
                Some(bytes) => self.text.extend_from_slice(&bytes),
                None => {
                    assert!(self.text.is_empty(), "{:?}", self.text);
                    assert!(
                        matches!(self.form, Form::Lines | Form::Events | Form::GetEvents),
                        "the stream sent no end"
                    );
                    return None;
                }
            }
        }
    }

    async fn more(&mut self) -> Option<Bytes> {
        let frame = tokio::time::timeout(TIMEOUT, self.body.frame())
            .await
            .expect("something in time");
        frame.map(|frame| frame.unwrap().into_data().unwrap())
    }

    fn take(&mut self) -> Option<Piece> {
        let update = |json: &[u8]| {
            let value: Value = serde_json::from_slice(json).unwrap();
            assert!(
                value.get("error").is_none() && value.get("code").is_none(),
                "{value}"
            );
            let message: SubscribeResponse = serde_json::from_value(value).unwrap();
            Piece::Update(Box::new(message.status.unwrap()))
        };
        match self.form {
            Form::Lines => {
                let end = self.text.iter().position(|byte| *byte == b'\n')?;
                let line: Vec<u8> = self.text.drain(..=end).collect();
                Some(if end == 0 {
                    Piece::Nothing
                } else {
                    update(&line)
                })
            }
            Form::Events | Form::GetEvents => {
                let end = self.text.windows(2).position(|pair| pair == b"\n\n")?;
                let event: Vec<u8> = self.text.drain(..end + 2).collect();
                let event = String::from_utf8(event).unwrap();
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                Some(data.map_or(Piece::Nothing, |data| update(data.as_bytes())))
            }
            Form::ConnectJson | Form::ConnectProto => {
                let (prefix, rest) = self.text.split_first_chunk::<5>()?;
                let length =
                    u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
                let (flags, payload) = (prefix[0], rest.get(..length)?.to_vec());
                self.text.drain(..5 + length);
                Some(match (flags, self.form) {
                    (END, _) => {
                        assert_eq!(String::from_utf8_lossy(&payload), "{}");
                        Piece::End
                    }
                    (_, Form::ConnectJson) => update(&payload),
                    _ => Piece::Update(Box::new(
                        SubscribeResponse::decode(&*payload)
                            .unwrap()
                            .status
                            .unwrap(),
                    )),
                })
            }
        }
    }
}

enum Piece {
    Nothing,
    Update(Box<WorkspaceStatus>),
    End,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_protocol_streams_a_whole_life_and_ends_with_the_daemon() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut streams = Vec::new();
    for web in [Web::http1(world.addr), Web::http2(world.addr)] {
        for form in FORMS {
            streams.push(Updates::open(&web, form, "jane").await);
            streams.push(Updates::open(&web, form, "john").await);
        }
    }
    let mut by_grpc = world.subscribe().await;
    world.start_workspace("a").await;
    by_grpc.until("a", WorkspacePhase::Running).await;
    world.stop_workspace("a").await;
    by_grpc.until("a", WorkspacePhase::Stopped).await;
    for updates in streams.iter_mut().step_by(2) {
        let mut seen: Vec<WorkspaceStatus> = Vec::new();
        while seen
            .last()
            .is_none_or(|status| status.phase() != WorkspacePhase::Stopped)
        {
            let status = updates.next().await.expect("the stream goes on");
            assert!(
                seen.last()
                    .is_none_or(|last| last.status_version < status.status_version)
            );
            seen.push(status);
        }
        assert!(
            seen.iter()
                .any(|status| status.phase() == WorkspacePhase::Running),
            "{:?}",
            updates.form
        );
        assert_eq!(seen.last(), by_grpc.seen.last(), "{:?}", updates.form);
    }
    drop(by_grpc);
    let draining = tokio::spawn(world.drain());
    // Those of another owner received nothing, and all end with OK.
    for mut updates in streams {
        assert_eq!(updates.next().await, None, "{:?}", updates.form);
    }
    draining.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_vanish_or_stall_delay_no_other() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let web = Web::http1(world.addr);
    // None is ever read; half of them disconnect.
    let mut stalled = Vec::new();
    for at in 0..40 {
        let stream = Updates::open(&web, FORMS[at % FORMS.len()], "jane").await;
        if at % 2 == 0 {
            stalled.push(stream);
        }
    }
    let mut live = Updates::open(&web, Form::Lines, "jane").await;
    for id in ["a", "b"] {
        world.start_workspace(id).await;
        world.stop_workspace(id).await;
        loop {
            let status = live.next().await.expect("the stream goes on");
            if status.id == id && status.phase() == WorkspacePhase::Stopped {
                break;
            }
        }
    }
    // A late reader receives the latest states.
    for updates in &mut stalled {
        let mut stopped = Vec::new();
        while stopped.len() < 2 {
            let status = updates.next().await.expect("the stream goes on");
            if status.phase() == WorkspacePhase::Stopped {
                stopped.push(status.id);
            }
        }
        stopped.sort();
        assert_eq!(stopped, ["a", "b"]);
    }
    // Readers that never read do not delay a drain.
    world.drain().await.unwrap();
}
