//! gRPC and gRPC-Web calls pass unchanged, and each gets a status, also if its handler fails or panics.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method as Verb, Request, Response, Version};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;

use super::request;
use crate::error::Error;
use crate::rpc::{deadline, errors};

/// Returns the content type of a call of gRPC, which needs HTTP/2, or of gRPC-Web.
pub fn kind(request: &Request<Body>) -> Option<HeaderValue> {
    let content = request.headers().get(CONTENT_TYPE)?;
    let essence = request::essence(content.to_str().ok()?);
    let passes = match essence.strip_prefix("application/grpc")? {
        "" | "+proto" => request.version() == Version::HTTP_2,
        "-web" | "-web+proto" | "-web-text" | "-web-text+proto" => true,
        _ => false,
    };
    (passes && *request.method() == Verb::POST).then(|| content.clone())
}

/// Returns the deadline of a call, if it has one. The transport starts its timer later.
pub fn deadline(headers: &HeaderMap) -> Option<Instant> {
    let timeout = deadline::parse(headers.get(deadline::HEADER)?.to_str().ok()?)?;
    Some(deadline::last_moment(timeout))
}

/// Answers a call by its deadline, also if the handler panics.
pub async fn answer(
    kind: HeaderValue,
    deadline: Option<Instant>,
    call: Result<impl Future<Output = Response<Body>>, Error>,
) -> Response<Body> {
    let answer = async { in_time(deadline, call?).await };
    caught(answer).await.unwrap_or_else(|error| {
        let mut answer = errors::status(error).into_http();
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        answer
    })
}

/// Turns a panic into an error. Its message may hold what the caller sent and is not repeated.
pub async fn caught<T, E: From<Error>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|_| {
        let why = "a handler panicked".to_owned();
        Err(E::from(Error::Internal { why }))
    })
}

/// Answers before the transport cancels the call.
async fn in_time<T>(
    deadline: Option<Instant>,
    answer: impl Future<Output = T>,
) -> Result<T, Error> {
    let Some(deadline) = deadline else {
        return Ok(answer.await);
    };
    let answered = match deadline > Instant::now() {
        true => timeout_at(deadline, answer).await.ok(),
        false => None,
    };
    answered.ok_or_else(|| Error::Deadline {
        doing: "answering".to_owned(),
    })
}
