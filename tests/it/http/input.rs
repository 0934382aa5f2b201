//! Invalid input, by mistake or on purpose: a large table of small cases, each rejected in its own way.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use wsman::proto::wsman::{DescribeWorkspaceRequest, GetWorkspacesRequest};
use wsman::rpc::frames::{COMPRESSED, END, Frames, frame};

use super::{JSON, PROTO, Web};
use crate::support::cluster;
use crate::support::world::World;

type Headers = Vec<(&'static str, &'static str)>;

const GZIP: (&str, &str) = ("content-encoding", "gzip");

pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(plain).unwrap();
    packed.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_one_message_are_checked() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let packed = gzip(br#"{"mustMatch": {"owner": "jane"}}"#);
    let spaces = |count| [b"{", vec![b' '; count].as_slice(), b"}"].concat();
    let kind = |name| ("content-type", name);
    let at_limit = spaces((16 << 20) - 2);
    let cases: Vec<(&str, Headers, Vec<u8>, u16, &str)> = vec![
        ("plain", vec![JSON], b"{}".to_vec(), 200, ""),
        ("nothing", vec![JSON], Vec::new(), 200, ""),
        ("white space", vec![JSON], b" \r\n\t".to_vec(), 200, ""),
        (
            "with a charset",
            vec![kind("Application/JSON; charset=utf-8")],
            b"{}".to_vec(),
            200,
            "",
        ),
        ("gzip", vec![JSON, GZIP], packed.clone(), 200, ""),
        (
            "identity",
            vec![JSON, ("content-encoding", "identity")],
            b"{}".to_vec(),
            200,
            "",
        ),
        ("nothing, encoded", vec![PROTO], Vec::new(), 200, ""),
        ("as long as allowed", vec![JSON], at_limit, 200, ""),
        (
            "one byte more",
            vec![JSON],
            spaces((16 << 20) - 1),
            413,
            "resource_exhausted",
        ),
        (
            "a gzip bomb",
            vec![JSON, GZIP],
            gzip(&spaces(64 << 20)),
            413,
            "resource_exhausted",
        ),
        (
            "truncated gzip",
            vec![JSON, GZIP],
            packed[..packed.len() - 5].to_vec(),
            400,
            "invalid_argument",
        ),
        (
            "no gzip",
            vec![JSON, GZIP],
            b"{}".to_vec(),
            400,
            "invalid_argument",
        ),
        (
            "gzip and more",
            vec![JSON, GZIP],
            [&packed[..], b"{}"].concat(),
            400,
            "invalid_argument",
        ),
        (
            "gzip untold",
            vec![JSON],
            packed.clone(),
            400,
            "invalid_argument",
        ),
        (
            "brotli",
            vec![JSON, ("content-encoding", "br")],
            b"{}".to_vec(),
            501,
            "unimplemented",
        ),
        (
            "half an object",
            vec![JSON],
            b"{\"mustMatch\":".to_vec(),
            400,
            "invalid_argument",
        ),
        (
            "two objects",
            vec![JSON],
            b"{}{}".to_vec(),
            400,
            "invalid_argument",
        ),
        (
            "a list",
            vec![JSON],
            b"[]".to_vec(),
            400,
            "invalid_argument",
        ),
        (
            "null",
            vec![JSON],
            b"null".to_vec(),
            400,
            "invalid_argument",
        ),
        (
            "not UTF-8",
            vec![JSON],
            b"{\"mustMatch\": {\"owner\": \"\xff\"}}".to_vec(),
            400,
            "invalid_argument",
        ),
        (
            "half a surrogate",
            vec![JSON],
            br#"{"mustMatch": {"owner": "\ud800"}}"#.to_vec(),
            400,
            "invalid_argument",
        ),
        (
            "a wrong type",
            vec![JSON],
            br#"{"mustMatch": 7}"#.to_vec(),
            400,
            "invalid_argument",
        ),
        (
            "deep",
            vec![JSON],
            "{\"mustMatch\":".repeat(100_000).into_bytes(),
            400,
            "invalid_argument",
        ),
        (
            "no message",
            vec![PROTO],
            vec![0xff; 20],
            400,
            "invalid_argument",
        ),
        (
            "a truncated message",
            vec![PROTO],
            vec![0x0a, 0x7f, 0x0a],
            400,
            "invalid_argument",
        ),
        (
            "JSON as a message",
            vec![PROTO],
            b"{}".to_vec(),
            400,
            "invalid_argument",
        ),
        (
            "a message as JSON",
            vec![JSON],
            vec![0x0a, 0x00],
            400,
            "invalid_argument",
        ),
        ("no type", vec![], b"{}".to_vec(), 415, "invalid_argument"),
        (
            "a form",
            vec![kind("application/x-www-form-urlencoded")],
            b"{}".to_vec(),
            415,
            "invalid_argument",
        ),
        (
            "a text",
            vec![kind("text/plain")],
            b"{}".to_vec(),
            415,
            "invalid_argument",
        ),
        (
            "a type like JSON",
            vec![kind("application/jsonp")],
            b"{}".to_vec(),
            415,
            "invalid_argument",
        ),
        (
            "a stream",
            vec![kind("application/connect+json")],
            frame(0, b"{}").to_vec(),
            415,
            "invalid_argument",
        ),
    ];
    for web in [Web::http1(world.addr), Web::http2(world.addr)] {
        for (name, headers, body, line, code) in &cases {
            let answer = web.post("/rpc/GetWorkspaces", headers, body.clone()).await;
            assert_eq!(answer.line.as_u16(), *line, "{name}: {answer:?}");
            if *line != 200 {
                assert_eq!(answer.error().0, *code, "{name}");
            }
            if *line == 415 {
                assert_eq!(
                    answer.headers["accept-post"],
                    "application/json, application/proto"
                );
            }
        }
    }
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_for_a_stream_are_checked() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let web = Web::http1(world.addr);
    let encoded = ("connect-content-encoding", "gzip");
    let packed = frame(COMPRESSED, &gzip(b"{"));
    let one = frame(0, b"{}");
    let cases: Vec<(&str, Headers, Bytes, &str)> = vec![
        ("nothing", vec![], Bytes::new(), "invalid_argument"),
        ("no envelope", vec![], "{}".into(), "invalid_argument"),
        ("half a prefix", vec![], one.slice(..3), "invalid_argument"),
        ("half a message", vec![], one.slice(..6), "invalid_argument"),
        (
            "two messages",
            vec![],
            [&one[..], &one[..]].concat().into(),
            "invalid_argument",
        ),
        ("an end", vec![], frame(END, b"{}"), "invalid_argument"),
        (
            "unknown flags",
            vec![],
            frame(0x40, b"{}"),
            "invalid_argument",
        ),
        (
            "an unknown field",
            vec![],
            frame(0, br#"{"x": 1}"#),
            "invalid_argument",
        ),
        ("packed, untold", vec![], packed.clone(), "invalid_argument"),
        (
            "packed wrongly",
            vec![encoded],
            frame(COMPRESSED, b"{}"),
            "invalid_argument",
        ),
        (
            "packed, and half an object",
            vec![encoded],
            packed,
            "invalid_argument",
        ),
        (
            "packed in zstd",
            vec![("connect-content-encoding", "zstd")],
            one.clone(),
            "unimplemented",
        ),
        (
            "4 GiB",
            vec![],
            Bytes::from_static(&[0, 255, 255, 255, 255, 0]),
            "resource_exhausted",
        ),
        (
            "no time",
            vec![("connect-timeout-ms", "x")],
            one,
            "invalid_argument",
        ),
    ];
    for (name, headers, body, code) in cases {
        let mut headers = headers;
        headers.push(("content-type", "application/connect+json"));
        let answer = web.post("/rpc/Subscribe", &headers, body).await;
        // It is a stream, whatever the header.
        assert_eq!(
            (answer.line.as_u16(), &answer.headers["content-type"]),
            (200, &"application/connect+json".parse().unwrap())
        );
        let mut frames = Frames::new(http_body_util::Full::new(answer.body), 1 << 20);
        let last = frames.next().await.unwrap().unwrap();
        let error: serde_json::Value = serde_json::from_slice(&last.payload).unwrap();
        assert_eq!(
            (last.flags, &error["error"]["code"]),
            (END, &code.into()),
            "{name}: {error}"
        );
        assert_eq!(frames.next().await.unwrap(), None);
    }
    let proto = ("content-type", "application/proto");
    let (lines, events) = (
        ("accept", "application/x-ndjson"),
        ("accept", "text/event-stream"),
    );
    for (headers, body, line) in [
        (
            vec![proto],
            GetWorkspacesRequest::default().encode_to_vec(),
            415,
        ),
        (vec![lines], b"{}".to_vec(), 415),
        (
            vec![JSON, ("accept", "application/json")],
            b"{}".to_vec(),
            406,
        ),
        (vec![JSON, lines], br#"{"must": {}}"#.to_vec(), 400),
        (vec![JSON, events], b"{".to_vec(), 400),
    ] {
        let answer = web.post("/rpc/Subscribe", &headers, body).await;
        assert_eq!(answer.line.as_u16(), line, "{headers:?} {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json");
    }
    // The daemon survives all of it.
    let encoded = DescribeWorkspaceRequest { id: "a".to_owned() }.encode_to_vec();
    assert_eq!(
        web.post("/rpc/DescribeWorkspace", &[PROTO], encoded)
            .await
            .line,
        404
    );
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_is_there_twice_is_refused() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let web = Web::http1(world.addr);
    for (method, text, field) in [
        ("StopWorkspace", r#"{"id": "a", "id": "b"}"#, "id"),
        (
            "StartWorkspace",
            r#"{"service_prefix": "a", "servicePrefix": "b"}"#,
            "service_prefix",
        ),
        (
            "StartWorkspace",
            r#"{"spec": {"ports": [{"port": 1, "port": 2}]}}"#,
            "spec.ports[0].port",
        ),
        (
            "GetWorkspaces",
            r#"{"must_match": {"annotations": {"a": "1", "a": "2"}}}"#,
            "must_match.annotations[\"a\"]",
        ),
    ] {
        let path = format!("/rpc/{method}");
        let answer = web.post(&path, &[JSON], text).await;
        let error = answer.error();
        let found = (answer.line.as_u16(), error.1.as_str(), error.2.as_str());
        assert_eq!(found, (400, "INVALID_REQUEST", field), "{answer:?}");
    }
    let kind = [("content-type", "application/connect+json")];
    let text = br#"{"must_match": {}, "mustMatch": {}}"#;
    let answer = web.post("/rpc/Subscribe", &kind, frame(0, text)).await;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        body.contains("must_match: is there twice, in two spellings"),
        "{body}"
    );
    world.drain().await.unwrap();
}
