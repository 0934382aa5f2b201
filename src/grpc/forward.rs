//! Forwards the service `builder.ImageBuilder` to the image builder, because clients expect it on this port. It passes
//! bytes and metadata of every kind of call unchanged and decodes no message.
//!
//! The image builder calls this daemon too. So the connection opens at the first call, and again after it is lost.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, Response, Uri};
use http_body::Frame;
use hyper::body::Incoming;
use hyper_rustls::{
    FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream,
};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Sleep, timeout};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::{Service, ServiceExt};
use tracing::{info, warn};

use crate::config::{ImageBuilder, Tls};
use crate::error::Error;
use crate::rpc::{deadline, errors};
use crate::tasks::Drain;
use crate::tls;

/// The service that is forwarded.
pub const SERVICE: &str = "builder.ImageBuilder";
/// Name that the image builder's certificate must carry.
const SERVER_NAME: &str = "image-builder-mk3";
/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Keepalive interval. gRPC servers close connections that send pings more often.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Forwards calls, or rejects them if no image builder is configured.
#[derive(Debug, Clone)]
pub struct Forward {
    target: Option<Arc<Target>>,
    drain: Drain,
}

#[derive(Debug)]
struct Target {
    scheme: Scheme,
    authority: Authority,
    client: Client<Connector, Body>,
    /// Whether the last call got no answer. A change is logged, not each call.
    is_away: AtomicBool,
}

impl Forward {
    /// Prepares the channel to the image builder. It connects at the first call.
    ///
    /// # Errors
    /// If a file with certificates cannot be read or used.
    pub fn new(builder: Option<&ImageBuilder>, drain: Drain) -> anyhow::Result<Self> {
        let target = builder.map(Target::new).transpose()?;
        let target = target.map(Arc::new);
        Ok(Self { target, drain })
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let Some(target) = self.target else {
            return Err(Status::unimplemented(format!(
                "{SERVICE} is not served: imageBuilderProxy.targetAddr is not set"
            )));
        };
        if self.drain.refuse.is_cancelled() {
            return Err(shutting_down());
        }
        let timeout = request.headers().get("grpc-timeout");
        let timeout = timeout.and_then(|value| deadline::parse(value.to_str().ok()?));
        let deadline = timeout.map(deadline::last_moment);
        let request = target.address(request)?;
        let answer = target.client.request(request).await;
        let (parts, upstream) = answer.map_err(|error| target.away(&error))?.into_parts();
        if target.is_away.swap(false, Ordering::Relaxed) {
            info!(address = %target.authority, "the image builder answers again");
        }
        let mut response = Response::new(Body::new(Answer {
            is_grpc: is_grpc(&parts.headers),
            has_status: parts.headers.contains_key("grpc-status"),
            upstream: Some(upstream),
            deadline: deadline.map(|moment| Box::pin(tokio::time::sleep_until(moment))),
            drained: async move { self.drain.stream_over().await }.boxed(),
            target,
        }));
        *response.status_mut() = parts.status;
        *response.headers_mut() = end_to_end(parts.headers);
        Ok(response)
    }
}

impl NamedService for Forward {
    const NAME: &'static str = SERVICE;
}

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.clone().answer(request);
        Box::pin(async move { Ok(answer.await.unwrap_or_else(|status| status.into_http())) })
    }
}

impl Target {
    fn new(builder: &ImageBuilder) -> anyhow::Result<Self> {
        let (scheme, tls) = match &builder.tls {
            None => (Scheme::HTTP, client_config(None)?),
            Some(tls) => (Scheme::HTTPS, client_config(Some(tls))?),
        };
        let authority = builder
            .addr
            .parse()
            .context("imageBuilderProxy.targetAddr")?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .with_server_name_resolver(FixedServerNameResolver::new(ServerName::try_from(
                SERVER_NAME,
            )?))
            .enable_http2()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_initial_stream_window_size(256 << 10)
            .http2_initial_connection_window_size(1 << 20)
            .build(Connector(connector));
        Ok(Self {
            scheme,
            authority,
            client,
            is_away: AtomicBool::new(false),
        })
    }

