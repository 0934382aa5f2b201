//! Why a request reached no RPC.

use tonic::Status;

use super::REQUEST_LIMIT;
use super::errors::{self, invalid};
use crate::error::{Error, FieldViolation};

#[derive(Debug)]
pub enum Rejection {
    /// Its host is unclear, for this reason.
    Host(String),
    /// There is no such RPC.
    Unknown(String),
    /// The RPC needs another HTTP method.
    Verb(&'static str),
    /// The content type is unsupported; these are supported.
    ContentType(&'static str),
    /// None of the accepted content types is supported.
    Accept,
    /// The encoding is unsupported.
    Encoding,
    /// The content is over the size limit.
    TooLarge,
    /// The content did not arrive in time.
    TooSlow,
    /// Any other gRPC status.
    Status(Status),
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        Self::Status(errors::status(error))
    }
}

impl From<Status> for Rejection {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl Rejection {
    /// Returns the rejection of a header or of a parameter.
    pub fn field(field: &str, why: impl Into<String>) -> Self {
        invalid(FieldViolation::new(field, why)).into()
    }

    /// Returns the gRPC status.
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
                why: format!("a request may have at most {} bytes", REQUEST_LIMIT),
                retry_after: None,
            },
            Self::TooSlow => Error::Deadline {
                doing: "reading the request".to_owned(),
            },
        };
        errors::status(error)
    }
}
