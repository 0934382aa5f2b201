//! Sends a request to the API server, with wsman's own deadlines and retries. Writes wait for a permit. Before a write
//! of unknown outcome is retried, its object is read.

mod lookup;
mod write_limiter;

use std::time::Duration;

use http::Method;
use tokio::time::Instant;
use tracing::debug;

use self::lookup::Outcome;
use self::write_limiter::WriteLimiter;
use super::errors::{self, Cause, Retry};
use crate::error::Error;
use crate::retry::Backoff;
use crate::window::{Answer, Kind};

/// Timeout of one attempt; an earlier deadline wins.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request is retried whose error may be permanent.
const BRIEFLY: Duration = Duration::from_secs(5);
/// Between attempts, unless the server asks for more.
const BACKOFF: Backoff = Backoff::millis(50, 2_000);

pub(super) const JSON: &str = "application/json";
pub(super) const MERGE: &str = "application/merge-patch+json";
pub(super) const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A client of one server; its copies share the limit on writes.
#[derive(Clone)]
pub(super) struct Client {
    inner: kube::Client,
    limiter: WriteLimiter,
}

impl Client {
    pub(super) fn new(inner: kube::Client) -> Self {
        let limiter = WriteLimiter::default();
        Self { inner, limiter }
    }

    /// Returns the client of the library, without limits and deadlines.
    pub(super) fn kube(&self) -> &kube::Client {
        &self.inner
    }
}

/// One request; its body may have secrets and is never printed.
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

/// Sends a request, with retries until `deadline` while the server is overloaded or unreachable, and returns the body
/// of the response. It honours the pause that the server requests; if that ends after the deadline, the request fails
/// at once.
pub(super) async fn send(
    client: &Client,
    request: &Request<'_>,
    deadline: Instant,
) -> Result<String, Failure> {
    let begun = Instant::now();
    let mut last = None;
    let tries = async {
        let (mut failures, mut is_unknown) = (0, false);
        loop {
            let failure = match attempt(client, request, &mut is_unknown).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let until = match failure.retry() {
                Retry::Never => return Err(failure),
                Retry::Briefly => deadline.min(begun + BRIEFLY),
                Retry::UntilDeadline => deadline,
            };
            // Some jitter on top of what everybody is asked for, so that not all come back at once.
            let own = BACKOFF.jittered(failures);
            let asked = failure.retry_after();
            let pause = asked.map_or(own, |asked| asked + own.min(asked / 10));
            if Instant::now() + pause >= until {
                return Err(failure);
            }
            debug!(?request, why = failure.text(), ?pause, "trying again");
            last = Some(failure.text());
            tokio::time::sleep(pause).await;
            failures += 1;
        }
    };
    let outcome = tokio::time::timeout_at(deadline, tries).await;
    outcome.unwrap_or_else(|_| Err(Failure::Late(last)))
}

/// Sends a request once, unless it turns out that the attempt before, whose outcome is unknown, did its work.
async fn attempt(
    client: &Client,
    request: &Request<'_>,
    is_unknown: &mut bool,
) -> Result<String, Failure> {
    if *is_unknown && let Some(answer) = look_up(client, request).await? {
        return Ok(answer);
    }
    let outcome = send_once(client, request).await;
    *is_unknown = outcome.as_ref().is_err_and(Failure::is_unknown);
    outcome
}

/// Sends a request once. Its timeout starts after the wait for a permit.
async fn send_once(client: &Client, request: &Request<'_>) -> Result<String, Failure> {
    let sent = http::Request::builder()
        .method(&request.method)
        .uri(request.path)
        .header(http::header::CONTENT_TYPE, request.content_type)
        .header(http::header::ACCEPT, JSON)
        .body(request.body.clone())
        .map_err(|error| Failure::Server(kube::Error::HttpError(error)))?;
    let permit = match Kind::of(request.method.as_str(), request.path) {
        Some(kind) => Some(client.limiter.acquire(kind).await),
        None => None,
    };
    let outcome = match tokio::time::timeout(ATTEMPT_TIMEOUT, client.inner.request_text(sent)).await
    {
        Ok(answer) => answer.map_err(Failure::Server),
        Err(_) => Err(Failure::Silent),
    };
    if let Some(permit) = permit {
        let took = permit.held();
        permit.release(match &outcome {
            Err(Failure::Server(error)) => errors::load(error, took),
            Err(_) => Answer::Overload,
            Ok(_) => Answer::After(took),
        });
    }
    outcome
}

