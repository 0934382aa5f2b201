//! The layer before a service of this test: what is passed on, what time does to a stream, and what a slow reader
//! costs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Ready, ready};
use futures::stream::{self, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use prost::Message;
use tokio::time::Instant;
use tonic::body::Body;
use tower::{Layer, Service};
use wsman::http::HttpLayer;
use wsman::proto::wsman::*;
use wsman::rpc::frames::{END, Frames, frame};
use wsman::rpc::methods::Methods;

use super::JSON;

/// A service with a bug.
#[derive(Clone)]
struct Broken;

impl Service<Request<Body>> for Broken {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        Box::pin(async { panic!("planted") })
    }
}

/// F-S9
#[tokio::test]
async fn fs9_a_panic_is_an_internal_error_of_one_call() {
    let mut layer = HttpLayer::new(Methods::load().unwrap()).layer(Broken);
    for kind in [
        "application/json",
        "application/grpc",
        "application/grpc-web",
    ] {
        for method in ["GetWorkspaces", "Subscribe"] {
            let request = Request::post(format!("/wsman.WorkspaceManager/{method}"))
                .version(http::Version::HTTP_2)
                .header("content-type", kind)
                .body(Body::new(Full::new(Bytes::from_static(b"{}"))))
                .unwrap();
            let answer = layer.call(request).await.unwrap();
            let (line, code) = match kind {
                "application/json" => (500, None),
                _ => (200, Some(HeaderValue::from_static("13"))),
            };
            assert_eq!(answer.status(), line, "{kind}");
            assert_eq!(answer.headers().get("grpc-status"), code.as_ref());
            let text = format!("{:?} {}", answer.headers().clone(), whole(answer).await);
            assert!(
                text.contains("reference") && !text.contains("planted"),
                "{text}"
            );
        }
    }
}

/// Records the headers of its request, and answers with messages that are produced on demand.
#[derive(Clone, Default)]
struct Fake {
    asked: Arc<Mutex<HeaderMap>>,
    made: Arc<AtomicUsize>,
    /// How many messages it makes before its trailers; or, where there are none, before it is silent.
    count: usize,
    trailers: Option<HeaderMap>,
}

impl Service<Request<Body>> for Fake {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        *self.asked.lock().unwrap() = request.headers().clone();
        let made = self.made.clone();
        let messages = stream::iter(0..self.count).map(move |at| {
            made.fetch_add(1, Ordering::SeqCst);
            Frame::data(frame(0, &update(at).encode_to_vec()))
        });
        let end = match self.trailers.clone() {
            Some(trailers) => stream::iter([Frame::trailers(trailers)]).boxed(),
            None => stream::pending().boxed(),
        };
        let mut response = Response::new(Body::new(StreamBody::new(
            messages.chain(end).map(Ok::<_, Infallible>),
        )));
        response
            .headers_mut()
            .insert("noted", HeaderValue::from_static("ahead"));
        ready(Ok(response))
    }
}

impl Fake {
    async fn ask(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Response<Body> {
        let request = request.body(Body::new(Full::new(body.into()))).unwrap();
        HttpLayer::new(Methods::load().unwrap())
            .layer(self.clone())
            .call(request)
            .await
            .unwrap()
    }
}

fn update(at: usize) -> SubscribeResponse {
    SubscribeResponse {
        status: Some(WorkspaceStatus {
            id: format!("w{at}"),
            ..Default::default()
        }),
        header: BTreeMap::from([("wsman-resume".to_owned(), format!("t{at}"))]),
    }
}

fn trailers(status: &'static str, message: &'static str) -> Option<HeaderMap> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    trailers.insert("grpc-message", HeaderValue::from_static(message));
    trailers.insert("noted", HeaderValue::from_static("behind"));
    Some(trailers)
}

fn subscribe(accept: &str) -> http::request::Builder {
    let request = Request::post("/rpc/Subscribe").header(JSON.0, JSON.1);
    request.header("accept", accept)
}

