//! Between the client library and the wire: it names the server in transport errors, logs the start and the end of an
//! outage, and turns every error response into a `Status`, with the pause from its headers.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use kube::client::{AuthError, Body, ClientBuilder, DynBody};
use kube::core::Status;
use kube::core::response::StatusDetails;
use kube::{Client, Config};
use tokio::time::Instant;
use tower::util::BoxService;
use tower::{BoxError, Service, layer};
use tracing::{info, warn};

use super::errors;
use super::reachability::{Change, Reachability};

/// A request that is cancelled after this long without an answer counts as unanswered.
const SILENCE: Duration = Duration::from_secs(3);
/// Limit in bytes for the body of an error.
const ERROR_BODY: usize = 256 << 10;
/// Limit in bytes for an error that is not the API server's own, such as a page of a proxy.
const TEXT: usize = 200;

/// Returns a client of one server; it connects at the first request.
///
/// # Errors
/// If the credentials cannot be used.
pub(super) fn client(config: Config) -> anyhow::Result<Client> {
    let plugin = Plugin::of(&config);
    let link = Link(Arc::new(Shared {
        server: server(&config),
        plugin: plugin.clone(),
        made: Instant::now(),
        state: Mutex::default(),
    }));
    let watched = layer::layer_fn(move |inner| Watched {
        inner,
        link: link.clone(),
    });
    // A credential plugin runs here.
    let builder = ClientBuilder::try_from(config).map_err(|error| match (error, plugin) {
        (kube::Error::Auth(error), Some(plugin)) => anyhow::anyhow!(plugin.explain(&error)),
        (error, _) => error.into(),
    })?;
    Ok(builder.with_layer(&watched).build())
}

/// The address for people, without the other parts of a URL.
fn server(config: &Config) -> String {
    let url = &config.cluster_url;
    let host = url.host().unwrap_or_default();
    let scheme = url.scheme_str().unwrap_or("https");
    match url.port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no answer from the API server {server}")]
struct NoAnswer {
    server: String,
    source: BoxError,
}

/// The credential plugin failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot log in at the API server {server}: {why}")]
struct NoCredentials {
    server: String,
    why: String,
}

/// A credential plugin of a kubeconfig.
#[derive(Debug, Clone)]
struct Plugin {
    command: String,
    hint: Option<String>,
}

impl Plugin {
    fn of(config: &Config) -> Option<Self> {
        let exec = config.auth_info.exec.as_ref()?;
        Some(Self {
            command: exec.command.clone()?,
            hint: exec.install_hint.clone(),
        })
    }

    /// Returns why the plugin failed. Its stdout may be a token and is omitted.
    fn explain(&self, error: &AuthError) -> String {
        let command = &self.command;
        let named = format!("the credential plugin {command:?} of the kubeconfig (exec.command)");
        match error {
            AuthError::AuthExecStart(error) if error.kind() == io::ErrorKind::NotFound => {
                match self.hint.as_deref().map(str::trim) {
                    None | Some("") => format!("{named} was not found"),
                    Some(hint) => format!("{named} was not found; its hint: {hint}"),
                }
            }
            AuthError::AuthExecStart(error) => format!("{named} cannot be run: {error}"),
            AuthError::AuthExecRun { out, .. } => {
                let text = String::from_utf8_lossy(&out.stderr);
                let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
                let line: String = line.unwrap_or_default().chars().take(TEXT).collect();
                format!("{named} ended with {}: {line}", out.status)
            }
            AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed => {
                format!("{named} printed no credentials")
            }
            other => format!("{named} failed: {other}"),
        }
    }
}

/// The connection to one server.
#[derive(Clone)]
struct Link(Arc<Shared>);

struct Shared {
    server: String,
    plugin: Option<Plugin>,
    made: Instant,
    state: Mutex<Reachability>,
}

impl Link {
    fn answered(&self, sent: Instant) {
        let made = self.0.made;
        let change = self.state(|state, now| state.answered(sent.duration_since(made), now));
        if let Some(Change::Up(after)) = change {
            let server = &self.0.server;
            info!(server, ?after, "the API server answers again");
        }
    }

    /// Returns the error of a request without an answer.
    fn unanswered(&self, source: BoxError) -> BoxError {
        let server = self.0.server.clone();
        if let (Some(plugin), Some(error)) = (&self.0.plugin, source.downcast_ref::<AuthError>()) {
            let why = plugin.explain(error);
            self.failed(&why);
            return Box::new(NoCredentials { server, why });
        }
        self.failed(&errors::chain_of(source.as_ref()));
        Box::new(NoAnswer { server, source })
    }

    fn failed(&self, cause: &str) {
        if self.state(Reachability::failed).is_some() {
            let server = &self.0.server;
            warn!(server, cause, "the API server does not answer");
        }
    }

    fn state(
        &self,
        change: impl FnOnce(&mut Reachability, Duration) -> Option<Change>,
    ) -> Option<Change> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state, self.0.made.elapsed())
    }
}