/// Finds out whether a write succeeded. Returns its response if it did; none if it must be sent again.
async fn look_up(client: &Client, request: &Request<'_>) -> Result<Option<String>, Failure> {
    let Some(path) = lookup::target(request) else {
        return Ok(None);
    };
    debug!(?request, "the outcome is unknown, looking for it");
    let read = Request {
        method: Method::GET,
        path: &path,
        content_type: JSON,
        body: Vec::new(),
    };
    let found = match send_once(client, &read).await {
        Err(failure) if failure.is_gone() => Err(failure),
        Err(failure) if failure.retry() == Retry::Never => return Ok(None),
        Err(failure) => return Err(failure),
        Ok(text) => match serde_json::from_str(&text) {
            Ok(object) => Ok((text, object)),
            Err(_) => return Ok(None),
        },
    };
    let object = found.as_ref().ok().map(|(_, object)| object);
    match (lookup::outcome(request, object), found) {
        (Outcome::Done, Ok((text, _))) => Ok(Some(text)),
        (Outcome::Exists, _) => Err(Failure::Found),
        (Outcome::Gone, Err(gone)) => Err(gone),
        _ => Ok(None),
    }
}

/// Why a request failed.
pub(super) enum Failure {
    /// The server's error, or a transport error.
    Server(kube::Error),
    /// One attempt timed out.
    Silent,
    /// The object to create exists after an attempt of unknown outcome.
    Found,
    /// The deadline is over; the text is the error of the last complete attempt.
    Late(Option<String>),
}

impl Failure {
    fn retry(&self) -> Retry {
        match self {
            Self::Server(error) => errors::retry(error),
            Self::Silent => Retry::UntilDeadline,
            Self::Found | Self::Late(_) => Retry::Never,
        }
    }

    /// Whether the request may have succeeded.
    fn is_unknown(&self) -> bool {
        match self {
            Self::Server(error) => errors::is_unknown(error),
            Self::Silent => true,
            Self::Found | Self::Late(_) => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Server(error) => errors::retry_after(error),
            Self::Silent | Self::Found | Self::Late(_) => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Server(error) => errors::text(error),
            Self::Silent => format!("no answer from the API server within {ATTEMPT_TIMEOUT:?}"),
            Self::Found => "it exists already".to_owned(),
            Self::Late(Some(last)) => last.clone(),
            Self::Late(None) => "no answer from the API server in time".to_owned(),
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is(Cause::Gone)
    }

    pub(super) fn is_exists(&self) -> bool {
        matches!(self, Self::Found) || self.is(Cause::Exists)
    }

    /// Whether there is no API server, or one without this kind.
    pub(super) fn is_not_served(&self) -> bool {
        self.is(Cause::NotServed)
    }

    /// Whether the object is gone, or is not the expected one, or not in the expected version.
    pub(super) fn is_outdated(&self) -> bool {
        matches!(self, Self::Server(error) if errors::is_outdated(error))
    }

    fn is(&self, cause: Cause) -> bool {
        matches!(self, Self::Server(error) if errors::cause(error) == cause)
    }

    /// Returns the core's error; `doing` names the attempt.
    pub(super) fn into_error(self, doing: &str) -> Error {
        match self {
            Self::Server(error) => errors::of(&error, doing),
            Self::Found => Error::Aborted {
                why: format!("{doing}: {}", self.text()),
            },
            late => Error::Unreachable {
                why: format!("{doing}: {}", late.text()),
                retry_after: None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
