//! The RPCs over plain HTTP, on the port of gRPC: JSON and Connect in, a gRPC call in this process, and its response
//! back.
//!
//! It is a layer before the gRPC services and applies the connection limits to every protocol. gRPC passes unchanged.
//! Each RPC `M` of a service `S` has `POST /rpc/M` and `POST /S/M`, and GET where `M` only reads. Nothing here knows
//! what an RPC does.

pub mod call;
pub mod errors;
pub mod hosts;
pub mod json;
pub mod passthrough;
pub mod rejection;
pub mod request;
pub mod stream;

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method as Verb, Request, Response, StatusCode, Version,
};
use http_body_util::{Full, StreamBody};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::StdError;
use tower::{Layer, Service};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use crate::error::Error;
use crate::rpc::in_flight::{Peer, until_over};
use crate::rpc::methods::{Method, Methods};
use crate::rpc::rejection::Rejection;
use request::{Codec, Form, Terms};

/// Longer responses are printed on a blocking thread.
const LONG: usize = 64 << 10;

#[derive(Debug, Clone)]
pub struct HttpLayer {
    methods: Methods,
}

impl HttpLayer {
    pub fn new(methods: Methods) -> Self {
        Self { methods }
    }
}

impl<S> Layer<S> for HttpLayer {
    type Service = Http<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Http {
            inner,
            methods: self.methods.clone(),
        }
    }
}

/// Allows other origins, and the headers that their pages need; `None` without origins.
pub fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = match origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        // A browser cannot send an origin that is no header value.
        false => AllowOrigin::list(
            origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok()),
        ),
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Verb::GET, Verb::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any)
        .max_age(Duration::from_secs(7200));
    Some(layer)
}

#[derive(Debug, Clone)]
pub struct Http<S> {
    inner: S,
    methods: Methods,
}

impl<S> Service<Request<Body>> for Http<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        let streams = || self.methods.streams(request.uri().path());
        let admitted = peer.map(|peer| peer.admit(streams()));
        let (permit, admitted) = match admitted.transpose() {
            Ok(permit) => (permit, Ok(())),
            Err(error) => (None, Err(error)),
        };
        let answer = match passthrough::kind(&request) {
            Some(kind) => {
                let deadline = passthrough::deadline(request.headers());
                let call = admitted.map(|()| self.inner.call(request).map(|Ok(answer)| answer));
                passthrough::answer(kind, deadline, call).left_future()
            }
            None => {
                let (inner, methods) = (self.inner.clone(), self.methods.clone());
                plain(inner, methods, request, admitted).right_future()
            }
        };
        Box::pin(async move {
            let answer = answer.await;
            Ok(match permit {
                None => answer,
                Some(permit) => answer.map(|body| until_over(body, permit)),
            })
        })
    }
}

