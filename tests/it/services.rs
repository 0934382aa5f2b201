//! A service of this test: registered with one line, it is on gRPC, gRPC-Web, HTTP with JSON, Connect, reflection,
//! health and limits, by its descriptor.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::method_options::IdempotencyLevel;
use prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto, MethodOptions, ServiceDescriptorProto,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1;
use tower::Service;
use wsman::clock::Clock;
use wsman::config::RateLimit;
use wsman::duration::GoDuration;
use wsman::http::hosts::Hosts;
use wsman::readiness::Readiness;
use wsman::rpc::call::{Call, CallContext};
use wsman::rpc::frames::frame;
use wsman::rpc::in_flight::{ConnectionLimiter, InFlight};
use wsman::rpc::limits::Limits;
use wsman::server::{Server, Services, listen};
use wsman::tasks::Drain;

use crate::http::{JSON, Web};

/// `message Text { string text = 1; }` and a service that repeats it, once or twice.
static DESCRIPTORS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let field = FieldDescriptorProto {
        name: Some("text".to_owned()),
        json_name: Some("text".to_owned()),
        number: Some(1),
        label: Some(Label::Optional.into()),
        r#type: Some(Type::String.into()),
        ..Default::default()
    };
    let method = |name: &str, streams, level: Option<IdempotencyLevel>| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(".toy.v1.Text".to_owned()),
        output_type: Some(".toy.v1.Text".to_owned()),
        server_streaming: Some(streams),
        options: level.map(|level| MethodOptions {
            idempotency_level: Some(level.into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some("toy.proto".to_owned()),
        package: Some("toy.v1".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![DescriptorProto {
            name: Some("Text".to_owned()),
            field: vec![field],
            ..Default::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some("Toy".to_owned()),
            method: vec![
                method("Echo", false, Some(IdempotencyLevel::NoSideEffects)),
                method("Shout", false, None),
                method("Repeat", true, None),
            ],
            ..Default::default()
        }],
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
});

/// Repeats what it receives. The stream stays open.
#[derive(Clone)]
struct Toy;

impl NamedService for Toy {
    const NAME: &'static str = "toy.v1.Toy";
}

impl Service<Request<Body>> for Toy {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            let streams = request.uri().path() == "/toy.v1.Toy/Repeat";
            let is_admitted = request.extensions().get::<Call>().is_some();
            assert_ne!(streams, is_admitted, "every unary call has its deadline");
            let message = request.into_body().collect().await.unwrap().to_bytes();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let message = Frame::data(message);
            let body = match streams {
                false => Body::new(StreamBody::new(stream::iter(
                    [message, Frame::trailers(trailers)].map(Ok::<_, Infallible>),
                ))),
                true => {
                    let one = stream::iter([Ok::<_, Infallible>(message)]);
                    let open = futures::StreamExt::chain(one, stream::pending());
                    Body::new(StreamBody::new(open))
                }
            };
            let mut answer = Response::new(body);
            let kind = HeaderValue::from_static("application/grpc");
            answer.headers_mut().insert("content-type", kind);
            Ok(answer)
        })
    }
}

struct Running {
    addr: SocketAddr,
    in_flight: watch::Receiver<InFlight>,
}

