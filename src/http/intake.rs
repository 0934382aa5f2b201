//! Before every service: takes the request of a call in and checks it, so that each refuses the same in the same words.
//!
//! A service is called when its request is there whole: in time, not too long, unpacked, and a message of its kind.
//! Which methods there are is read from descriptors; a service that is described is limited without a line here.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, unfold};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::StreamBody;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::arriving::{ARRIVAL, Arriving};
use super::frames::{self, Frames};
use super::refusal::Refusal;
use super::request::{self, Packing};
use crate::error::FieldViolation;
use crate::grpc::REQUEST_LIMIT;
use crate::grpc::load::{Peer, RequestBytes, until_over};
use crate::grpc::{deadline, forward};
use crate::proto::DESCRIPTORS;
use crate::proto::check::check;

/// Names how the messages of a call may be packed.
const PACKING: &str = "grpc-encoding";

/// Puts the intake before services.
#[derive(Debug, Clone)]
pub struct IntakeLayer {
    methods: Arc<HashMap<String, Method>>,
}

#[derive(Debug, Clone)]
struct Method {
    input: MessageDescriptor,
    /// Whether a request is one message.
    single: bool,
}

impl IntakeLayer {
    /// Reads the descriptors of all services: ours, health and reflection.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn new() -> anyhow::Result<Self> {
        let mut methods = HashMap::new();
        for set in [
            DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            let pool = DescriptorPool::decode(set)?;
            for service in pool.services() {
                methods.extend(service.methods().map(|method| {
                    let path = format!("/{}/{}", service.full_name(), method.name());
                    let described = Method {
                        input: method.input(),
                        single: !method.is_client_streaming(),
                    };
                    (path, described)
                }));
            }
        }
        let methods = Arc::new(methods);
        Ok(Self { methods })
    }
}

impl<S> Layer<S> for IntakeLayer {
    type Service = Intake<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let methods = Arc::clone(&self.methods);
        Intake { inner, methods }
    }
}

/// See [`IntakeLayer`].
#[derive(Debug, Clone)]
pub struct Intake<S> {
    inner: S,
    methods: Arc<HashMap<String, Method>>,
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
        let service = path.split('/').nth(1).unwrap_or_default();
        // Whoever it is forwarded to checks it.
        if service == forward::SERVICE {
            return Box::pin(self.inner.call(request));
        }
        let method = self.methods.get(path).cloned();
        let method = method.ok_or_else(|| Refusal::Unknown(path.to_owned()));
        // What was polled to be ready is what is called.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            match take(method, request).await {
                Ok((request, held)) => {
                    let answer = inner.call(request).await?;
                    Ok(answer.map(|body| until_over(body, held)))
                }
                Err(refusal) => Ok(answer(refusal)),
            }
        })
    }
}

async fn take(
    method: Result<Method, Refusal>,
    request: Request<Body>,
) -> Result<(Request<Body>, RequestBytes), Refusal> {
    let method = method?;
    let (mut parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().cloned();
    in_time(&parts.headers)?;
    let packing = Packing::of(&parts.headers, PACKING)?;
    parts.headers.remove(PACKING);
    parts.headers.remove(CONTENT_LENGTH);
    if !method.single {
        let body = each(Arriving::in_parts(body, peer), packing, method.input);
        return Ok((Request::from_parts(parts, body), RequestBytes::default()));
    }
    let mut arriving = Arriving::new(body, peer);
    let message = request::enveloped(&mut arriving, packing).await?;
    checked(&method.input, &message)?;
    let framed = [frames::prefix(0, &message), message];
    let framed = framed.map(|part| Ok::<_, Status>(http_body::Frame::data(part)));
    let body = Body::new(StreamBody::new(stream::iter(framed)));
    Ok((Request::from_parts(parts, body), arriving.into_bytes()))
}

/// The messages of a request of many, each checked when it is there.
fn each(arriving: Arriving, packing: Packing, kind: MessageDescriptor) -> Body {
    let frames = Some(Frames::new(arriving, REQUEST_LIMIT));
    let messages = unfold(
        (frames, packing, kind),
        |(frames, packing, kind)| async move {
            let mut frames = frames?;
            let next = match next(&mut frames, packing, &kind).await {
                Ok(None) => return None,
                Ok(Some(message)) => Ok(http_body::Frame::data(frames::frame(0, &message))),
                // After a message that is none there is no other.
                Err(refusal) => return Some((Err(refusal.status()), (None, packing, kind))),
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
) -> Result<Option<Bytes>, Refusal> {
    let mut began = false;
    let frame = loop {
        match timeout(ARRIVAL, frames.next()).await {
            Ok(frame) => break frame?,
            Err(_) if began => return Err(Refusal::TooSlow),
            // A peer may be silent between messages, but not within one.
            Err(_) => began = frames.is_within(),
        }
    };
    let Some(frame) = frame else { return Ok(None) };
    let message = packing.unpack(frame, frames.body())?;
    checked(kind, &message)?;
    frames.body().clear();
    Ok(Some(message))
}

fn checked(kind: &MessageDescriptor, message: &[u8]) -> Result<(), Refusal> {
    check(kind, message).map_err(|fault| {
        let why = match fault.field.as_str() {
            "" => format!("this is no {}: it {}", kind.full_name(), fault.why),
            _ => fault.why.to_owned(),
        };
        super::json::invalid(FieldViolation::new(fault.field, why)).into()
    })
}

/// A deadline that cannot be understood would be none.
fn in_time(headers: &HeaderMap) -> Result<(), Refusal> {
    let asked = headers.get(deadline::HEADER);
    let understood = |value: &HeaderValue| value.to_str().ok().and_then(deadline::parse).is_some();
    match asked.is_none_or(understood) {
        true => Ok(()),
        false => Err(Refusal::field(deadline::HEADER, deadline::EXPECTED)),
    }
}

fn answer(refusal: Refusal) -> Response<Body> {
    let packed = matches!(refusal, Refusal::Encoding);
    let mut answer = refusal.status().into_http();
    if packed {
        let read = HeaderValue::from_static("identity,gzip");
        answer.headers_mut().insert("grpc-accept-encoding", read);
    }
    answer
}
