//! The client's calls over HTTP and JSON, for `-H http://host:port/rpc`: each gRPC call becomes a request of the
//! Connect protocol, and its response a gRPC response, so that verbs do not see the difference.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, unfold};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::{Code, Status};
use tower::Service;

use crate::http::{call, errors, json};
use crate::rpc::deadline;
use crate::rpc::frames::{self, Frames};
use crate::rpc::methods::{Method, Methods};

/// A list of thousands of workspaces is far beyond the default of 4 MiB.
pub(super) const LARGEST_ANSWER: usize = 256 << 20;
/// Interval of keepalive pings. Servers of this protocol close connections with more frequent ones.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A server that takes no connection by then is not there.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server over HTTP.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// The prefix of method names.
    base: String,
    /// The base has no path: methods have their full names, as in Connect.
    full_names: bool,
    methods: Methods,
}

impl Http {
    /// Prepares calls to the server at `base`, such as `http://localhost:8080/rpc`. Without a path, methods have
    /// their full names, as in Connect. The server's certificate must have the name `name`.
    pub(super) fn new(
        base: &Uri,
        tls: ClientConfig,
        name: ServerName<'static>,
    ) -> anyhow::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(PING_INTERVAL));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .with_server_name_resolver(FixedServerNameResolver::new(name))
            .enable_http1()
            .enable_http2()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(PING_INTERVAL)
            .build(connector);
        let text = base.to_string();
        let text = text.trim_end_matches('/');
        let full_names = matches!(base.path(), "" | "/");
        let methods = Methods::load()?;
        Ok(Self {
            client,
            base: text.to_owned(),
            full_names,
            methods,
        })
    }

    async fn call(self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let path = request.uri().path();
        let unknown = || Status::internal(format!("{path} is no RPC"));
        let method = self.methods.find(path).ok_or_else(unknown)?.clone();
        let short = method.path.rsplit('/').next().unwrap_or_default();
        // The name alone may lead to the call of another service.
        let by_name = self.methods.find(&format!("/rpc/{short}"));
        let is_short = !self.full_names && by_name.is_some_and(|found| found.path == method.path);
        let name = match is_short {
            true => short,
            false => method.path.trim_start_matches('/'),
        };
        let mut sent = Request::post(format!("{}/{name}", self.base))
            .body(Full::default())
            .map_err(|error| Status::internal(error.to_string()))?;
        let (parts, body) = request.into_parts();
        *sent.headers_mut() = headers(&parts.headers, method.streams);
        let broken = |error: frames::Broken| Status::internal(error.to_string());
        let message = Frames::new(body, usize::MAX).next().await.map_err(broken)?;
        let message = message.map(|frame| frame.payload).unwrap_or_default();
        let text = json::print(&method.input, &message)
            .map_err(|error| Status::internal(error.to_string()))?;
        *sent.body_mut() = Full::new(match method.streams {
            true => frames::frame(0, &text),
            false => text.into(),
        });
        let answer = self.client.request(sent).await.map_err(unreachable)?;
        match method.streams {
            true => updates(method, answer).await,
            false => single(&method, answer).await,
        }
    }
}

impl Service<Request<Body>> for Http {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<'static, Result<Response<Body>, StdError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Self::call(this, request).await.map_err(StdError::from) })
    }
}

/// The metadata of a call, and the headers of Connect.
fn headers(metadata: &HeaderMap, streams: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    call::copy(metadata, &mut headers);
    let content = if streams {
        "application/connect+json"
    } else {
        "application/json"
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    headers.insert("connect-protocol-version", HeaderValue::from_static("1"));
    let timeout = metadata
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok());
    if let Some(limit) = timeout.and_then(deadline::parse)
        && let Ok(millis) = u32::try_from(limit.as_millis())
    {
        headers.insert("connect-timeout-ms", millis.max(1).into());
    }
    headers
}

/// The response of a unary call.
async fn single(method: &Method, answer: Response<Incoming>) -> Result<Response<Body>, Status> {
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await;
    let body = body.map_err(cut)?.to_bytes();
    if parts.status != StatusCode::OK {
        return Err(error_of(parts.status, &body));
    }
    expect(&parts.headers, "application/json")?;
    let message = read(method, &body)?;
    let mut headers = HeaderMap::new();
    let mut trailers = HeaderMap::new();
    call::copy(&parts.headers, &mut headers);
    for (name, value) in &parts.headers {
        if let Some(name) = name.as_str().strip_prefix("trailer-")
            && let Ok(name) = HeaderName::try_from(name)
        {
            headers.remove(format!("trailer-{name}"));
            trailers.append(name, value.clone());
        }
    }
    let parts = [
        Frame::data(frames::frame(0, &message)),
        end(trailers, &Status::ok(""))?,
    ];
    Ok(grpc(headers, stream::iter(parts.map(Ok)).boxed()))
}

