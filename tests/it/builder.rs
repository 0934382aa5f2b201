//! `builder.ImageBuilder`, forwarded to an image builder: a real server that records what it receives.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use http::uri::PathAndQuery;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::body::Body;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::server::NamedService;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Service, service_fn};

use super::support::cluster::{self, Cluster};
use super::support::world::{TIMEOUT, World};
use wsman::proto::wsman::DescribeWorkspaceRequest as Message;

/// Any message will do: the daemon does not decode it.
fn message(text: &str) -> Message {
    Message {
        id: text.to_owned(),
    }
}

// === The image builder ===

/// Answers calls, and counts those that are under way.
#[derive(Clone)]
struct Builder {
    under_way: watch::Sender<usize>,
    seen: Arc<Mutex<MetadataMap>>,
}

/// Lives as long as a call.
struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

type Messages = BoxStream<'static, Result<Message, Status>>;

impl Builder {
    fn new() -> Self {
        Self {
            under_way: watch::Sender::new(0),
            seen: Arc::default(),
        }
    }

    fn enter(&self, metadata: &MetadataMap) -> UnderWay {
        *self.seen.lock().unwrap() = metadata.clone();
        self.under_way.send_modify(|count| *count += 1);
        UnderWay(self.under_way.clone())
    }

    /// What the last call came with.
    fn seen(&self, name: &str) -> String {
        let seen = self.seen.lock().unwrap();
        let value = seen.get(name).unwrap_or_else(|| panic!("no {name}"));
        value.to_str().unwrap().to_owned()
    }

    async fn until_under_way(&self, wanted: usize) {
        let mut under_way = self.under_way.subscribe();
        let reached = under_way.wait_for(|count| *count == wanted);
        let reached = tokio::time::timeout(TIMEOUT, reached).await;
        assert!(
            reached.is_ok(),
            "{} calls are under way",
            *self.under_way.borrow()
        );
    }

    async fn resolve(self, request: Request<Message>) -> Result<Response<Message>, Status> {
        let _here = self.enter(request.metadata());
        let binary = request.metadata().get_bin("given-bin").cloned();
        match request.get_ref().id.as_str() {
            "hang" => std::future::pending().await,
            "fail" => {
                let details = ErrorDetails::with_resource_info("image", "a", "b", "c");
                let mut status =
                    Status::with_error_details(Code::DataLoss, "100 % broken\u{e9}", details);
                status
                    .metadata_mut()
                    .insert("reason", "wall".parse().unwrap());
                Err(status)
            }
            text => {
                let mut response = Response::new(message(&format!("{text} resolved")));
                let metadata = response.metadata_mut();
                metadata.append("taken", "1".parse().unwrap());
                metadata.append("taken", "2".parse().unwrap());
                if let Some(binary) = binary {
                    metadata.insert_bin("taken-bin", binary);
                }
                Ok(response)
            }
        }
    }

    /// Sends as many messages as requested and an error; or one message, and then nothing for ever.
    async fn build(self, request: Request<Message>) -> Result<Response<Messages>, Status> {
        let here = self.enter(request.metadata());
        let count = request.get_ref().id.parse::<usize>();
        let first =
            stream::iter(0..count.clone().unwrap_or(1)).map(|n| Ok(message(&n.to_string())));
        let last = match count {
            Ok(_) => stream::once(async { Err(Status::aborted("built enough")) }).boxed(),
            Err(_) => stream::pending().boxed(),
        };
        let all = first.chain(last).map(move |message| {
            let _here = &here;
            message
        });
        Ok(Response::new(all.boxed()))
    }

    /// Answers each message before it waits for the next.
    async fn chat(
        self,
        request: Request<Streaming<Message>>,
    ) -> Result<Response<Messages>, Status> {
        let here = self.enter(request.metadata());
        let answers = request.into_inner().map(move |asked| {
            let _here = &here;
            Ok(message(&format!("{}!", asked?.id)))
        });
        Ok(Response::new(answers.boxed()))
    }
}