async fn whole(answer: Response<Body>) -> String {
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn only_metadata_is_passed_on() {
    let fake = Fake {
        count: 1,
        trailers: trailers("0", ""),
        ..Fake::default()
    };
    let request = Request::post("/rpc/DescribeCluster")
        .header("content-type", "application/json")
        .header("content-length", "2")
        .header("connection", "keep-alive")
        .header("host", "example.com")
        .header("accept-encoding", "gzip")
        .header("connect-protocol-version", "1")
        .header("connect-timeout-ms", "1500")
        .header("grpc-encoding", "gzip")
        .header("sec-fetch-mode", "cors")
        .header("authorization", "Bearer t")
        .header("wsman-wait", "running")
        .header("traceparent", "00-1-2-03");
    let answer = fake.ask(request, "{}").await;
    let asked: BTreeMap<_, _> = fake
        .asked
        .lock()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let wanted = [
        ("authorization", "Bearer t"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "1500m"),
        ("te", "trailers"),
        ("traceparent", "00-1-2-03"),
        ("wsman-wait", "running"),
    ];
    assert_eq!(
        asked,
        wanted
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    );
    assert_eq!(answer.headers()["noted"], "ahead");
    assert_eq!(answer.headers()["trailer-noted"], "behind");
}

#[tokio::test]
async fn streams_resume_by_header_by_parameter_and_by_last_event() {
    let fake = Fake {
        trailers: trailers("0", ""),
        ..Fake::default()
    };
    for (request, resume, snapshot) in [
        (
            subscribe("*/*").header("wsman-resume", "a"),
            Some("a"),
            None,
        ),
        (
            Request::get("/rpc/Subscribe?wsman-resume=a%2Fb"),
            Some("a/b"),
            None,
        ),
        (
            Request::get("/rpc/Subscribe?wsman-snapshot=true"),
            None,
            Some("true"),
        ),
        (
            Request::get("/rpc/Subscribe?wsman-resume=a").header("last-event-id", "z"),
            Some("z"),
            None,
        ),
        (
            subscribe("text/event-stream").header("last-event-id", "z"),
            Some("z"),
            None,
        ),
    ] {
        assert_eq!(fake.ask(request, "").await.status(), 200);
        let asked = fake.asked.lock().unwrap();
        let header = |name| asked.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(
            (header("wsman-resume"), header("wsman-snapshot")),
            (resume, snapshot)
        );
        assert_eq!(header("last-event-id"), None);
    }
    let answer = fake
        .ask(Request::get("/rpc/Subscribe?wsman-resume=a%0Ab"), "")
        .await;
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn updates_and_their_end_have_the_form_that_was_asked_for() {
    let line = |at| format!(r#"{{"status":{{"id":"w{at}"}},"header":{{"wsman-resume":"t{at}"}}}}"#);
    for (status, message, error) in [
        ("0", "", None),
        (
            "14",
            "over",
            Some(r#"{"code":"unavailable","message":"over"}"#),
        ),
    ] {
        let fake = || Fake {
            count: 2,
            trailers: trailers(status, message),
            ..Fake::default()
        };
        for accept in [
            "*/*",
            "application/x-ndjson",
            "text/html, application/x-ndjson;q=0.9, text/event-stream",
        ] {
            let answer = fake().ask(subscribe(accept), "{}").await;
            assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
            assert_eq!(answer.headers()["noted"], "ahead");
            let end = error.map_or_else(String::new, |error| format!("{{\"error\":{error}}}\n"));
            assert_eq!(
                whole(answer).await,
                format!("{}\n{}\n{end}", line(0), line(1))
            );
        }
        let answer = fake().ask(subscribe("text/event-stream"), "").await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        let end = error.map_or_else(String::new, |error| {
            format!("event: error\ndata: {error}\n\n")
        });
        let (first, second) = (line(0), line(1));
        let wanted = format!(":\n\nid: t0\ndata: {first}\n\nid: t1\ndata: {second}\n\n{end}");
        assert_eq!(whole(answer).await, wanted);
        for codec in ["json", "proto"] {
            let kind = format!("application/connect+{codec}");
            let request =
                Request::post("/wsman.WorkspaceManager/Subscribe").header("content-type", &kind);
            let answer = fake()
                .ask(request, frame(0, if codec == "json" { b"{}" } else { b"" }))
                .await;
            assert_eq!(answer.headers()["content-type"], kind);
            let mut frames = Frames::new(answer.into_body(), 1 << 20);
            for at in 0..2 {
                let frame = frames.next().await.unwrap().unwrap();
                let wanted = if codec == "json" {
                    line(at).into_bytes()
                } else {
                    update(at).encode_to_vec()
                };
                assert_eq!((frame.flags, frame.payload.to_vec()), (0, wanted));
            }
            let last = frames.next().await.unwrap().unwrap();
            let end = error.map_or_else(String::new, |error| format!("\"error\":{error},"));
            let wanted = format!("{{{end}\"metadata\":{{\"noted\":[\"behind\"]}}}}");
            assert_eq!(
                (
                    last.flags,
                    String::from_utf8_lossy(&last.payload).into_owned()
                ),
                (END, wanted)
            );
            assert_eq!(frames.next().await.unwrap(), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_sends_keepalives() {
    for (accept, sign) in [
        ("application/x-ndjson", "\n"),
        ("text/event-stream", ":\n\n"),
    ] {
        let fake = Fake {
            count: 1,
            ..Fake::default()
        };
        let mut body = fake.ask(subscribe(accept), "").await.into_body();
        let first = if accept == "text/event-stream" { 2 } else { 1 };
        for _ in 0..first {
            body.frame().await.unwrap().unwrap();
        }
        for _ in 0..3 {
            let begun = Instant::now();
            let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data, sign);
            let took = begun.elapsed();
            assert!(
                (Duration::from_secs(20)..Duration::from_millis(20_010)).contains(&took),
                "{took:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_its_deadline() {
    for (accept, wanted) in [
        (
            "application/x-ndjson",
            "{\"error\":{\"code\":\"deadline_exceeded\"",
        ),
        (
            "text/event-stream",
            "event: error\ndata: {\"code\":\"deadline_exceeded\"",
        ),
    ] {
        let fake = Fake {
            count: 1,
            ..Fake::default()
        };
        let begun = Instant::now();
        let request = subscribe(accept).header("connect-timeout-ms", "45000");
        let text = whole(fake.ask(request, "").await).await;
        let took = begun.elapsed();
        assert!(
            (Duration::from_secs(45)..Duration::from_millis(45_010)).contains(&took),
            "{took:?}"
        );
        assert!(text.contains("w0") && text.contains(wanted), "{text}");
        // The service may work on one response as long as it likes.
        assert!(!fake.asked.lock().unwrap().contains_key("grpc-timeout"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_arrive_is_not_waited_for() {
    let fake = Fake::default();
    for path in ["/rpc/GetWorkspaces", "/rpc/Subscribe"] {
        let parts = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{")))]);
        let body = Body::new(StreamBody::new(parts.chain(stream::pending())));
        let request = Request::post(path)
            .header(JSON.0, JSON.1)
            .body(body)
            .unwrap();
        let answer = HttpLayer::new(Methods::load().unwrap())
            .layer(fake.clone())
            .call(request)
            .await
            .unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["connection"]),
            (408, &HeaderValue::from_static("close"))
        );
        assert!(whole(answer).await.contains("deadline_exceeded"));
    }
    assert!(fake.asked.lock().unwrap().is_empty(), "nothing was called");
}

#[tokio::test]
async fn messages_are_produced_on_demand() {
    let fake = Fake {
        count: 1_000_000,
        ..Fake::default()
    };
    let mut body = fake.ask(subscribe("*/*"), "").await.into_body();
    assert_eq!(fake.made.load(Ordering::SeqCst), 0);
    for read in 1..=10 {
        body.frame().await.unwrap().unwrap();
        assert!(fake.made.load(Ordering::SeqCst) <= read, "after {read}");
    }
}