/// The client's service, whose responses pass through here.
struct Watched {
    inner: Inner,
    link: Link,
}

type Inner = BoxService<http::Request<Body>, Answer, BoxError>;
type Answer = Response<Box<DynBody>>;

impl Service<http::Request<Body>> for Watched {
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let pending = Pending::new(self.link.clone());
        Box::pin(pending.answer(self.inner.call(request)))
    }
}

/// A request without an answer yet.
struct Pending {
    link: Link,
    sent: Instant,
    ended: bool,
}

impl Pending {
    fn new(link: Link) -> Self {
        Self {
            link,
            sent: Instant::now(),
            ended: false,
        }
    }

    async fn answer(
        mut self,
        answer: <Inner as Service<http::Request<Body>>>::Future,
    ) -> Result<Answer, BoxError> {
        let answer = answer.await;
        self.ended = true;
        match answer {
            Ok(answer)
                if answer.status().is_client_error() || answer.status().is_server_error() =>
            {
                let (answer, status) = error_response(answer).await?;
                if errors::is_no_answer(status.code, &status.reason) {
                    self.link.failed(&status.message);
                } else {
                    self.link.answered(self.sent);
                }
                Ok(answer)
            }
            Ok(answer) => {
                self.link.answered(self.sent);
                Ok(answer)
            }
            Err(source) => Err(self.link.unanswered(source)),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let waited = self.sent.elapsed();
        if !self.ended && waited >= SILENCE {
            self.link.failed(&format!("nothing came for {waited:.1?}"));
        }
    }
}

/// Reads an error response and writes it again as a `Status` with all its content.
async fn error_response(answer: Answer) -> Result<(Answer, Status), BoxError> {
    let (mut parts, mut rest) = answer.into_parts();
    let mut body = Vec::new();
    while body.len() < ERROR_BODY
        && let Some(frame) = rest.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            body.extend_from_slice(&data);
        }
    }
    let status = status(
        parts.status.as_u16(),
        &parts.headers,
        &body,
        Timestamp::now(),
    );
    parts.headers.remove(http::header::CONTENT_LENGTH);
    let body = Full::new(Bytes::from(serde_json::to_vec(&status)?));
    let body: Box<DynBody> = Box::new(body.map_err(BoxError::from));
    Ok((Response::from_parts(parts, body), status))
}

/// Returns the `Status` of a refusal. One of the API server's own keeps all it says; of anything else the first line is
/// kept. A pause that a header asks for counts where the body asks for none.
pub(crate) fn status(code: u16, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Status {
    let read = serde_json::from_slice::<Status>(body).ok();
    let mut status = read.filter(|status| status.code != 0 || !status.message.is_empty());
    let mut status = status.take().unwrap_or_else(|| Status {
        message: text(code, body),
        ..Status::default()
    });
    status.code = code;
    if status.message.is_empty() {
        status.message = text(code, b"");
    }
    if let Some(pause) = retry_after(headers, now) {
        let details = status.details.get_or_insert_with(|| StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        });
        details.retry_after_seconds = details.retry_after_seconds.max(pause);
    }
    status
}

/// `Retry-After` in whole seconds, from a number or a date. A date counts from the date of the response, so that
/// different clocks do no harm.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<u32> {
    let date = |value: &str| rfc2822::parse(value).ok().map(|date| date.timestamp());
    let header = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = header(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse::<u32>() {
        return Some(seconds);
    }
    let from = header(DATE).and_then(date).unwrap_or(now);
    let pause = date(asked)?.duration_since(from);
    u32::try_from((pause.as_millis().max(0) + 999) / 1000).ok()
}

/// An error response without a `Status`, for people: the code and the first line.
fn text(code: u16, body: &[u8]) -> String {
    let name = http::StatusCode::from_u16(code).ok();
    let name = name.and_then(|code| code.canonical_reason()).unwrap_or("");
    let body = String::from_utf8_lossy(body);
    let line = body.lines().map(str::trim).find(|line| !line.is_empty());
    let line: String = line.unwrap_or_default().chars().take(TEXT).collect();
    let answered = format!("the answer is {code} {name}");
    match line.is_empty() {
        true => answered.trim_end().to_owned(),
        false => format!("{}: {line}", answered.trim_end()),
    }
}

#[cfg(test)]
mod tests;