impl NamedService for Builder {
    const NAME: &'static str = "builder.ImageBuilder";
}

impl Service<http::Request<Body>> for Builder {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Message, Message>::default());
            Ok(match request.uri().path() {
                "/builder.ImageBuilder/ResolveWorkspaceImage" => {
                    grpc.unary(service_fn(move |r| this.clone().resolve(r)), request)
                        .await
                }
                "/builder.ImageBuilder/Build" => {
                    grpc.server_streaming(service_fn(move |r| this.clone().build(r)), request)
                        .await
                }
                "/builder.ImageBuilder/Chat" => {
                    grpc.streaming(service_fn(move |r| this.clone().chat(r)), request)
                        .await
                }
                other => panic!("{other} is not forwarded as it was called"),
            })
        })
    }
}

/// Serves on an address until it is aborted.
async fn serve(
    builder: &Builder,
    addr: &str,
    tls: Option<ServerTlsConfig>,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(addr).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).unwrap();
    }
    let builder = builder.clone();
    let incoming = TcpListenerStream::new(listener);
    let serving = server.add_service(builder).serve_with_incoming(incoming);
    (addr, tokio::spawn(async move { serving.await.unwrap() }))
}

// === Its callers ===

struct Caller {
    grpc: tonic::client::Grpc<tonic::transport::Channel>,
}

fn path(method: &str) -> PathAndQuery {
    format!("/builder.ImageBuilder/{method}").parse().unwrap()
}

fn codec() -> ProstCodec<Message, Message> {
    ProstCodec::default()
}

impl Caller {
    async fn of(world: &World) -> Self {
        let grpc = tonic::client::Grpc::new(world.channel().await);
        Self { grpc }
    }

    async fn resolve(&mut self, request: Request<Message>) -> Result<Response<Message>, Status> {
        self.grpc.ready().await.unwrap();
        let path = path("ResolveWorkspaceImage");
        self.grpc.unary(request, path, codec()).await
    }

    async fn build(&mut self, request: Request<Message>) -> Result<Streaming<Message>, Status> {
        self.grpc.ready().await.unwrap();
        let answer = self.grpc.server_streaming(request, path("Build"), codec());
        Ok(answer.await?.into_inner())
    }

    async fn call(&mut self, text: &str) -> Result<String, Status> {
        let answer = self.resolve(Request::new(message(text))).await?;
        Ok(answer.into_inner().id)
    }
}

async fn world(cluster: &Cluster, block: Value) -> World {
    World::start_with(cluster.client().await, &cluster.namespace, |config| {
        config["imageBuilderProxy"] = block;
    })
    .await
}

