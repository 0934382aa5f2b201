//! Requests over gRPC and gRPC-Web that are no message, too long, or in an unknown encoding.

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use wsman::proto::wsman::{DescribeWorkspaceRequest, MetadataFilter, SubscribeRequest};
use wsman::rpc::frames::{COMPRESSED, frame};

use crate::http::input::gzip;
use crate::http::{Answer, Web};
use crate::support::cluster;
use crate::support::world::World;

const DESCRIBE: &str = "/wsman.WorkspaceManager/DescribeWorkspace";
const SUBSCRIBE: &str = "/wsman.WorkspaceManager/Subscribe";

/// The code, the reason, the limit, if any, and the first field of an error.
fn error_of(answer: &Answer) -> (Code, String, Option<String>, Option<String>) {
    let status = Status::from_header_map(&answer.headers).expect("trailers only");
    let info = status.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "wsman.dev");
    let bad = status.get_details_bad_request();
    let field = bad.and_then(|bad| Some(bad.field_violations.first()?.field.clone()));
    let limit = info.metadata.get("limit").cloned();
    (status.code(), info.reason, limit, field)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_refused_with_its_reason() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let describe = |id: &str| DescribeWorkspaceRequest { id: id.to_owned() }.encode_to_vec();
    let one = frame(0, &describe("a"));
    let packed = frame(COMPRESSED, &gzip(&describe("a")));
    let bomb = frame(COMPRESSED, &gzip(&vec![0; 64 << 20]));
    let gzipped = ("grpc-encoding", "gzip");
    let filter = SubscribeRequest {
        must_match: Some(MetadataFilter {
            owner: "jane".to_owned(),
            ..Default::default()
        }),
    };
    let mut spoilt_filter = filter.encode_to_vec();
    *spoilt_filter.last_mut().unwrap() = 0xff;
    let (invalid, exhausted, unknown) = (
        (Code::InvalidArgument, "INVALID_REQUEST", None),
        (Code::ResourceExhausted, "EXHAUSTED", Some("REQUEST_SIZE")),
        (Code::Unimplemented, "UNIMPLEMENTED", None),
    );
    type Header = Option<(&'static str, &'static str)>;
    type Wanted = (Code, &'static str, Option<&'static str>);
    type Case = (
        &'static str,
        &'static str,
        Header,
        Bytes,
        Wanted,
        Option<&'static str>,
    );
    let cases: Vec<Case> = vec![
        (
            "no message",
            DESCRIBE,
            None,
            frame(0, &[0xff; 20]),
            invalid,
            Some(""),
        ),
        (
            "half a field",
            DESCRIBE,
            None,
            frame(0, &[0x0a, 9, b'a']),
            invalid,
            Some("id"),
        ),
        (
            "no text",
            DESCRIBE,
            None,
            frame(0, &[0x0a, 1, 0xff]),
            invalid,
            Some("id"),
        ),
        (
            "a number for a text",
            DESCRIBE,
            None,
            frame(0, &[0x08, 1]),
            invalid,
            Some("id"),
        ),
        (
            "inside",
            SUBSCRIBE,
            None,
            frame(0, &spoilt_filter),
            invalid,
            Some("must_match.owner"),
        ),
        (
            "20 MB",
            DESCRIBE,
            None,
            frame(0, &vec![0; 20 << 20]),
            exhausted,
            None,
        ),
        (
            "4 GiB announced",
            DESCRIBE,
            None,
            Bytes::from_static(&[0, 255, 255, 255, 255, 0]),
            exhausted,
            None,
        ),
        ("nothing", DESCRIBE, None, Bytes::new(), invalid, Some("")),
        (
            "half a prefix",
            DESCRIBE,
            None,
            one.slice(..3),
            invalid,
            Some(""),
        ),
        (
            "half a message",
            DESCRIBE,
            None,
            one.slice(..one.len() - 1),
            invalid,
            Some(""),
        ),
        (
            "two messages",
            DESCRIBE,
            None,
            [&one[..], &one[..]].concat().into(),
            invalid,
            Some(""),
        ),
        (
            "unknown flags",
            DESCRIBE,
            None,
            frame(0x40, &describe("a")),
            invalid,
            Some(""),
        ),
        (
            "packed, untold",
            DESCRIBE,
            None,
            packed.clone(),
            invalid,
            Some(""),
        ),
        (
            "packed wrongly",
            DESCRIBE,
            Some(gzipped),
            frame(COMPRESSED, b"no gzip"),
            invalid,
            Some(""),
        ),
        (
            "a gzip bomb",
            DESCRIBE,
            Some(gzipped),
            bomb,
            exhausted,
            None,
        ),
        (
            "brotli",
            DESCRIBE,
            Some(("grpc-encoding", "br")),
            one.clone(),
            unknown,
            None,
        ),
        (
            "no time",
            DESCRIBE,
            Some(("grpc-timeout", "soon")),
            one.clone(),
            invalid,
            Some("grpc-timeout"),
        ),
        (
            "no such method",
            "/wsman.WorkspaceManager/Dance",
            None,
            one.clone(),
            unknown,
            None,
        ),
        (
            "no such service",
            "/other.Service/DescribeWorkspace",
            None,
            one.clone(),
            unknown,
            None,
        ),
        (
            "health",
            "/grpc.health.v1.Health/Check",
            None,
            frame(0, &[0x08, 1]),
            invalid,
            Some("service"),
        ),
        (
            "images",
            "/registryfacade.SpecProvider/GetImageSpec",
            None,
            frame(0, &vec![0; 17 << 20]),
            exhausted,
            None,
        ),
    ];
    for kind in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web+proto",
    ] {
        let web = Web::http2(world.addr);
        for (name, path, header, body, wanted, field) in &cases {
            let headers: Vec<_> = [("content-type", kind)]
                .into_iter()
                .chain(*header)
                .collect();
            let answer = web.post(path, &headers, body.clone()).await;
            let (code, reason, limit, named) = error_of(&answer);
            let found = (code, reason.as_str(), limit.as_deref());
            assert_eq!(found, *wanted, "{kind} {name}: {answer:?}");
            assert_eq!(named.as_deref(), *field, "{kind} {name}");
            if *name == "brotli" && kind == "application/grpc" {
                assert_eq!(answer.headers["grpc-accept-encoding"], "identity,gzip");
            }
        }
        // A message with a correct encoding is read.
        let headers = [("content-type", kind), gzipped];
        let answer = web.post(DESCRIBE, &headers, packed.clone()).await;
        assert_eq!(error_of(&answer).0, Code::NotFound);
    }
    world.list().await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_grpc_is_taken_for_none() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let body = frame(0, b"");
    let kinds = [
        "application/grpc+json",
        "application/grpcx",
        "application/grpc-webby",
    ];
    for kind in kinds {
        for web in [Web::http1(world.addr), Web::http2(world.addr)] {
            let answer = web
                .post(DESCRIBE, &[("content-type", kind)], body.clone())
                .await;
            assert_eq!(answer.line, 415, "{kind}: {answer:?}");
            assert_eq!(answer.error().2, "content-type");
        }
    }
    // HTTP/1.1 has no trailers for the end of gRPC.
    let kind = [("content-type", "application/grpc")];
    let answer = Web::http1(world.addr).post(DESCRIBE, &kind, body).await;
    assert_eq!(answer.line, 415, "{answer:?}");
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_of_any_size_are_refused_by_every_call_that_has_one() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let annotation = |n: usize| (format!("k{n}"), "v".to_owned());
    let must_match = MetadataFilter {
        annotations: (0..60_000).map(annotation).collect(),
        ..Default::default()
    };
    let request = SubscribeRequest {
        must_match: Some(must_match),
    };
    let text = serde_json::to_string(&request).unwrap();
    for method in ["GetWorkspaces", "Subscribe"] {
        let path = format!("/wsman.WorkspaceManager/{method}");
        let web = Web::http2(world.addr);
        let kind = [("content-type", "application/grpc")];
        let answer = web
            .post(&path, &kind, frame(0, &request.encode_to_vec()))
            .await;
        let (code, _, _, field) = error_of(&answer);
        let named = (code, field.as_deref());
        assert_eq!(
            named,
            (Code::InvalidArgument, Some("must_match.annotations"))
        );
        let answer = web.post(&path, &[crate::http::JSON], text.clone()).await;
        assert_eq!(
            (answer.line.as_u16(), answer.error().2.as_str()),
            (400, "must_match.annotations")
        );
    }
    world
        .load_of(|load| (load.streams, load.request_bytes) == (0, 0))
        .await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_that_is_not_understood_is_refused_and_not_repeated() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let web = Web::http2(world.addr);
    for (method, key) in [
        ("StartWorkspace", "wsman-wait"),
        ("Subscribe", "wsman-snapshot"),
        ("Subscribe", "wsman-resume"),
    ] {
        let path = format!("/wsman.WorkspaceManager/{method}");
        let headers = [("content-type", "application/grpc"), (key, "hunter2")];
        let answer = web.post(&path, &headers, frame(0, b"")).await;
        let (code, _, _, field) = error_of(&answer);
        assert_eq!((code, field.as_deref()), (Code::InvalidArgument, Some(key)));
        let by_json = web
            .post(&path, &[crate::http::JSON, headers[1]], "{}")
            .await;
        assert_eq!(
            (by_json.line.as_u16(), by_json.error().2.as_str()),
            (400, key)
        );
        for answer in [answer, by_json] {
            let text = format!("{:?}{:?}", answer.headers, answer.body);
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
    world.drain().await.unwrap();
}
