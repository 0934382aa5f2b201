//! The core's `Error` as a gRPC status: a canonical code, a message, and machine-readable details
//! (<https://google.aip.dev/193>).
//!
//! The reasons are part of the API: callers may branch on them.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::{error, warn};

use crate::error::{Error, FieldViolation};

/// The domain of every reason.
pub const DOMAIN: &str = "wsman.dev";

impl From<Error> for Status {
    fn from(failure: Error) -> Self {
        status(failure)
    }
}

/// Returns the status of an error. The details of an internal error are only logged, under a reference that the caller
/// gets.
pub fn status(failure: Error) -> Status {
    let (code, reason) = (code(&failure), failure.reason());
    let mut text = failure.to_string();
    // An unreachable API server is logged once, when that starts.
    let unreachable = matches!(failure, Error::Unreachable { .. });
    let mut details = ErrorDetails::new();
    let mut metadata = HashMap::new();
    match failure {
        Error::Invalid { violations, .. } => {
            for violation in violations {
                details.add_bad_request_violation(violation.field, violation.why);
            }
        }
        Error::NotFound { id, known, .. } => {
            metadata.insert("id".to_owned(), id);
            if !known.is_empty() {
                metadata.insert("known".to_owned(), known.join(","));
            }
        }
        Error::Exists { id, .. } => {
            metadata.insert("id".to_owned(), id);
        }
        Error::Capacity {
            what,
            requested,
            capacity,
        } => {
            metadata.insert("of".to_owned(), what);
            metadata.insert("requested".to_owned(), requested.to_string());
            metadata.insert("capacity".to_owned(), capacity.to_string());
        }
        Error::Ended { id, at, why, .. } => {
            metadata.insert("id".to_owned(), id);
            metadata.insert("ended".to_owned(), at.to_string());
            metadata.insert("why".to_owned(), why);
        }
        Error::Precondition { state, .. } => {
            metadata.insert("state".to_owned(), state.to_owned());
        }
        Error::Maintenance { until } => {
            metadata.insert("state".to_owned(), "MAINTENANCE".to_owned());
            metadata.extend(until.map(|end| ("until".to_owned(), end.to_string())));
        }
        Error::Exhausted {
            limit, retry_after, ..
        } => {
            metadata.insert("limit".to_owned(), limit.to_owned());
            if retry_after.is_some() {
                details.set_retry_info(retry_after);
            }
        }
        Error::Unavailable { retry_after, .. } | Error::Unreachable { retry_after, .. } => {
            if retry_after.is_some() {
                details.set_retry_info(retry_after);
            }
        }
        Error::Internal { why } => {
            let reference = format!("{:08x}", getrandom::u32().unwrap_or_default());
            error!(reference, why, "internal error");
            text = format!("internal error, reference {reference}");
            metadata.insert("reference".to_owned(), reference);
        }
        Error::Foreign { what, value, .. } => {
            metadata.insert(what.to_owned(), value);
        }
        Error::Denied { .. }
        | Error::Aborted { .. }
        | Error::Contended { .. }
        | Error::Upstream { .. }
        | Error::Deadline { .. }
        | Error::Unimplemented { .. } => {}
    }
    if code == Code::Unavailable && !unreachable {
        warn!(text, "answering UNAVAILABLE");
    }
    details.set_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, text, details)
}

/// Returns the error of invalid metadata. The value is not shown: it may be a secret.
pub fn metadata(key: &str, expected: &str) -> Error {
    let why = format!("must be {expected}");
    Error::Invalid {
        message: format!("metadata {key}: {why}"),
        violations: vec![FieldViolation::new(key, why)],
    }
}

/// Returns the error of one violation. It has no path if the whole message is invalid.
pub fn invalid(violation: FieldViolation) -> Error {
    let message = match violation.field.as_str() {
        "" => violation.why.clone(),
        field => format!("{field}: {}", violation.why),
    };
    Error::Invalid {
        message,
        violations: vec![violation],
    }
}

/// Returns the code of an error: the table of style 3.5.
fn code(error: &Error) -> Code {
    match error {
        Error::Invalid { .. } => Code::InvalidArgument,
        Error::NotFound { .. } | Error::Ended { .. } => Code::NotFound,
        Error::Exists { .. } => Code::AlreadyExists,
        Error::Precondition { .. } | Error::Maintenance { .. } | Error::Capacity { .. } => {
            Code::FailedPrecondition
        }
        Error::Denied { .. } | Error::Foreign { .. } => Code::PermissionDenied,
        Error::Exhausted { .. } => Code::ResourceExhausted,
        Error::Aborted { .. } | Error::Contended { .. } => Code::Aborted,
        Error::Unavailable { .. } | Error::Unreachable { .. } => Code::Unavailable,
        Error::Upstream { code, .. } => Code::from_i32(*code),
        Error::Deadline { .. } => Code::DeadlineExceeded,
        Error::Unimplemented { .. } => Code::Unimplemented,
        Error::Internal { .. } => Code::Internal,
    }
}

#[cfg(test)]
mod tests;
