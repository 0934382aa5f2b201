//! The meanings of the API server's errors: one code has several meanings, each with its own retries and its own error.
//! Only this file knows the server's codes, reasons and texts.

use std::time::Duration;

use kube::core::Status;
use kube::core::response::StatusDetails;

use crate::error::{Error, FieldViolation};
use crate::window::Answer;

/// What an error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There is no answer: dial, TLS, reset, timeout, a cut body, a proxy without a backend.
    NoAnswer,
    Invalid,
    /// The object of that name has another uid than expected.
    OtherUid,
    /// The object has another version than expected.
    Changed,
    /// The object does not exist.
    Gone,
    /// An object of that name exists.
    Exists,
    /// Our credentials are rejected.
    Credentials,
    /// RBAC, Pod Security or another built-in policy forbids it.
    Forbidden,
    /// An admission webhook or policy denies it.
    Denied,
    /// A ResourceQuota is exceeded.
    QuotaExceeded,
    /// No cluster IP is left.
    NoAddressLeft,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The namespace does not exist.
    NamespaceMissing,
    /// Something that the object needs does not exist, such as its service account.
    Needed,
    /// There is no API server, or one without this kind of object.
    NotServed,
    /// Concurrent writes conflict inside the server, such as those of a ResourceQuota; or a webhook answers that
    /// the moment is wrong.
    Contended,
    /// Too many requests.
    Busy,
    /// The server, a webhook or etcd fails or is slow.
    Failing,
    Odd,
}

/// Whether and for how long a request is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// A retry would fail the same way.
    Never,
    /// For a few seconds: such an error may be permanent.
    Briefly,
    UntilDeadline,
}

impl Cause {
    /// Whether and for how long a request is retried.
    pub fn retry(self) -> Retry {
        match self {
            Self::NoAnswer | Self::Busy | Self::Failing => Retry::UntilDeadline,
            Self::Contended | Self::NoAddressLeft => Retry::Briefly,
            _ => Retry::Never,
        }
    }
}

/// Returns the core's error for a failed request; `doing` names the attempt.
pub fn of(error: &kube::Error, doing: &str) -> Error {
    match error {
        kube::Error::Api(status) => of_status(status, doing),
        other => Error::Unreachable {
            why: format!("{doing}: {}", chain(other)),
            retry_after: None,
        },
    }
}

/// Returns what the answer is about.
pub fn cause(error: &kube::Error) -> Cause {
    match error {
        kube::Error::Api(status) => cause_of(status),
        _ => Cause::NoAnswer,
    }
}

/// Whether and for how long a retry may succeed.
pub fn retry(error: &kube::Error) -> Retry {
    match error {
        kube::Error::Api(status) => cause_of(status).retry(),
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => {
            Retry::UntilDeadline
        }
        _ => Retry::Never,
    }
}

/// Whether a write with this error may have succeeded.
pub fn is_unknown(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            matches!(status.code, 408 | 500 | 502 | 504)
                && matches!(cause_of(status), Cause::NoAnswer | Cause::Failing)
                && !is_denied_by_admission(&status.message)
        }
        kube::Error::Service(inner) => !was_never_sent(inner.as_ref()),
        kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// Whether no connection was open that could carry the request.
fn was_never_sent(error: &(dyn std::error::Error + 'static)) -> bool {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain
        .filter_map(|error| error.downcast_ref::<hyper_util::client::legacy::Error>())
        .any(hyper_util::client::legacy::Error::is_connect)
}

/// What an error after this time shows about the load of the server.
pub fn load(error: &kube::Error, took: Duration) -> Answer {
    match (cause(error), error) {
        (Cause::Busy, _) => Answer::Overload,
        (Cause::Failing, kube::Error::Api(status)) if matches!(status.code, 408 | 504) => {
            Answer::Overload
        }
        (Cause::NoAnswer, _) => Answer::Unknown,
        _ => Answer::After(took),
    }
}

/// The pause that the server requests.
pub fn retry_after(error: &kube::Error) -> Option<Duration> {
    match error {
        kube::Error::Api(status) => asked_pause(status),
        _ => None,
    }
}

fn asked_pause(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// Whether the requested version is compacted (410), as a status or as an event.
pub fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410 || matches!(status.reason.as_str(), "Expired" | "Gone"))
}

/// Whether the object of a change or a deletion is gone, or is not the expected one.
pub fn is_outdated(error: &kube::Error) -> bool {
    matches!(cause(error), Cause::Gone | Cause::Changed | Cause::OtherUid)
}

/// Whether an error is about an object of this kind.
pub fn is_about(error: &kube::Error, kind: &str) -> bool {
    matches!(error, kube::Error::Api(status) if details(status).is_some_and(|details| details.kind == kind))
}

/// The text of an error, with its causes and without the names of the client library.
pub fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => chain(other),
    }
}

