//! Reads and checks the request of a call before every service, so that all services reject alike.
//!
//! A service is called with a complete request: in time, within the size limit, decompressed, of the right message
//! type, and within the rate limit of its method. The methods come from descriptors, so a new service needs no line
//! here.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, unfold};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::StreamBody;
use prost_reflect::MessageDescriptor;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::arriving::{ARRIVAL_TIMEOUT, Arriving};
use super::call::CallContext;
use super::frames::{self, Frames};
use super::in_flight::{Peer, RequestBytes, until_over};
use super::methods::{Method, Methods};
use super::packing::{self, Packing};
use super::rejection::Rejection;
use super::{REQUEST_LIMIT, deadline, errors};
use crate::error::FieldViolation;
use crate::proto::check::check;

/// Header with the encoding of a call's messages.
const PACKING: &str = "grpc-encoding";

/// Reads requests before the services.
#[derive(Debug, Clone)]
pub struct IntakeLayer {
    methods: Methods,
    context: CallContext,
}

impl IntakeLayer {
    pub fn new(methods: Methods, context: CallContext) -> Self {
        Self { methods, context }
    }
}

impl<S> Layer<S> for IntakeLayer {
    type Service = Intake<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Intake {
            inner,
            methods: self.methods.clone(),
            context: self.context.clone(),
        }
    }
}

/// See [`IntakeLayer`].
#[derive(Debug, Clone)]
pub struct Intake<S> {
    inner: S,
    methods: Methods,
    context: CallContext,
}

impl<S> Service<Request<Body>> for Intake<S>
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
        let path = request.uri().path();
        // The destination checks it.
        if self.methods.is_passthrough(path) {
            return Box::pin(self.inner.call(request));
        }
        let method = self.methods.by_path(path).cloned();
        let method = method.ok_or_else(|| Rejection::Unknown(path.to_owned()));
        // The service that was polled to readiness is the one to call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let context = self.context.clone();
        Box::pin(async move {
            match take(&context, method, request).await {
                Ok((request, held)) => {
                    let answer = inner.call(request).await?;
                    Ok(answer.map(|body| until_over(body, held)))
                }
                Err(rejection) => Ok(answer(rejection)),
            }
        })
    }
}

async fn take(
    context: &CallContext,
    method: Result<Arc<Method>, Rejection>,
    request: Request<Body>,
) -> Result<(Request<Body>, RequestBytes), Rejection> {
    let method = method?;
    let (mut parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().cloned();
    in_time(&parts.headers)?;
    let packing = Packing::of(&parts.headers, PACKING)?;
    parts.headers.remove(PACKING);
    parts.headers.remove(CONTENT_LENGTH);
    if method.takes_many {
        let kind = method.input.clone();
        let body = each(Arriving::in_parts(body, peer), packing, kind);
        return Ok((Request::from_parts(parts, body), RequestBytes::default()));
    }
    let mut arriving = Arriving::new(body, peer);
    let message = packing::enveloped(&mut arriving, packing).await?;
    checked(&method.input, &message)?;
    if method.is_unary() {
        let call = context.admit(&method, &parts.headers, &message).await?;
        parts.extensions.insert(call);
    }
    let framed = [frames::prefix(0, &message), message];
    let framed = framed.map(|part| Ok::<_, Status>(http_body::Frame::data(part)));
    let body = Body::new(StreamBody::new(stream::iter(framed)));
    Ok((Request::from_parts(parts, body), arriving.into_bytes()))
}

/// The messages of a client stream, each checked when it arrives.
fn each(arriving: Arriving, packing: Packing, kind: MessageDescriptor) -> Body {
    let frames = Some(Frames::new(arriving, REQUEST_LIMIT));
    let messages = unfold(
        (frames, packing, kind),
        |(frames, packing, kind)| async move {
            let mut frames = frames?;
            let next = match next(&mut frames, packing, &kind).await {
                Ok(None) => return None,
                Ok(Some(message)) => Ok(http_body::Frame::data(frames::frame(0, &message))),
                // Nothing follows an invalid message.
                Err(rejection) => return Some((Err(rejection.status()), (None, packing, kind))),
            };
            Some((next, (Some(frames), packing, kind)))
        },
    );
    Body::new(StreamBody::new(messages))
}

async fn next(
    frames: &mut Frames<Arriving>,
    packing: Packing,
    kind: &MessageDescriptor,
) -> Result<Option<Bytes>, Rejection> {
    let mut within = false;
    let frame = loop {
        match timeout(ARRIVAL_TIMEOUT, frames.next()).await {
            Ok(frame) => break frame?,
            Err(_) if within => return Err(Rejection::TooSlow),
            // A peer may be silent between messages, but not within one.
            Err(_) => within = frames.is_within(),
        }
    };
    let Some(frame) = frame else { return Ok(None) };
    let message = packing.unpack(frame, frames.body())?;
    checked(kind, &message)?;
    frames.body().clear();
    Ok(Some(message))
}

fn checked(kind: &MessageDescriptor, message: &[u8]) -> Result<(), Rejection> {
    check(kind, message).map_err(|fault| {
        let why = match fault.field.as_str() {
            "" => format!("this is no {}: it {}", kind.full_name(), fault.why),
            _ => fault.why.to_owned(),
        };
        errors::invalid(FieldViolation::new(fault.field, why)).into()
    })
}

/// An invalid deadline would be none.
fn in_time(headers: &HeaderMap) -> Result<(), Rejection> {
    let asked = headers.get(deadline::HEADER);
    let understood = |value: &HeaderValue| value.to_str().ok().and_then(deadline::parse).is_some();
    match asked.is_none_or(understood) {
        true => Ok(()),
        false => Err(Rejection::field(deadline::HEADER, deadline::EXPECTED)),
    }
}

fn answer(rejection: Rejection) -> Response<Body> {
    let packed = matches!(rejection, Rejection::Encoding);
    let mut answer = rejection.status().into_http();
    if packed {
        let read = HeaderValue::from_static("identity,gzip");
        answer.headers_mut().insert("grpc-accept-encoding", read);
    }
    answer
}
