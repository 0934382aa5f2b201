//! Sends one request to the API server with deadlines and retries of our own: writes wait their turn.

mod gate;

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use http::Method;
use tokio::time::Instant;
use tracing::debug;

use self::gate::Gate;
use super::errors::{self, Cause, Repeat};
use crate::error::Error;
use crate::window::{Answer, Kind};

/// Bound on one attempt; a deadline that is nearer wins.
const ATTEMPT: Duration = Duration::from_secs(10);
/// For how long a request is repeated whose answer may never change.
const BRIEFLY: Duration = Duration::from_secs(5);

pub(super) const JSON: &str = "application/json";
pub(super) const MERGE: &str = "application/merge-patch+json";
pub(super) const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A client of one server; its copies share the bound on writes.
#[derive(Clone)]
pub(super) struct Client {
    inner: kube::Client,
    gate: Gate,
}

impl Client {
    pub(super) fn new(inner: kube::Client) -> Self {
        let gate = Gate::default();
        Self { inner, gate }
    }
}

/// One request; its body may hold secrets and is never shown.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Sends a request, again and again until `deadline` while the server is busy or away, and returns the body of the answer.
/// A pause that the server asks for is kept; one that would end after the deadline ends the attempts at once.
pub(super) async fn send(
    client: &Client,
    request: &Request<'_>,
    deadline: Instant,
) -> Result<String, Failure> {
    let attempt = || send_once(client, request);
    let schedule = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times();
    let last = std::sync::Mutex::new(None);
    let begun = Instant::now();
    let tries = attempt
        .retry(schedule)
        .when(|failure| failure.repeat() != Repeat::Never)
        .adjust(|failure, delay| {
            let until = match failure.repeat() {
                Repeat::Briefly => deadline.min(begun + BRIEFLY),
                _ => deadline,
            };
            // Some jitter on top of what everybody is asked for, so that not all come back at once.
            let asked = failure.retry_after();
            let pause = asked.map(|asked| asked + delay.unwrap_or_default().min(asked / 10));
            pause.or(delay).filter(|d| Instant::now() + *d < until)
        })
        .notify(|failure, pause| {
            debug!(?request, why = failure.text(), ?pause, "trying again");
            if let Ok(mut last) = last.lock() {
                *last = Some(failure.text());
            }
        });
    match tokio::time::timeout_at(deadline, tries).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Late(last.into_inner().ok().flatten())),
    }
}

/// Sends a request once. The wait for its turn does not count as a wait for the answer.
async fn send_once(client: &Client, request: &Request<'_>) -> Result<String, Failure> {
    let sent = http::Request::builder()
        .method(&request.method)
        .uri(request.path)
        .header(http::header::CONTENT_TYPE, request.content_type)
        .header(http::header::ACCEPT, JSON)
        .body(request.body.clone())
        .map_err(|error| Failure::Server(kube::Error::HttpError(error)))?;
    let place = match Kind::of(request.method.as_str(), request.path) {
        Some(kind) => Some(client.gate.enter(kind).await),
        None => None,
    };
    let outcome = match tokio::time::timeout(ATTEMPT, client.inner.request_text(sent)).await {
        Ok(answer) => answer.map_err(Failure::Server),
        Err(_) => Err(Failure::Silent),
    };
    if let Some(place) = place {
        let took = place.held();
        place.leave(match &outcome {
            Err(Failure::Server(error)) => errors::load(error, took),
            Err(_) => Answer::Overload,
            Ok(_) => Answer::After(took),
        });
    }
    outcome
}

/// Why a request got no good answer.
pub(super) enum Failure {
    /// The server's answer, or why there was none.
    Server(kube::Error),
    /// One attempt was not answered.
    Silent,
    /// The deadline came first; the text is what the last full attempt met.
    Late(Option<String>),
}

impl Failure {
    fn repeat(&self) -> Repeat {
        match self {
            Self::Server(error) => errors::repeat(error),
            Self::Silent => Repeat::UntilDeadline,
            Self::Late(_) => Repeat::Never,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Server(error) => errors::retry_after(error),
            Self::Silent | Self::Late(_) => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Server(error) => errors::text(error),
            Self::Silent => format!("no answer from the API server within {ATTEMPT:?}"),
            Self::Late(Some(last)) => last.clone(),
            Self::Late(None) => "no answer from the API server in time".to_owned(),
        }
    }

    /// Whether the object does not exist.
    pub(super) fn is_gone(&self) -> bool {
        self.is(Cause::Gone)
    }

    /// Whether an object of that name exists already.
    pub(super) fn is_exists(&self) -> bool {
        self.is(Cause::Exists)
    }

    /// Whether the object is gone or is not, or not as, it was meant.
    pub(super) fn is_outdated(&self) -> bool {
        matches!(self, Self::Server(error) if errors::is_outdated(error))
    }

    fn is(&self, cause: Cause) -> bool {
        matches!(self, Self::Server(error) if errors::cause(error) == cause)
    }

    /// Returns the core's error; `doing` says what was attempted.
    pub(super) fn into_error(self, doing: &str) -> Error {
        match self {
            Self::Server(error) => errors::of(&error, doing),
            late => Error::Unreachable {
                why: format!("{doing}: {}", late.text()),
                retry_after: None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
