//! What the API server says, as the core's `Error`. The only place that knows its codes and reasons.

use std::error::Error as _;
use std::time::Duration;

use kube::core::Status;

use crate::error::{Error, FieldViolation};

/// Returns the core's error for a failed request; `doing` says what was attempted.
pub fn of(error: &kube::Error, doing: &str) -> Error {
    match error {
        kube::Error::Api(status) => of_status(status, doing),
        // Everything else is the way to the server: dial, TLS, reset, timeout, a cut body.
        other => Error::Unavailable {
            why: format!("{doing}: {}", chain(other)),
            retry_after: None,
        },
    }
}

/// Whether the same request may do better a moment later.
pub fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// How long the server asked to be left alone.
pub fn retry_after(error: &kube::Error) -> Option<Duration> {
    match error {
        kube::Error::Api(status) => patience(status),
        _ => None,
    }
}

fn patience(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// Whether the history that was asked for is gone, as a status or as an event.
pub fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410 || matches!(status.reason.as_str(), "Expired" | "Gone"))
}

/// Whether the object does not exist.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether an object of that name exists already.
pub fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

/// Whether the object is not the one, or not in the version, that was meant.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason != "AlreadyExists")
}

/// Whether a patch that carried a uid met another object of the same name.
pub fn is_other_uid(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    is_conflict(error)
        || (status.code == 422
            && causes
                .into_iter()
                .any(|cause| cause.field == "metadata.uid"))
}

fn of_status(status: &Status, doing: &str) -> Error {
    let said = &status.message;
    let why = format!("{doing}: {said}");
    let terminating = || {
        status.details.as_ref().is_some_and(|d| {
            d.causes
                .iter()
                .any(|cause| cause.reason == "NamespaceTerminating")
        })
    };
    match status.code {
        400 | 413 | 422 => Error::Invalid {
            message: why,
            violations: violations(status),
        },
        403 if said.contains("exceeded quota") => Error::Exhausted {
            limit: "QUOTA",
            why,
            retry_after: None,
        },
        403 if terminating() => Error::Precondition {
            state: "NAMESPACE_TERMINATING",
            why,
        },
        403 => Error::Denied { why },
        404 => Error::Precondition {
            state: "MISSING_OBJECT",
            why,
        },
        409 => Error::Aborted { why },
        _ => Error::Unavailable {
            why,
            retry_after: patience(status),
        },
    }
}

fn violations(status: &Status) -> Vec<FieldViolation> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .map(|cause| FieldViolation::new(&cause.field, &cause.message))
        .collect()
}

/// The error and its causes in one line; kube repeats causes in its own texts, so each is told once.
fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