/// The responses of a server stream.
async fn updates(
    method: Arc<Method>,
    answer: Response<Incoming>,
) -> Result<Response<Body>, Status> {
    let (parts, body) = answer.into_parts();
    if parts.status != StatusCode::OK {
        let body = Limited::new(body, LARGEST_ANSWER).collect().await;
        return Err(error_of(parts.status, &body.map_err(cut)?.to_bytes()));
    }
    expect(&parts.headers, "application/connect+json")?;
    let mut headers = HeaderMap::new();
    call::copy(&parts.headers, &mut headers);
    let frames = Some(Frames::new(body, LARGEST_ANSWER));
    let parts = unfold((frames, method), |(frames, method)| async move {
        let mut frames = frames?;
        let (part, over) = match frames.next().await {
            Ok(Some(frame)) if frame.flags & frames::END != 0 => (last(&frame.payload), true),
            Ok(Some(frame)) => {
                let message = read(&method, &frame.payload);
                let over = message.is_err();
                (
                    message.map(|message| Frame::data(frames::frame(0, &message))),
                    over,
                )
            }
            Ok(None) => (Err(cut("it ended without saying how")), true),
            Err(broken) => (Err(cut(broken)), true),
        };
        Some((part, (Some(frames).filter(|_| !over), method)))
    });
    Ok(grpc(headers, parts.boxed()))
}

/// The message that ends a Connect stream, as trailers.
fn last(payload: &[u8]) -> Result<Frame<Bytes>, Status> {
    let last: Value = serde_json::from_slice(payload).map_err(cut)?;
    let mut trailers = HeaderMap::new();
    let metadata = last.get("metadata").and_then(Value::as_object);
    for (name, values) in metadata.into_iter().flatten() {
        let values = values.as_array().into_iter().flatten();
        for value in values.filter_map(Value::as_str) {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                trailers.append(name, value);
            }
        }
    }
    let status = match last.get("error") {
        None => Status::ok(""),
        Some(error) => {
            errors::from_json(error).unwrap_or_else(|| Status::unknown(error.to_string()))
        }
    };
    end(trailers, &status)
}

fn end(mut trailers: HeaderMap, status: &Status) -> Result<Frame<Bytes>, Status> {
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}

fn grpc(
    mut headers: HeaderMap,
    parts: BoxStream<'static, Result<Frame<Bytes>, Status>>,
) -> Response<Body> {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    let mut response = Response::new(Body::new(StreamBody::new(parts)));
    *response.headers_mut() = headers;
    response
}

fn read(method: &Method, text: &[u8]) -> Result<Vec<u8>, Status> {
    json::read_answer(&method.output, text)
        .map_err(|error| Status::internal(format!("the server's answer cannot be read: {error}")))
}

fn expect(headers: &HeaderMap, wanted: &str) -> Result<(), Status> {
    let received = headers
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], |kind| kind.as_bytes());
    match received.starts_with(wanted.as_bytes()) {
        true => Ok(()),
        false => Err(Status::unknown(format!(
            "the server answered {:?} instead of {wanted}: is this the address of a workspace manager?",
            String::from_utf8_lossy(received)
        ))),
    }
}

/// The status of an error response. If it is no Connect error, another program listens there.
fn error_of(line: StatusCode, body: &[u8]) -> Status {
    let error = serde_json::from_slice(body).ok();
    error.and_then(|error| errors::from_json(&error)).unwrap_or_else(|| {
        Status::new(
            errors::code(line),
            format!("the server answered {line} without a reason: is this the address of a workspace manager?"),
        )
    })
}

fn unreachable(error: ClientError) -> Status {
    let mut status = Status::new(Code::Unavailable, "cannot reach the server");
    status.set_source(Arc::new(error));
    status
}

fn cut(error: impl Into<StdError>) -> Status {
    let mut status = Status::new(Code::Unavailable, "the answer broke off");
    status.set_source(Arc::from(error.into()));
    status
}