fn cause_of(status: &Status) -> Cause {
    let text = status.message.as_str();
    let denied = is_denied_by_admission(text);
    let about = |kind: &str| details(status).is_some_and(|details| details.kind == kind);
    match status.code {
        500 if text.contains("range is full") => Cause::NoAddressLeft,
        500..=504 if denied => Cause::Failing,
        code if is_no_answer(code, &status.reason) => Cause::NoAnswer,
        408 | 500 | 504 => Cause::Failing,
        429 => Cause::Busy,
        409 if denied || about("resourcequotas") => Cause::Contended,
        409 if status.reason == "AlreadyExists" => Cause::Exists,
        409 if text.contains("UID in precondition") => Cause::OtherUid,
        409 if status.reason == "Conflict" => Cause::Changed,
        409 => Cause::Contended,
        _ if denied => Cause::Denied,
        400 | 413 => Cause::Invalid,
        422 if has_cause(status, |cause| cause.field == "metadata.uid") => Cause::OtherUid,
        422 => Cause::Invalid,
        401 => Cause::Credentials,
        403 if text.contains("exceeded quota") => Cause::QuotaExceeded,
        // The quota is new and not counted yet.
        403 if text.contains("status unknown for quota") => Cause::Contended,
        403 if has_cause(status, |cause| cause.reason == "NamespaceTerminating") => {
            Cause::NamespaceTerminating
        }
        403 if text.contains("error looking up service account") => Cause::Needed,
        403 => Cause::Forbidden,
        404 if about("namespaces") => Cause::NamespaceMissing,
        404 if is_about_an_object(status) => Cause::Gone,
        404 => Cause::NotServed,
        _ => Cause::Odd,
    }
}

/// Whether a proxy, or a server that does not serve, sent the answer.
pub(super) fn is_no_answer(code: u16, reason: &str) -> bool {
    code == 503 || (matches!(code, 502 | 504) && reason.is_empty())
}

/// The prefix of errors of webhooks and policies, which have any code.
fn is_denied_by_admission(text: &str) -> bool {
    (text.starts_with("admission webhook ") && text.contains(" denied the request"))
        || (text.contains("ValidatingAdmissionPolicy ") && text.contains(" denied request"))
}

/// Only the API server names the object that it did not find; a proxy, or a server without that kind, does not.
fn is_about_an_object(status: &Status) -> bool {
    status.reason == "NotFound" && details(status).is_some_and(|details| !details.name.is_empty())
}

fn details(status: &Status) -> Option<&StatusDetails> {
    status.details.as_ref()
}

fn has_cause(status: &Status, is: impl Fn(&kube::core::response::StatusCause) -> bool) -> bool {
    details(status).is_some_and(|details| details.causes.iter().any(is))
}

fn of_status(status: &Status, doing: &str) -> Error {
    let why = format!("{doing}: {}", status.message);
    let retry_after = asked_pause(status);
    let state = |state| Error::Precondition {
        state,
        why: why.clone(),
    };
    let exhausted = |limit| Error::Exhausted {
        limit,
        why: why.clone(),
        retry_after,
    };
    match cause_of(status) {
        Cause::Invalid => Error::Invalid {
            message: why,
            violations: violations(status),
        },
        Cause::OtherUid | Cause::Changed | Cause::Exists => Error::Aborted { why },
        Cause::Contended => Error::Contended { why },
        Cause::Forbidden | Cause::Denied => Error::Denied { why },
        Cause::QuotaExceeded => exhausted("QUOTA"),
        Cause::NoAddressLeft => exhausted("CLUSTER_IPS"),
        Cause::NamespaceTerminating => state("NAMESPACE_TERMINATING"),
        Cause::NamespaceMissing => state("NAMESPACE_MISSING"),
        Cause::Gone | Cause::Needed => state("MISSING_OBJECT"),
        Cause::NoAnswer => Error::Unreachable { why, retry_after },
        Cause::Credentials | Cause::NotServed | Cause::Busy | Cause::Failing | Cause::Odd => {
            Error::Unavailable { why, retry_after }
        }
    }
}

fn violations(status: &Status) -> Vec<FieldViolation> {
    let causes = details(status)
        .into_iter()
        .flat_map(|details| &details.causes);
    causes
        .map(|cause| FieldViolation::new(&cause.field, &cause.message))
        .collect()
}

/// The error and its causes in one line; libraries repeat causes in their own texts, so each appears once.
fn chain(error: &kube::Error) -> String {
    match error {
        // The name of the layer that failed means nothing to users.
        kube::Error::Service(inner) => chain_of(inner.as_ref()),
        kube::Error::HyperError(inner) => chain_of(inner),
        other => chain_of(other),
    }
}

/// The error and its causes in one line, each once.
pub(super) fn chain_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let why = cause.to_string();
        if !text.contains(&why) {
            text.push_str(": ");
            text.push_str(&why);
        }
        source = cause.source();
    }
    text
}
