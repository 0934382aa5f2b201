//! One request: authentication, target, authorization, and the response.

use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT, WARNING};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::upgrade::OnUpgrade;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::delete::{self, Options as DeleteOptions};
use super::faults::{self, Fault, Faults};
use super::request::{Form, Query, Target};
use super::resources::{self, PODS};
use super::reviews::Review;
use super::rights::{Access, Rights};
use super::status::Status;
use super::store::Store;
use super::{discovery, exec, fields, kubelet, logs, openapi, patch, pods, protobuf, read, write};

/// Most bytes of a request's body.
const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// Prefix of a path that has its own credential.
pub(super) const PREFIX: &str = "/as/";
const JSON_PATCH: &str = "application/json-patch+json";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The connection must be closed.
#[derive(Debug, thiserror::Error)]
#[error("cut by a fault rule")]
pub(super) struct Cut;

#[derive(Clone)]
pub(super) struct Api {
    pub(super) store: Store,
    pub(super) faults: Faults,
    pub(super) rights: Rights,
    pub(super) token: String,
    /// What outlives its connection, and ends with the server.
    pub(super) tasks: TaskTracker,
    pub(super) cancel: CancellationToken,
}

/// A successful response.
enum Answer {
    Json(u16, Bytes),
    /// JSON with warnings for people.
    Warned(u16, Bytes, Vec<String>),
    Text(u16, &'static str),
    /// A stream: events as JSON, or text.
    Stream(HeaderValue, Body),
    /// The connection becomes another.
    Upgrade(Response<Body>),
}

impl Api {
    pub(super) async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
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
        let _serving = self.faults.serving(&record);
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
            Some(Fault::Text {
                code,
                headers,
                body,
            }) => return Ok(text(*code, headers, body)),
            Some(Fault::Gone) => return Ok(error(&Status::expired("too old resource version"))),
            Some(Fault::CutBefore) => return Err(Cut),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            Some(Fault::CutAfter | Fault::CutHalfway) | None => {}
        }
        let halfway = matches!(fault, Some(Fault::CutHalfway));
        let response = match self.answer(request, &path, known, halfway).await {
            Ok(Answer::Json(code, body)) => respond(code, JSON, Full::new(body).boxed_unsync()),
            Ok(Answer::Warned(code, body, warnings)) => {
                let mut response = respond(code, JSON, Full::new(body).boxed_unsync());
                for warning in warnings {
                    let warning = HeaderValue::from_str(&format!("299 - {warning:?}"));
                    if let Ok(warning) = warning {
                        response.headers_mut().append(WARNING, warning);
                    }
                }
                response
            }
            Ok(Answer::Text(code, body)) => text(code, &[], body),
            Ok(Answer::Stream(media, body)) => respond(200, media, body),
            Ok(Answer::Upgrade(response)) => response,
            Err(status) => error(&status),
        };
        if matches!(fault, Some(Fault::CutAfter | Fault::CutHalfway)) {
            Err(Cut)
        } else {
            Ok(response)
        }
    }

    /// The path without the credential at its start, and whether that was correct.
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
        let (mut parts, body) = request.into_parts();
        if matches!(path, "/healthz" | "/livez" | "/readyz") {
            return Ok(Answer::Text(200, "ok"));
        }
        // Discovery and schemas are open: clients drop the rest of the path when they request them.
        if !known && path != "/version" && !path.starts_with("/openapi/") {
            return Err(Status::unauthorized());
        }
        if let Some(document) = discovery::document(path).or_else(|| openapi::document(path)) {
            return match parts.method {
                Method::GET => Ok(Answer::Json(200, document.to_string().into())),
                _ => Err(Status::method_not_allowed()),
            };
        }
        if let Some(review) = Review::at(path) {
            if parts.method != Method::POST {
                return Err(Status::method_not_allowed());
            }
            let body = to_json(&media_type(&parts.headers), receive(body).await?)?;
            let answer = review.answer(&self.rights, &body)?;
            return Ok(Answer::Json(201, answer.to_string().into()));
        }
        let Some(target) = Target::parse(path) else {
            // Below a served group the error is a Status, elsewhere only a text.
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
        let processes = kubelet::of(&self.store, &target);
        if target.index == PODS
            && let Some(why) = pods::needs_containers(&target.subresource, processes.is_some())
        {
            return Err(Status::new(501, "NotImplemented", why));
        }
        let access = Access::of(&parts.method, &target, &query);
        self.rights.check(&access)?;
        let runs = matches!(parts.method, Method::GET | Method::POST);
        if target.index == PODS && target.subresource == "exec" && runs {
            exec::fault(&self.store, &target)?;
            if processes.is_none() {
                let (response, rest) = exec::play(&self.store, &target, &mut parts, &query)?;
                let cancel = self.cancel.clone();
                self.tasks.spawn(cancel.run_until_cancelled_owned(rest));
                return Ok(Answer::Upgrade(response));
            }
        }
        if let Some(processes) = processes {
            match (parts.method.as_str(), target.subresource.as_str()) {
                ("GET", "log") => {
                    let body = processes.logs(&query).await?;
                    return Ok(Answer::Stream(TEXT, body));
                }
                ("GET" | "POST", "exec") => {
                    let upgrade = parts.extensions.remove::<OnUpgrade>();
                    let (response, copy) = processes.exec(&parts, &query, upgrade).await?;
                    let cancel = self.cancel.clone();
                    self.tasks.spawn(cancel.run_until_cancelled_owned(copy));
                    return Ok(Answer::Upgrade(response));
                }
                _ => {}
            }
        }
        let form = Form::negotiate(&parts.headers, &query)?;
        if parts.method == Method::GET {
            return self.read(&target, &query, form);
        }
        let media = media_type(&parts.headers);
        let body = receive(body).await?;
        if halfway && parts.method == Method::DELETE {
            let options = DeleteOptions {
                halfway,
                ..DeleteOptions::parse(&body, &query)?
            };
            return delete::one(&self.store, &target, &options)
                .map(|_| Answer::Text(200, "no client receives this"));
        }
        let written = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
        let warnings = match written && is_writable(&target) && media != JSON_PATCH {
            true => fields::check(&parts.method, &target, &query, &body)?,
            false => Vec::new(),
        };
        let answer = self.write(&parts.method, &target, &query, form, &media, body)?;
        Ok(match answer {
            Answer::Json(code, body) => Answer::Warned(code, body, warnings),
            other => other,
        })
    }

    fn read(&self, target: &Target, query: &Query, form: Form) -> Result<Answer, Status> {
        match target.subresource.as_str() {
            "" => {}
            "status" => {}
            "binding" | "eviction" if target.index == PODS => {
                return Err(Status::method_not_allowed());
            }
            "log" if target.index == PODS => {
                let lines = logs::stream(&self.store, target, query)?;
                let lines = StreamBody::new(lines.map(|line| Ok(Frame::data(line))));
                return Ok(Answer::Stream(TEXT, lines.boxed_unsync()));
            }
            _ => return Err(Status::no_such_path()),
        }
        if target.watch || query.is_set("watch") {
            let watch = read::watch(&self.store, &self.faults, target, query, form)?;
            let lines = watch.lines().map(|line| Ok(Frame::data(line)));
            return Ok(Answer::Stream(JSON, StreamBody::new(lines).boxed_unsync()));
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
        body: Bytes,
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
                let message = "the embedded API server has no server-side apply, because it does not track who owns a field; use kubectl apply without --server-side";
                return Err(Status::new(415, "UnsupportedMediaType", message));
            }
            let kind = patch::Kind::of(media)?;
            if kind == patch::Kind::Strategic && target.resource.is_custom() {
                return Err(patch::unsupported());
            }
            return write::patch(store, target, kind, &body, query.dry_run()?).map(written);
        }
        let body = to_json(media, body)?;
        let body = &body[..];
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

fn media_type(headers: &http::HeaderMap) -> String {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media = value.unwrap_or_default().split(';').next();
    media.unwrap_or_default().trim().to_ascii_lowercase()
}

/// The whole body, if it is not too long.
async fn receive(body: Incoming) -> Result<Bytes, Status> {
    let body = Limited::new(body, BODY_LIMIT).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Status::too_large(BODY_LIMIT)
        } else {
            Status::bad_request(format!("unable to read the body: {error}"))
        }
    })?;
    Ok(body.to_bytes())
}

/// The body as JSON, in whatever encoding it was sent.
fn to_json(media: &str, body: Bytes) -> Result<Bytes, Status> {
    match media {
        _ if body.is_empty() => Ok(body),
        "" | "application/json" => Ok(body),
        protobuf::MEDIA_TYPE => Ok(protobuf::to_json(&body)?.to_string().into()),
        _ => Err(Status::unsupported_media(
            "application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
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

fn text(code: u16, headers: &[(&'static str, String)], text: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync();
    let mut response = respond(code, TEXT, body);
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(*name, value);
        }
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