    /// Returns the same request, addressed to the image builder.
    fn address(&self, request: Request<Body>) -> Result<Request<Body>, Status> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|error| {
                errors::status(Error::Internal {
                    why: error.to_string(),
                })
            })?;
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = end_to_end(parts.headers);
        Ok(request)
    }

    /// Returns the status for a call that the image builder did not answer.
    fn away(&self, error: &(dyn StdError + 'static)) -> Status {
        let mut cause = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let why = format!("the image builder at {} is away: {cause}", self.authority);
        if !self.is_away.swap(true, Ordering::Relaxed) {
            warn!("{why}");
        }
        errors::status(Error::Unreachable {
            why,
            retry_after: None,
        })
    }
}

/// Connects within a timeout that includes the handshake.
#[derive(Debug, Clone)]
struct Connector(HttpsConnector<HttpConnector>);

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timeout(CONNECT_TIMEOUT, self.0.clone().oneshot(uri));
        Box::pin(async move {
            let late = |_| format!("no connection within {CONNECT_TIMEOUT:?}").into();
            connecting
                .await
                .unwrap_or_else(|elapsed| Err(late(elapsed)))
        })
    }
}

/// Trusts only the given certificate authority. Without TLS it reads no file.
fn client_config(tls: Option<&Tls>) -> anyhow::Result<ClientConfig> {
    let authorities = tls.map_or(Ok(Vec::new()), |tls| tls::read_certificates(&tls.ca))?;
    let roots =
        tls::roots(authorities).context("cannot use the authority in imageBuilderProxy.tls.ca")?;
    let identity = tls
        .filter(|tls| !tls.cert.is_empty())
        .map(|tls| tls::read_identity(&tls.cert, &tls.key))
        .transpose()?;
    tls::client(roots, identity).context("certificate and key of imageBuilderProxy.tls do not fit")
}

/// The image builder's response. Each gRPC call ends with a status, also if the image builder fails.
struct Answer {
    upstream: Option<Incoming>,
    is_grpc: bool,
    /// The status arrived already, or the protocol needs none.
    has_status: bool,
    deadline: Option<Pin<Box<Sleep>>>,
    drained: BoxFuture<'static, ()>,
    target: Arc<Target>,
}

impl Answer {
    /// Ends the call on both sides.
    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.upstream = None;
        let mut trailers = HeaderMap::new();
        if !self.is_grpc || status.add_header(&mut trailers).is_err() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let Some(upstream) = &mut this.upstream else {
            return Poll::Ready(None);
        };
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            let doing = "forwarding the answer of the image builder".to_owned();
            return this.end(&errors::status(Error::Deadline { doing }));
        }
        if this.drained.poll_unpin(context).is_ready() {
            return this.end(&shutting_down());
        }
        match ready!(Pin::new(upstream).poll_frame(context)) {
            Some(Ok(frame)) => {
                this.has_status |= frame.is_trailers();
                Poll::Ready(Some(Ok(frame)))
            }
            None if this.has_status => {
                this.upstream = None;
                Poll::Ready(None)
            }
            None => {
                let why = std::io::Error::other("the answer ended without a status");
                let status = this.target.away(&why);
                this.end(&status)
            }
            Some(Err(error)) => {
                let status = this.target.away(&error);
                this.end(&status)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_over =
            |upstream: &Incoming| upstream.is_end_stream() && (self.has_status || !self.is_grpc);
        self.upstream.as_ref().is_none_or(is_over)
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content = headers.get(CONTENT_TYPE);
    content.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Returns the headers without the hop-by-hop ones. `te` announces trailers and stays.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [CONNECTION, HOST] {
        headers.remove(name);
    }
    for name in [
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ] {
        headers.remove(name);
    }
    headers
}

fn shutting_down() -> Status {
    errors::status(Error::Unavailable {
        why: "this server is shutting down".to_owned(),
        retry_after: None,
    })
}
