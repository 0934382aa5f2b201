//! Unary calls: every RPC in both encodings, errors, deadlines, metadata, CORS, gRPC-Web beside them.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use prost::Message;
use serde_json::json;
use tonic_types::pb;
use wsman::http::json as text;
use wsman::proto::wsman::*;
use wsman::rpc::frames::{Frames, frame};
use wsman::rpc::methods::Methods;

use super::{JSON, PROTO, Web};
use crate::support::cluster;
use crate::support::world::{World, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rpc_answers_alike_in_every_encoding() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    world.start_workspace("a").await;
    let start = serde_json::to_string(&request("a")).unwrap();
    // The request of each RPC, and its result; an RPC that is not listed gets only the id, if it takes one.
    let cases = BTreeMap::from([
        ("GetWorkspaces", ("{}", Some(200))),
        ("DescribeCluster", ("{}", Some(200))),
        ("StartWorkspace", (start.as_str(), Some(200))),
        ("DescribeWorkspace", (r#"{"id": "a"}"#, Some(200))),
        (
            "MarkActive",
            (r#"{"id": "a", "ignoreIfActive": true}"#, Some(200)),
        ),
    ]);
    let methods = Methods::load().unwrap();
    let mut unary: Vec<_> = methods.iter().filter(|method| !method.streams).collect();
    assert!(unary.len() >= 13, "{unary:?}");
    // Calls that stop the workspace come after those that need it.
    unary.sort_by_key(|method| (method.path.ends_with("/StopWorkspace"), method.path.clone()));
    for method in unary {
        let name = method.path.rsplit('/').next().unwrap();
        let only_id = match method.input.get_field_by_name("id") {
            Some(_) => r#"{"id": "a"}"#,
            None => "{}",
        };
        let (asked, wanted) = cases.get(name).copied().unwrap_or((only_id, None));
        let encoded = text::read(&method.input, asked.as_bytes()).unwrap();
        let mut seen = Vec::new();
        for web in [Web::http1(world.addr), Web::http2(world.addr)] {
            for path in [
                format!("/rpc/{name}"),
                method.path.clone(),
                format!("/rpc{}", method.path),
            ] {
                let by_json = web.post(&path, &[JSON], asked.to_owned()).await;
                let by_proto = web.post(&path, &[PROTO], encoded.clone()).await;
                assert_eq!(by_json.line, by_proto.line, "{by_json:?} {by_proto:?}");
                assert_eq!(by_json.headers["content-type"], "application/json");
                assert_eq!(by_json.headers["cache-control"], "no-store");
                if let Some(wanted) = wanted {
                    assert_eq!(by_json.line.as_u16(), wanted, "{name}: {by_json:?}");
                }
                let printed = match by_proto.line {
                    StatusCode::OK => {
                        assert_eq!(by_proto.headers["content-type"], "application/proto");
                        text::print(&method.output, &by_proto.body).unwrap()
                    }
                    // Errors are JSON in either encoding.
                    _ => by_proto.body.to_vec(),
                };
                seen.push((by_json.line, by_json.json().get("code").cloned()));
                if !["GetWorkspaces", "DescribeWorkspace"].contains(&name) {
                    assert_eq!(
                        by_json.json(),
                        serde_json::from_slice::<serde_json::Value>(&printed).unwrap()
                    );
                }
            }
        }
        assert!(
            seen.windows(2).all(|pair| pair[0] == pair[1]),
            "{name}: {seen:?}"
        );
    }
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get_asks_for_what_only_reads() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    world.start_workspace("a").await;
    let web = Web::http1(world.addr);
    let encoded = DescribeWorkspaceRequest { id: "a".to_owned() }.encode_to_vec();
    let base64 = BASE64_URL_SAFE_NO_PAD.encode(&encoded);
    let packed = BASE64_URL_SAFE_NO_PAD.encode(super::input::gzip(br#"{"id":"a"}"#));
    for query in [
        "message=%7B%22id%22%3A%22a%22%7D".to_owned(),
        "connect=v1&encoding=json&message=%7B%22id%22%3A%22a%22%7D".to_owned(),
        format!("connect=v1&encoding=proto&base64=1&message={base64}"),
        format!("encoding=json&base64=1&compression=gzip&message={packed}"),
    ] {
        let answer = web.get(&format!("/rpc/DescribeWorkspace?{query}")).await;
        assert_eq!(answer.line, 200, "{query}: {answer:?}");
        let id = match answer.headers["content-type"].to_str().unwrap() {
            "application/proto" => {
                DescribeWorkspaceResponse::decode(answer.body)
                    .unwrap()
                    .status
                    .unwrap()
                    .id
            }
            _ => answer.json()["status"]["id"].as_str().unwrap().to_owned(),
        };
        assert_eq!(id, "a", "{query}");
    }
    assert_eq!(
        web.get("/rpc/DescribeCluster").await.json()["preferredWorkspaceClass"],
        "default"
    );
    for (query, field) in [
        ("id=a", "id"),
        ("message=%7B", ""),
        ("base64=1&message=!", "message"),
        ("encoding=xml", "encoding"),
        ("connect=v2", "connect"),
    ] {
        let answer = web.get(&format!("/rpc/DescribeWorkspace?{query}")).await;
        let wanted = (
            "invalid_argument".to_owned(),
            "INVALID_REQUEST".to_owned(),
            field.to_owned(),
        );
        assert_eq!(
            (answer.line.as_u16(), answer.error()),
            (400, wanted),
            "{query}: {answer:?}"
        );
    }
    for (method, name, allowed) in [
        (Method::GET, "StopWorkspace", "POST"),
        (Method::PUT, "StopWorkspace", "POST"),
        (Method::DELETE, "DescribeWorkspace", "GET, POST"),
        (Method::OPTIONS, "DescribeWorkspace", "GET, POST"),
        (Method::PATCH, "Subscribe", "GET, POST"),
    ] {
        let answer = web
            .send(method, &format!("/rpc/{name}"), &[JSON], "{}")
            .await;
        assert_eq!(answer.line, 405, "{answer:?}");
        assert_eq!(answer.headers["allow"], allowed, "{answer:?}");
    }
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_have_their_code_their_line_and_their_details() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    world.start_workspace("a").await;
    let web = Web::http1(world.addr);
    let mut other = request("a");
    other.spec.as_mut().unwrap().workspace_image = "registry.example.com/other:1".to_owned();
    let other = serde_json::to_string(&other).unwrap();
    for (name, asked, wanted) in [
        (
            "DescribeWorkspace",
            r#"{"id": "none"}"#,
            (404, "not_found", "WORKSPACE_NOT_FOUND", ""),
        ),
        (
            "DescribeWorkspace",
            r#"{"id": "a,b=c"}"#,
            (400, "invalid_argument", "INVALID_REQUEST", "id"),
        ),
        (
            "DescribeWorkspace",
            r#"{"ID": "a"}"#,
            (400, "invalid_argument", "INVALID_REQUEST", "ID"),
        ),
        (
            "StartWorkspace",
            other.as_str(),
            (409, "already_exists", "WORKSPACE_EXISTS", ""),
        ),
        (
            "StartWorkspace",
            r#"{"id": "b", "spec": {"envvars": [{"name": "A", "valeu": "x"}]}}"#,
            (
                400,
                "invalid_argument",
                "INVALID_REQUEST",
                "spec.envvars[0].valeu",
            ),
        ),
        (
            "DeleteVolumeSnapshot",
            r#"{"id": "a"}"#,
            (400, "failed_precondition", "WRONG_STATE", ""),
        ),
    ] {
        let answer = web
            .post(&format!("/rpc/{name}"), &[JSON], asked.to_owned())
            .await;
        let (line, code, reason, field) = wanted;
        let wanted = (code.to_owned(), reason.to_owned(), field.to_owned());
        assert_eq!(
            (answer.line.as_u16(), answer.error()),
            (line, wanted),
            "{asked}: {answer:?}"
        );
    }
    // The details are those of gRPC, byte for byte.
    let mut client = world.client.clone();
    let status = client
        .describe_workspace(DescribeWorkspaceRequest {
            id: "none".to_owned(),
        })
        .await
        .unwrap_err();
    let answer = web
        .post("/rpc/DescribeWorkspace", &[JSON], r#"{"id": "none"}"#)
        .await
        .json();
    assert_eq!(answer["message"], status.message());
    let detail = &pb::Status::decode(status.details()).unwrap().details[0];
    assert_eq!(
        answer["details"][0]["value"],
        BASE64_STANDARD_NO_PAD.encode(&detail.value)
    );
    let nowhere = web.post("/elsewhere", &[JSON], "{}").await;
    assert_eq!(
        (nowhere.line.as_u16(), nowhere.error().0.as_str()),
        (404, "unimplemented")
    );
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_and_metadata_reach_the_service() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let web = Web::http1(world.addr);
    for (at, header) in [("connect-timeout-ms", "400"), ("grpc-timeout", "400m")]
        .into_iter()
        .enumerate()
    {
        let mut never = request(&format!("never-{at}"));
        never.spec.as_mut().unwrap().class = "never-ready".to_owned();
        let body = serde_json::to_string(&never).unwrap();
        // Without the metadata it would answer at once.
        let headers = [JSON, header, ("wsman-wait", "running")];
        let answer = web.post("/rpc/StartWorkspace", &headers, body).await;
        assert_eq!(
            (answer.line.as_u16(), answer.error().0.as_str()),
            (504, "deadline_exceeded"),
            "{answer:?}"
        );
        assert_eq!(answer.error().1, "DEADLINE_EXCEEDED", "{answer:?}");
    }
    // The shortest timeout also ends a call, with a response of the same protocol.
    for header in [
        ("connect-timeout-ms", "1"),
        ("grpc-timeout", "1n"),
        ("grpc-timeout", "1m"),
    ] {
        let started = tokio::time::Instant::now();
        let mut never = request("never-0");
        never.spec.as_mut().unwrap().class = "never-ready".to_owned();
        let body = serde_json::to_string(&never).unwrap();
        let headers = [JSON, header, ("wsman-wait", "running")];
        let answer = web.post("/rpc/StartWorkspace", &headers, body).await;
        // Which of both depends on how far it got.
        assert!([503, 504].contains(&answer.line.as_u16()), "{answer:?}");
        let code = answer.error().0;
        assert!(["unavailable", "deadline_exceeded"].contains(&code.as_str()));
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    for header in [
        ("connect-timeout-ms", "12345678901"),
        ("connect-timeout-ms", "-1"),
        ("connect-timeout-ms", ""),
        ("grpc-timeout", "1"),
        ("connect-protocol-version", "2"),
    ] {
        let answer = web
            .post("/rpc/DescribeCluster", &[JSON, header], "{}")
            .await;
        assert_eq!(
            (answer.line.as_u16(), answer.error().2.as_str()),
            (400, header.0),
            "{answer:?}"
        );
    }
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_origins_get_in_only_where_allowed() {
    let cluster = cluster::embedded().await;
    let preflight = [
        ("origin", "https://app.example.com"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "content-type,connect-protocol-version",
        ),
    ];
    for (allowed, exposed) in [
        (json!([]), None),
        (json!(["https://other.example.com"]), None),
        (
            json!(["https://other.example.com", "https://app.example.com"]),
            Some("https://app.example.com"),
        ),
        (json!(["*"]), Some("*")),
    ] {
        let world = World::start_with(cluster.client().await, &cluster.namespace, |config| {
            config["rpcServer"]["cors"] = json!({ "allowOrigins": allowed });
        })
        .await;
        let web = Web::http1(world.addr);
        let asked = web
            .send(Method::OPTIONS, "/rpc/GetWorkspaces", &preflight, "")
            .await;
        let called = web
            .post("/rpc/GetWorkspaces", &[JSON, preflight[0]], "{}")
            .await;
        assert_eq!(called.line, if exposed.is_some() { 200 } else { 403 });
        for answer in [&asked, &called] {
            let origin = answer.headers.get("access-control-allow-origin");
            assert_eq!(
                origin.map(|value| value.to_str().unwrap()),
                exposed,
                "{allowed}: {answer:?}"
            );
        }
        if exposed.is_some() {
            assert_eq!(asked.line, 200, "{asked:?}");
            assert_eq!(
                asked.headers["access-control-allow-headers"],
                preflight[2].1
            );
            assert_eq!(asked.headers["access-control-allow-methods"], "GET,POST");
        }
        world.drain().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_web_passes_to_the_same_service() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    world.start_workspace("a").await;
    let path = "/wsman.WorkspaceManager/DescribeWorkspace";
    for web in [Web::http1(world.addr), Web::http2(world.addr)] {
        for (id, code) in [("a", "grpc-status:0"), ("none", "")] {
            let asked = frame(
                0,
                &DescribeWorkspaceRequest { id: id.to_owned() }.encode_to_vec(),
            );
            let headers = [("content-type", "application/grpc-web+proto")];
            let answer = web.post(path, &headers, asked).await;
            assert_eq!(answer.line, 200, "{answer:?}");
            assert_eq!(answer.headers["content-type"], "application/grpc-web+proto");
            if code.is_empty() {
                assert_eq!(answer.headers["grpc-status"], "5", "{answer:?}");
                continue;
            }
            let mut frames = Frames::new(http_body_util::Full::new(answer.body), 1 << 20);
            let first = frames.next().await.unwrap().unwrap();
            let described = DescribeWorkspaceResponse::decode(first.payload).unwrap();
            assert_eq!(described.status.unwrap().id, id);
            let last = frames.next().await.unwrap().unwrap();
            assert_eq!(last.flags, 0x80);
            assert!(
                String::from_utf8_lossy(&last.payload).contains(code),
                "{last:?}"
            );
        }
    }
    world.drain().await.unwrap();
}