/// An image builder, a daemon before it, and a caller.
async fn all(cluster: &Cluster) -> (Builder, JoinHandle<()>, World, Caller) {
    let builder = Builder::new();
    let (addr, serving) = serve(&builder, "127.0.0.1:0", None).await;
    let world = world(cluster, json!({ "targetAddr": addr.to_string() })).await;
    let caller = Caller::of(&world).await;
    (builder, serving, world, caller)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_every_kind_are_forwarded_with_their_metadata() {
    let cluster = cluster::embedded().await;
    let (builder, serving, world, mut caller) = all(&cluster).await;

    let mut request = Request::new(message("a"));
    let binary = MetadataValue::from_bytes(&[0, 255, 7]);
    request.metadata_mut().insert("given", "x".parse().unwrap());
    request
        .metadata_mut()
        .insert_bin("given-bin", binary.clone());
    request.set_timeout(Duration::from_secs(77));
    let answer = caller.resolve(request).await.unwrap();
    assert_eq!(answer.get_ref().id, "a resolved");
    assert_eq!(
        (builder.seen("given").as_str(), builder.seen("te").as_str()),
        ("x", "trailers")
    );
    assert_eq!(builder.seen("grpc-timeout"), "77000000u");
    let taken: Vec<_> = answer.metadata().get_all("taken").iter().collect();
    assert_eq!(taken, ["1", "2"]);
    assert_eq!(answer.metadata().get_bin("taken-bin"), Some(&binary));

    let failed = caller.call("fail").await.unwrap_err();
    assert_eq!(
        (failed.code(), failed.message()),
        (Code::DataLoss, "100 % broken\u{e9}")
    );
    assert_eq!(failed.metadata().get("reason").unwrap(), "wall");
    let resource = failed.get_details_resource_info().unwrap();
    assert_eq!(resource.resource_type, "image");

    let mut built = caller.build(Request::new(message("500"))).await.unwrap();
    for n in 0..500 {
        assert_eq!(built.message().await.unwrap().unwrap().id, n.to_string());
    }
    let ended = built.message().await.unwrap_err();
    assert_eq!(
        (ended.code(), ended.message()),
        (Code::Aborted, "built enough")
    );

    // Nothing is buffered: each answer arrives before the next message is sent.
    let (ask, questions) = mpsc::unbounded_channel();
    let questions = UnboundedReceiverStream::new(questions);
    caller.grpc.ready().await.unwrap();
    let chat = caller
        .grpc
        .streaming(Request::new(questions), path("Chat"), codec());
    let (chat, ()) = tokio::join!(chat, async { ask.send(message("0")).unwrap() });
    let mut chat = chat.unwrap().into_inner();
    for n in 0..10 {
        assert_eq!(chat.message().await.unwrap().unwrap().id, format!("{n}!"));
        ask.send(message(&(n + 1).to_string())).unwrap();
    }
    world.load_of(|l| (l.streams, l.calls) == (1, 0)).await;
    drop(ask);
    assert_eq!(chat.message().await.unwrap().unwrap().id, "10!");
    assert_eq!(chat.message().await.unwrap(), None);
    builder.until_under_way(0).await;
    world.load_of(|load| load.streams == 0).await;
    drop((chat, caller, built));
    world.drain().await.unwrap();
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_and_cancellations_reach_the_image_builder() {
    let cluster = cluster::embedded().await;
    let (builder, serving, world, mut caller) = all(&cluster).await;
    let soon = |text: &str| {
        let mut request = Request::new(message(text));
        request.set_timeout(Duration::from_millis(400));
        request
    };
    let late = caller.resolve(soon("hang")).await.unwrap_err();
    let ends = [Code::DeadlineExceeded, Code::Cancelled];
    assert!(ends.contains(&late.code()), "{late}");
    builder.until_under_way(0).await;

    let mut built = caller.build(soon("for ever")).await.unwrap();
    assert_eq!(built.message().await.unwrap().unwrap().id, "0");
    let late = built.message().await.unwrap_err();
    assert!(ends.contains(&late.code()), "{late}");
    builder.until_under_way(0).await;

    // Before the answer, and within it.
    let hanging = caller.call("hang").boxed();
    let until = builder.until_under_way(1);
    tokio::select! {
        _ = hanging => panic!("no answer was expected"),
        () = until => {}
    }
    builder.until_under_way(0).await;
    let mut built = caller
        .build(Request::new(message("for ever")))
        .await
        .unwrap();
    assert_eq!(built.message().await.unwrap().unwrap().id, "0");
    builder.until_under_way(1).await;
    drop(built);
    builder.until_under_way(0).await;

    // A daemon that drains ends endless calls, with a status.
    let mut built = caller
        .build(Request::new(message("for ever")))
        .await
        .unwrap();
    assert_eq!(built.message().await.unwrap().unwrap().id, "0");
    let (drained, ended) = tokio::join!(world.drain(), built.message());
    drained.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    builder.until_under_way(0).await;
    serving.abort();
}

/// An image builder that dies with all its connections.
struct Mortal(Runtime);

impl Mortal {
    async fn start(builder: &Builder, addr: &str) -> (Self, SocketAddr) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (builder, addr) = (builder.clone(), addr.to_owned());
        let serving = runtime.spawn(async move { serve(&builder, &addr, None).await });
        let (addr, _) = serving.await.unwrap();
        (Self(runtime), addr)
    }

    async fn kill(self) {
        let killed = tokio::task::spawn_blocking(move || self.0.shutdown_timeout(TIMEOUT));
        killed.await.unwrap();
    }
}

/// Calls until the connection is refused: an open connection may break first.
async fn until_refused(caller: &mut Caller, addr: &str) {
    let refused = async {
        loop {
            let away = caller.call("a").await.unwrap_err();
            assert_eq!(away.code(), Code::Unavailable, "{away}");
            assert!(away.message().contains(addr), "{away}");
            let info = away.get_details_error_info().unwrap();
            assert_eq!(info.reason, "UNAVAILABLE");
            if away.message().contains("refused") {
                return;
            }
        }
    };
    tokio::time::timeout(TIMEOUT, refused).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_builder_that_is_away_is_named_and_found_again() {
    let cluster = cluster::embedded().await;
    let builder = Builder::new();
    let (mortal, addr) = Mortal::start(&builder, "127.0.0.1:0").await;
    mortal.kill().await;
    let addr = addr.to_string();
    // The daemon does not wait for it.
    let world = world(&cluster, json!({ "targetAddr": addr })).await;
    let mut caller = Caller::of(&world).await;
    for _ in 0..2 {
        until_refused(&mut caller, &addr).await;
        let (mortal, _) = Mortal::start(&builder, &addr).await;
        assert_eq!(caller.call("a").await.unwrap(), "a resolved");
        // A broken stream ends with a status too.
        let mut built = caller
            .build(Request::new(message("for ever")))
            .await
            .unwrap();
        assert_eq!(built.message().await.unwrap().unwrap().id, "0");
        mortal.kill().await;
        let ended = tokio::time::timeout(TIMEOUT, built.message())
            .await
            .unwrap();
        let ended = ended.unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable, "{ended}");
        assert!(ended.message().contains(&addr), "{ended}");
    }
    drop(caller);
    world.drain().await.unwrap();
}

/// Writes an authority, and a certificate that it signs for `name` with its key.
fn certificates(folder: &Path, name: &str) -> (String, String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let texts = (authority.pem(), certificate.pem(), key.serialize_pem());
    for (file, text) in [("ca", &texts.0), ("crt", &texts.1), ("key", &texts.2)] {
        std::fs::write(folder.join(file), text).unwrap();
    }
    texts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_both_sides_know_each_other() {
    let cluster = cluster::embedded().await;
    for (name, is_known) in [("image-builder-mk3", true), ("another-name", false)] {
        let folder = tempfile::tempdir().unwrap();
        let (ca, certificate, key) = certificates(folder.path(), name);
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(ca));
        let builder = Builder::new();
        let (addr, serving) = serve(&builder, "127.0.0.1:0", Some(tls)).await;
        let file = |name: &str| folder.path().join(name).display().to_string();
        let known = json!({ "ca": file("ca"), "crt": file("crt"), "key": file("key") });
        let unknown = json!({ "ca": file("ca") });
        for (tls, is_let_in) in [(known, is_known), (unknown, false)] {
            let block = json!({ "targetAddr": addr.to_string(), "tls": tls });
            let world = world(&cluster, block).await;
            let mut caller = Caller::of(&world).await;
            let answer = caller.call("a").await;
            match is_let_in {
                true => assert_eq!(answer.unwrap(), "a resolved"),
                false => assert_eq!(answer.unwrap_err().code(), Code::Unavailable),
            }
            drop(caller);
            world.drain().await.unwrap();
        }
        serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_address_the_service_is_not_implemented() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut caller = Caller::of(&world).await;
    let refused = caller.call("a").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
    assert!(refused.message().contains("imageBuilderProxy"), "{refused}");
    drop(caller);
    world.drain().await.unwrap();
}
