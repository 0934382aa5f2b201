//! Why a request never reached its RPC, and the answer that says so.

use http::header::{ACCEPT_ENCODING, ALLOW, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tonic::Status;
use tonic::body::Body;
use tonic_types::StatusExt;

use super::errors;
use super::json::invalid;
use crate::error::{Error, FieldViolation};
use crate::grpc;

/// What a type of content that nobody reads is answered with, beside the refusal (Linked Data Platform, 7.1).
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// What is wrong with a request, or with the call that it became.
#[derive(Debug)]
pub enum Refusal {
    /// It is unclear which host is meant, for this reason.
    Host(String),
    /// No RPC is there.
    Unknown(String),
    /// The RPC is asked for with another verb.
    Verb(&'static str),
    /// The content is of a type that is not read; these are.
    ContentType(&'static str),
    /// No form of answer that the caller takes is made here.
    Accept,
    /// The content is packed in a way that is not read.
    Encoding,
    /// The content is longer than allowed.
    TooLarge,
    /// The content did not arrive in time.
    TooSlow,
    /// Anything that gRPC has a status for.
    Status(Status),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Status(grpc::errors::status(error))
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl Refusal {
    /// Makes the refusal of a header or of a parameter.
    pub fn field(field: &str, why: impl Into<String>) -> Self {
        invalid(FieldViolation::new(field, why)).into()
    }

    /// Returns the status that tells it in gRPC's terms.
    pub fn status(self) -> Status {
        let error = match self {
            Self::Status(status) => return status,
            Self::Host(why) => invalid(FieldViolation::new("host", why)),
            Self::Unknown(path) => Error::Unimplemented {
                why: format!("there is no RPC at {path}"),
            },
            Self::Verb(allowed) => Error::Unimplemented {
                why: format!("use {allowed}"),
            },
            Self::Encoding => Error::Unimplemented {
                why: "content of that encoding is not read; use gzip or identity".to_owned(),
            },
            Self::ContentType(read) => invalid(FieldViolation::new(
                "content-type",
                format!("must be one of {read}"),
            )),
            Self::Accept => invalid(FieldViolation::new(
                "accept",
                "must allow application/x-ndjson or text/event-stream",
            )),
            Self::TooLarge => Error::Exhausted {
                limit: "REQUEST_SIZE",
                why: format!("a request may have at most {} bytes", grpc::REQUEST_LIMIT),
                retry_after: None,
            },
            Self::TooSlow => Error::Deadline {
                doing: "reading the request".to_owned(),
            },
        };
        grpc::errors::status(error)
    }

    /// Returns the answer that tells it over HTTP.
    pub fn response(self) -> Response<Body> {
        let mut headers = HeaderMap::new();
        let line = match &self {
            Self::Unknown(_) => Some(StatusCode::NOT_FOUND),
            Self::Verb(allowed) => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
                Some(StatusCode::METHOD_NOT_ALLOWED)
            }
            Self::ContentType(read) => {
                headers.insert(ACCEPT_POST, HeaderValue::from_static(read));
                Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            Self::Accept => Some(StatusCode::NOT_ACCEPTABLE),
            Self::Encoding => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
                None
            }
            Self::TooLarge => Some(StatusCode::PAYLOAD_TOO_LARGE),
            Self::TooSlow => Some(StatusCode::REQUEST_TIMEOUT),
            Self::Host(_) | Self::Status(_) => None,
        };
        let status = self.status();
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
}
