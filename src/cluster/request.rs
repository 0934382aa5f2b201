//! Sends one request to the API server with deadlines and retries of our own (F-W1, F-W5).

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use http::Method;
use kube::Client;
use tokio::time::Instant;
use tracing::debug;

use super::errors;
use crate::error::Error;

/// Bound on one attempt; a deadline that is nearer wins.
const ATTEMPT: Duration = Duration::from_secs(10);

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
pub(super) async fn send(
    client: &Client,
    request: &Request<'_>,
    deadline: Instant,
) -> Result<String, Failure> {
    let attempt = || async {
        let sent = http::Request::builder()
            .method(&request.method)
            .uri(request.path)
            .header(http::header::CONTENT_TYPE, request.content_type)
            .header(http::header::ACCEPT, "application/json")
            .body(request.body.clone())
            .map_err(|error| Failure::Server(kube::Error::HttpError(error)))?;
        match tokio::time::timeout(ATTEMPT, client.request_text(sent)).await {
            Ok(answer) => answer.map_err(Failure::Server),
            Err(_) => Err(Failure::Silent),
        }
    };
    let schedule = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times();
    let last = std::sync::Mutex::new(None);
    let tries = attempt
        .retry(schedule)
        .when(Failure::is_passing)
        .adjust(|failure, delay| {
            failure
                .retry_after()
                .or(delay)
                .filter(|d| Instant::now() + *d < deadline)
        })
        .notify(|failure, _| {
            debug!(?request, why = failure.text(), "trying again");
            if let Ok(mut last) = last.lock() {
                *last = Some(failure.text());
            }
        });
    match tokio::time::timeout_at(deadline, tries).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Late(last.into_inner().ok().flatten())),
    }
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
    fn is_passing(&self) -> bool {
        match self {
            Self::Server(error) => errors::is_passing(error),
            Self::Silent => true,
            Self::Late(_) => false,
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
            Self::Server(error) => error.to_string(),
            Self::Silent => format!("no answer within {ATTEMPT:?}"),
            Self::Late(Some(last)) => last.clone(),
            Self::Late(None) => "no answer in time".to_owned(),
        }
    }

    /// Returns the core's error; `doing` says what was attempted.
    pub(super) fn into_error(self, doing: &str) -> Error {
        match self {
            Self::Server(error) => errors::of(&error, doing),
            late => Error::Unavailable {
                why: format!("{doing}: {}", late.text()),
                retry_after: None,
            },
        }
    }
}