/// Answers a request that is neither gRPC nor gRPC-Web.
async fn plain<S>(
    service: S,
    methods: Methods,
    request: Request<Body>,
    admitted: Result<(), Error>,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<StdError>,
{
    let version = request.version();
    let answer = passthrough::caught(serve(service, &methods, request, admitted)).await;
    let mut answer = answer.unwrap_or_else(rejection::response);
    let unread = [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT];
    if version < Version::HTTP_2 && unread.contains(&answer.status()) {
        // The rest of the request is not read, so no other request can follow.
        answer
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

async fn serve<S>(
    service: S,
    methods: &Methods,
    request: Request<Body>,
    admitted: Result<(), Error>,
) -> Result<Response<Body>, Rejection>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<StdError>,
{
    let path = request.uri().path();
    let method = methods
        .find(path)
        .ok_or_else(|| Rejection::Unknown(path.to_owned()))?;
    let form = request::form(method, &request)?;
    let served = match (admitted, form) {
        (Err(error), _) => Err(Rejection::from(error)),
        (Ok(()), Form::Unary(codec)) => unary(service, method, codec, request).await,
        (Ok(()), _) => streaming(service, method, form, request).await,
    };
    match (served, form) {
        // A Connect stream also ends with a stream if the call fails.
        (Err(rejection), Form::Connect(_)) => {
            let last = stream::end(form, &HeaderMap::new(), Some(&rejection.status()));
            Ok(describe(Response::new(full(last)), content_type(form)))
        }
        (served, _) => served,
    }
}

async fn unary<S>(
    service: S,
    method: &Method,
    codec: Codec,
    request: Request<Body>,
) -> Result<Response<Body>, Rejection>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<StdError>,
{
    let form = Form::Unary(codec);
    let terms = request::terms(&request)?;
    let deadline = terms.deadline;
    let work = async move {
        let mut answer = ask(service, method, form, terms, request).await?;
        let message = answer.message().await?.unwrap_or_default();
        // The status follows the message.
        if answer.message().await?.is_some() {
            return Err(Status::internal("there is a second answer").into());
        }
        let content = match codec {
            Codec::Proto => message,
            Codec::Json => print(method, message).await?,
        };
        let mut response = Response::new(full(content));
        let headers = response.headers_mut();
        *headers = answer.headers;
        for (name, value) in &answer.trailers {
            if let Ok(name) = HeaderName::try_from(format!("trailer-{name}")) {
                headers.append(name, value.clone());
            }
        }
        Ok(describe(response, content_type(form)))
    };
    within(deadline, work).await
}

async fn streaming<S>(
    service: S,
    method: &Method,
    form: Form,
    request: Request<Body>,
) -> Result<Response<Body>, Rejection>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<StdError>,
{
    let terms = request::terms(&request)?;
    let deadline = terms.deadline;
    let mut answer = within(deadline, ask(service, method, form, terms, request)).await?;
    let headers = std::mem::take(&mut answer.headers);
    let pieces = stream::pieces(answer, form, method.output.clone(), deadline)
        .map(|piece| Ok::<_, Status>(http_body::Frame::data(piece)));
    let mut response = Response::new(Body::new(StreamBody::new(pieces)));
    *response.headers_mut() = headers;
    if form != Form::Connect(Codec::Proto) {
        // Proxies that buffer short responses would delay an update.
        let unbuffered = HeaderValue::from_static("no");
        response
            .headers_mut()
            .insert("x-accel-buffering", unbuffered);
    }
    Ok(describe(response, content_type(form)))
}

async fn ask<S>(
    service: S,
    method: &Method,
    form: Form,
    terms: Terms,
    request: Request<Body>,
) -> Result<call::Answer, Rejection>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<StdError>,
{
    let extensions = request.extensions().clone();
    let (message, _held) = request::message(&method.input, form, request).await?;
    // A stream ends here, at its deadline. The service gets only the timeout of one response.
    let timeout = terms.timeout.filter(|_| !method.streams);
    let metadata = terms.metadata;
    Ok(call::call(
        service,
        &method.path,
        metadata,
        timeout,
        extensions,
        &message,
    )
    .await?)
}

/// Answers by the caller's deadline.
async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Rejection>>,
) -> Result<T, Rejection> {
    let Some(deadline) = deadline else {
        return work.await;
    };
    timeout_at(deadline, work).await.unwrap_or_else(|_| {
        Err(Rejection::from(Error::Deadline {
            doing: "answering".to_owned(),
        }))
    })
}

async fn print(method: &Method, message: Bytes) -> Result<Bytes, Rejection> {
    let kind = method.output.clone();
    let printed = match message.len() {
        ..LONG => json::print(&kind, &message),
        _ => tokio::task::spawn_blocking(move || json::print(&kind, &message))
            .await
            .unwrap_or_else(|panic| {
                Err(Error::Internal {
                    why: panic.to_string(),
                })
            }),
    };
    // This process made the message, so an error here is internal.
    let printed = printed.map_err(|error| Error::Internal {
        why: error.to_string(),
    })?;
    Ok(printed.into())
}

fn content_type(form: Form) -> &'static str {
    match form {
        Form::Unary(Codec::Json) => "application/json",
        Form::Unary(Codec::Proto) => "application/proto",
        Form::Connect(Codec::Json) => "application/connect+json",
        Form::Connect(Codec::Proto) => "application/connect+proto",
        Form::Lines => "application/x-ndjson",
        Form::Events => "text/event-stream",
    }
}

/// Sets the content type. The response must not be cached: it may hold tokens.
fn describe(mut response: Response<Body>, content: &'static str) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn full(content: impl Into<Bytes>) -> Body {
    Body::new(Full::new(content.into()))
}
