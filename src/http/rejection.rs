//! The HTTP response to a request that reached no RPC, or that the RPC rejected.

use http::header::{ACCEPT_ENCODING, ALLOW, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tonic::body::Body;
use tonic_types::StatusExt;

use super::errors;
use crate::rpc::rejection::Rejection;

/// Header of a response to an unsupported content type (Linked Data Platform, 7.1).
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// Returns the HTTP response of a rejection.
pub fn response(rejection: Rejection) -> Response<Body> {
    let mut headers = HeaderMap::new();
    let line = match &rejection {
        Rejection::Unknown(_) => Some(StatusCode::NOT_FOUND),
        Rejection::Verb(allowed) => {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
            Some(StatusCode::METHOD_NOT_ALLOWED)
        }
        Rejection::ContentType(read) => {
            headers.insert(ACCEPT_POST, HeaderValue::from_static(read));
            Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        }
        Rejection::Accept => Some(StatusCode::NOT_ACCEPTABLE),
        Rejection::Encoding => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            None
        }
        Rejection::TooLarge => Some(StatusCode::PAYLOAD_TOO_LARGE),
        Rejection::TooSlow => Some(StatusCode::REQUEST_TIMEOUT),
        Rejection::Host(_) | Rejection::Status(_) => None,
    };
    let status = rejection.status();
    let mut answer = Response::new(super::full(errors::to_json(&status).to_string()));
    *answer.status_mut() = line.unwrap_or_else(|| errors::line(status.code()));
    super::call::copy(status.metadata().as_ref(), &mut headers);
    let delay = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    if let Some(delay) = delay {
        headers.insert(RETRY_AFTER, delay.as_secs().max(1).into());
    }
    *answer.headers_mut() = headers;
    super::describe(answer, "application/json")
}