/// Serves nothing but the toy, whose `Shout` may be called twice an hour for each text.
async fn serve() -> Running {
    let (new_limits, limits) = watch::channel(Limits::default());
    let context = CallContext::new(Drain::new(Duration::ZERO), limits);
    let services = Services::default().describe(&DESCRIPTORS).unwrap();
    // The one line.
    let services = services.register(Toy).unwrap();
    let limit = RateLimit {
        block: false,
        bucket_size: 2,
        refill_interval: GoDuration::from_secs(3600),
        key: "text".to_owned(),
        key_cache_size: 9,
    };
    let configured = BTreeMap::from([("/toy.v1.Toy/Shout".to_owned(), limit)]);
    let limits = Limits::new(&configured, services.methods(), &Clock::manual()).unwrap();
    new_limits.send_replace(limits);
    let readiness = Readiness::default();
    readiness.component("toys").not_ready("broken");
    let stop = CancellationToken::new();
    let (server, health) = Server::new(services, context, readiness.watch(), stop.clone())
        .await
        .unwrap();
    tokio::spawn(async move {
        // The status shows them for as long as they live.
        let _readiness = readiness;
        health.await
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (counts, in_flight) = watch::channel(InFlight::default());
    let connections = listen::accept(listener, None, ConnectionLimiter::new(99, counts));
    let hosts = Hosts {
        loopback: true,
        tls: false,
        identity: false,
        origins: Vec::new(),
    };
    tokio::spawn(server.serve(connections, hosts, stop));
    Running { addr, in_flight }
}

fn text(text: &str) -> Bytes {
    let mut encoded = vec![0x0a, u8::try_from(text.len()).unwrap()];
    encoded.extend_from_slice(text.as_bytes());
    encoded.into()
}

fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_served_in_every_form_by_its_descriptor() {
    let running = serve().await;
    let (http1, http2) = (Web::http1(running.addr), Web::http2(running.addr));
    let framed = frame(0, &text("hi"));
    let kind = [("content-type", "application/grpc")];
    let grpc = http2.post("/toy.v1.Toy/Echo", &kind, framed.clone()).await;
    assert_eq!(grpc.body, framed);
    let kind = [("content-type", "application/grpc-web")];
    let web = http1.post("/toy.v1.Toy/Echo", &kind, framed.clone()).await;
    assert!(web.body.starts_with(&framed), "{web:?}");
    for path in ["/rpc/Echo", "/toy.v1.Toy/Echo", "/rpc/toy.v1.Toy/Echo"] {
        for client in [&http1, &http2] {
            let by_json = client.post(path, &[JSON], r#"{"text": "hi"}"#).await;
            assert_eq!(json_of(&by_json.body), json!({"text": "hi"}));
            let kind = [("content-type", "application/proto")];
            assert_eq!(client.post(path, &kind, text("hi")).await.body, text("hi"));
        }
    }
    // GET is allowed for reads.
    let query = "message=%7B%22text%22%3A%22hi%22%7D";
    let read = http1.get(&format!("/rpc/Echo?{query}")).await;
    assert_eq!(json_of(&read.body), json!({"text": "hi"}));
    let refused = http1.get(&format!("/rpc/Shout?{query}")).await;
    assert_eq!(refused.line, StatusCode::METHOD_NOT_ALLOWED);
    // An invalid message does not reach it.
    let wrong = http1.post("/rpc/Echo", &[JSON], r#"{"texts": "hi"}"#).await;
    assert_eq!(wrong.error().2, "texts");
    let garbled = frame(0, b"\x0a\xff");
    let kind = [("content-type", "application/grpc")];
    let answer = http2.post("/toy.v1.Toy/Echo", &kind, garbled).await;
    let status = Status::from_header_map(&answer.headers).unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    let unknown = http1.post("/rpc/GetWorkspaces", &[JSON], "{}").await;
    assert_eq!(unknown.line, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_one_in_every_form_and_counts_as_one() {
    let running = serve().await;
    let web = Web::http1(running.addr);
    let kinds = [
        ("application/json", Bytes::from_static(br#"{"text":"hi"}"#)),
        ("application/connect+json", frame(0, br#"{"text":"hi"}"#)),
    ];
    let mut open = Vec::new();
    for (kind, body) in kinds {
        let kind = [("content-type", kind)];
        let answer = web.begin(http::Method::POST, "/rpc/Repeat", &kind, body);
        let mut body = answer.await.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let first = String::from_utf8_lossy(&first).into_owned();
        assert!(first.contains(r#"{"text":"hi"}"#), "{first}");
        open.push(body);
    }
    let mut counts = running.in_flight.clone();
    let counted = counts.wait_for(|now| now.streams == open.len());
    assert_eq!(counted.await.unwrap().calls, 0);
    drop(open);
    counts.wait_for(|now| now.streams == 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_rate_limit_holds_over_all_forms_together() {
    let running = serve().await;
    let (http1, http2) = (Web::http1(running.addr), Web::http2(running.addr));
    let kind = [("content-type", "application/grpc")];
    let shout = |word| http2.post("/toy.v1.Toy/Shout", &kind, frame(0, &text(word)));
    assert_eq!(shout("a").await.body, frame(0, &text("a")));
    let body = r#"{"text": "a"}"#;
    let second = http1.post("/rpc/Shout", &[JSON], body).await;
    assert_eq!(second.line, StatusCode::OK);
    let third = http1.post("/rpc/Shout", &[JSON], body).await;
    assert_eq!(third.line, StatusCode::TOO_MANY_REQUESTS);
    let refused = shout("a").await;
    let status = Status::from_header_map(&refused.headers).unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(shout("b").await.body, frame(0, &text("b")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_and_health_know_it() {
    let running = serve().await;
    let channel = Channel::from_shared(format!("http://{}", running.addr)).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let ask = |request| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    use v1::server_reflection_request::MessageRequest;
    let asked = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "toy.v1.Toy".to_owned(),
        )),
    ];
    let answers = client.server_reflection_info(tokio_stream::iter(asked));
    let mut answers = answers.await.unwrap().into_inner();
    use v1::server_reflection_response::MessageResponse;
    let listed = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = listed.message_response else {
        panic!("{listed:?}")
    };
    let mut names: Vec<_> = listed.service.into_iter().map(|one| one.name).collect();
    names.sort();
    assert_eq!(names, ["grpc.health.v1.Health", "toy.v1.Toy"]);
    let file = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::FileDescriptorResponse(_)) = file.message_response else {
        panic!("{file:?}")
    };
    let mut health = HealthClient::new(channel);
    for service in ["", "toy.v1.Toy", "toys"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let mut statuses = health.watch(request).await.unwrap().into_inner();
        let mut status = ServingStatus::ServiceUnknown;
        while status == ServingStatus::ServiceUnknown {
            status = statuses.message().await.unwrap().unwrap().status();
        }
        assert_eq!(status, ServingStatus::NotServing, "{service:?}");
    }
}
