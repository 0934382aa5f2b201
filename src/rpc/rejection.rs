//! Why a request never reached its RPC.

use tonic::Status;

use super::REQUEST_LIMIT;
use super::errors::{self, invalid};
use crate::error::{Error, FieldViolation};

/// What is wrong with a request, or with the call that it became.
#[derive(Debug)]
pub enum Rejection {
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

    /// Returns the status that says so in the terms of gRPC.
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
