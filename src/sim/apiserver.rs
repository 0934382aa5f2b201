//! The embedded API server: HTTP/1.1 on loopback in front of a [`Store`].

mod bootstrap;
mod clock;
mod defaults;
mod delete;
mod discovery;
pub mod faults;
mod gc;
mod patch;
mod pods;
mod protobuf;
mod quantity;
mod read;
mod request;
mod resources;
mod selectors;
mod spec;
mod status;
pub mod store;
mod table;
mod validate;
mod watch;
mod write;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::delete::Options as DeleteOptions;
use self::faults::{Fault, Faults};
use self::request::{Form, Query, Target};
use self::resources::PODS;
use self::status::Status;
use self::store::Store;

/// Bytes that a request's body may have.
const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// Before the token in a path that carries its own credential.
const PREFIX: &str = "/as/";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// How a [`Server`] runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 picks a free one. Only loopback addresses are accepted.
    pub listen: SocketAddr,
    /// What clients have to present as a bearer token.
    pub token: String,
    /// How many changes are kept for watches to start from, before the oldest are forgotten.
    pub history: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: "embedded".into(),
            history: 4_096,
        }
    }
}

/// A running API server. Dropping it cuts all connections, as [`Server::stop`] does.
pub struct Server {
    addr: SocketAddr,
    token: String,
    faults: Faults,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Server {
    /// Listens, and serves the store until stopped.
    pub async fn start(store: Store, options: Options) -> io::Result<Self> {
        if !options.listen.ip().is_loopback() {
            let why = format!(
                "the embedded API server speaks plain HTTP and does not listen on {}",
                options.listen
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let listener = TcpListener::bind(options.listen).await?;
        let addr = listener.local_addr()?;
        store.with(|state| {
            state.keep_history(options.history);
            bootstrap::namespaces(state);
        });
        let (tasks, cancel, faults) = (
            TaskTracker::new(),
            CancellationToken::new(),
            Faults::default(),
        );
        let api = Api {
            store: store.clone(),
            faults: faults.clone(),
            token: options.token.clone(),
        };
        let stopped = cancel.clone();
        tasks.spawn(async move { stopped.run_until_cancelled_owned(gc::run(store)).await });
        tasks.spawn(accept(listener, api, tasks.clone(), cancel.clone()));
        Ok(Self {
            addr,
            token: options.token,
            faults,
            tasks,
            cancel,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A kubeconfig that leads to this server.
    ///
    /// `kubectl` sends no bearer token over plain HTTP, so the token is a part of the server's URL too.
    pub fn kubeconfig(&self) -> String {
        let name = "embedded";
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster:\n    server: http://{}{PREFIX}{}\nusers:\n\
             - name: {name}\n  user:\n    token: {}\ncontexts:\n- name: {name}\n  context:\n    cluster: {name}\n    \
             user: {name}\n    namespace: default\ncurrent-context: {name}\n",
            self.addr,
            self.token,
            Value::from(self.token.as_str())
        )
    }

    /// Misbehaviour on request, and the record of requests.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Cuts all connections at once and returns when the port is free.
    pub async fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn accept(listener: TcpListener, api: Api, tasks: TaskTracker, cancel: CancellationToken) {
    loop {
        let connection = tokio::select! {
            () = cancel.cancelled() => return,
            connection = listener.accept() => connection,
        };
        match connection {
            Ok((stream, _)) => {
                let (api, cancel) = (api.clone(), cancel.clone());
                tasks.spawn(cancel.run_until_cancelled_owned(serve(stream, api)));
            }
            Err(error) => {
                // Out of file descriptors, most likely: let some close before trying again.
                tracing::warn!(%error, "embedded API server: accept");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, api: Api) {
    // Without it small answers wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let api = api.clone();
        async move { api.handle(request).await }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new());
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "embedded API server: connection");
    }
}

/// The connection is to be cut.
#[derive(Debug, thiserror::Error)]
#[error("cut by a fault rule")]
struct Cut;

#[derive(Clone)]
struct Api {
    store: Store,
    faults: Faults,
    token: String,
}

/// An answer that is no error.
enum Answer {
    Json(u16, Bytes),
    Text(u16, &'static str),
    Lines(Body),
}

impl Api {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let (path, by_path) = self.strip_token(request.uri().path());
        let (path, query) = (
            path.to_owned(),
            request.uri().query().unwrap_or_default().to_owned(),
        );
        let header = |name| {
            request
                .headers()
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let bearer = header(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let known = by_path || bearer.is_some_and(|token| token.trim() == self.token);
        let user_agent = header(USER_AGENT).unwrap_or_default().to_owned();
        let method = request.method().to_string();
        let record = faults::Request {
            method,
            path: path.clone(),
            query,
            user_agent,
        };
        let fault = self.faults.strike(record);
        match &fault {
            Some(Fault::Status {
                code,
                reason,
                message,
                retry_after,
            }) => {
                let status = Status::new(*code, reason, message.as_str());
                return Ok(error(&Status {
                    retry_after: *retry_after,
                    ..status
                }));
            }
            Some(Fault::Gone) => return Ok(error(&Status::expired("too old resource version"))),
            Some(Fault::CutBefore) => return Err(Cut),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            Some(Fault::CutAfter | Fault::CutHalfway) | None => {}
        }
        let halfway = matches!(fault, Some(Fault::CutHalfway));
        let response = match self.answer(request, &path, known, halfway).await {
            Ok(Answer::Json(code, body)) => respond(code, JSON, Full::new(body).boxed_unsync()),
            Ok(Answer::Text(code, text)) => {
                let body = Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync();
                respond(
                    code,
                    HeaderValue::from_static("text/plain; charset=utf-8"),
                    body,
                )
            }
            Ok(Answer::Lines(body)) => respond(200, JSON, body),
            Err(status) => error(&status),
        };
        if matches!(fault, Some(Fault::CutAfter | Fault::CutHalfway)) {
            Err(Cut)
        } else {
            Ok(response)
        }
    }

    /// The path without the credential it may start with, and whether that was the right one.
    fn strip_token<'a>(&self, path: &'a str) -> (&'a str, bool) {
        match path
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix(self.token.as_str()))
        {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => (rest, true),
            _ => (path, false),
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        path: &str,
        known: bool,
        halfway: bool,
    ) -> Result<Answer, Status> {
        let (parts, body) = request.into_parts();
        if matches!(path, "/healthz" | "/livez" | "/readyz") {
            return Ok(Answer::Text(200, "ok"));
        }
        if !known && path != "/version" {
            return Err(Status::unauthorized());
        }
        if let Some(document) = discovery::document(path) {
            return match parts.method {
                Method::GET => Ok(Answer::Json(200, document.to_string().into())),
                _ => Err(Status::method_not_allowed()),
            };
        }
        let Some(target) = Target::parse(path) else {
            // Below a group that is served the answer is a Status, elsewhere only a text.
            let known = discovery::is_served(path);
            return if known {
                Err(Status::no_such_path())
            } else {
                Ok(Answer::Text(404, "404 page not found\n"))
            };
        };
        if target.subresource == "status" && !target.resource.has_status {
            return Err(Status::no_such_path());
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let form = Form::negotiate(&parts.headers)?;
        if parts.method == Method::GET {
            return self.read(&target, &query, form);
        }
        let media = parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let media = media
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let body = Limited::new(body, BODY_LIMIT)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Status::too_large(BODY_LIMIT)
                } else {
                    Status::bad_request(format!("unable to read the body: {error}"))
                }
            })?;
        let body = body.to_bytes();
        if halfway && parts.method == Method::DELETE {
            let options = DeleteOptions {
                halfway,
                ..DeleteOptions::parse(&body, &query)?
            };
            return delete::one(&self.store, &target, &options)
                .map(|_| Answer::Text(200, "nobody hears this"));
        }
        self.write(&parts.method, &target, &query, form, &media, &body)
    }

    fn read(&self, target: &Target, query: &Query, form: Form) -> Result<Answer, Status> {
        match target.subresource.as_str() {
            "" => {}
            "status" => {}
            "binding" | "eviction" if target.index == PODS => {
                return Err(Status::method_not_allowed());
            }
            _ => return Err(Status::no_such_path()),
        }
        if target.watch || query.is_set("watch") {
            let watch = read::watch(&self.store, &self.faults, target, query, form)?;
            let lines = watch.lines().map(|line| Ok(Frame::data(line)));
            return Ok(Answer::Lines(StreamBody::new(lines).boxed_unsync()));
        }
        let body = if target.name.is_empty() {
            read::list(&self.store, target, query, form)?
        } else {
            read::get(&self.store, target, query, form)?
        };
        Ok(Answer::Json(200, body))
    }

    fn write(
        &self,
        method: &Method,
        target: &Target,
        query: &Query,
        form: Form,
        media: &str,
        body: &[u8],
    ) -> Result<Answer, Status> {
        let store = &self.store;
        let written =
            |(code, object): write::Written| Answer::Json(code, read::show(target, &object, form));
        let json = |code, value: Value| Ok(Answer::Json(code, value.to_string().into()));
        let named = !target.name.is_empty();
        if target.resource.namespaced && target.namespace.is_empty() && method != Method::DELETE {
            return Err(Status::method_not_allowed());
        }
        if *method == Method::PATCH && named && is_writable(target) {
            if media == "application/apply-patch+yaml" {
                let message = "server-side apply is not supported by the embedded API server; use a merge patch";
                return Err(Status::new(415, "UnsupportedMediaType", message));
            }
            let kind = patch::Kind::of(media)?;
            return write::patch(store, target, kind, body, query.dry_run()?).map(written);
        }
        let converted;
        let body = if media == protobuf::MEDIA_TYPE && !body.is_empty() {
            converted = protobuf::to_json(body)?.to_string();
            converted.as_bytes()
        } else {
            body
        };
        if !matches!(media, "" | "application/json" | protobuf::MEDIA_TYPE) && !body.is_empty() {
            let known = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
            return Err(Status::unsupported_media(known));
        }
        match (method.as_str(), target.subresource.as_str(), named) {
            ("POST", "", false) => {
                write::create(store, target, body, query.dry_run()?).map(written)
            }
            ("POST", "binding", true) if target.index == PODS => {
                json(201, pods::bind(store, target, body, query.dry_run()?)?)
            }
            ("POST", "eviction", true) if target.index == PODS => {
                json(201, pods::evict(store, target, body, query)?)
            }
            ("PUT", _, true) if is_writable(target) => {
                write::update(store, target, body, query.dry_run()?).map(written)
            }
            ("DELETE", "", true) => json(
                200,
                delete::one(store, target, &DeleteOptions::parse(body, query)?)?,
            ),
            ("DELETE", "", false) if target.index != resources::NAMESPACES => json(
                200,
                delete::collection(store, target, query, &DeleteOptions::parse(body, query)?)?,
            ),
            _ => Err(Status::method_not_allowed()),
        }
    }
}

fn is_writable(target: &Target) -> bool {
    target.subresource.is_empty() || (target.subresource == "status" && target.resource.has_status)
}

fn error(status: &Status) -> Response<Body> {
    let body = Full::new(Bytes::from(status.to_json().to_string())).boxed_unsync();
    let mut response = respond(status.code, JSON, body);
    if let Some(seconds) = status.retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn respond(code: u16, media: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media);
    headers.insert(
        "cache-control",
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

#[cfg(test)]
mod tests;
