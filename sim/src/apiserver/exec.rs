//! Exec into simulated containers, which have no process: annotations of the pod play the outcome.

use futures::{SinkExt, StreamExt};
use http::Response;
use http::request::Parts;
use http_body_util::Empty;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::api;
use super::logs;
use super::request::{Query, Target};
use super::resources::{self, PODS};
use super::status::Status;
use super::store::{State, Store};
use super::validate::text;
use crate::exec::{self, Asked, STDERR};
use crate::kubelet::node::LOST;
use crate::script::{EXEC_ERROR, EXEC_ERROR_TIMES, EXEC_EXIT_CODE, EXECS, PREFIX};

/// What a client reads on stderr.
const NOTE: &[u8] = b"simulated: nothing was run\n";

/// The scripted error of an exec, of which there is one less then.
pub(crate) fn fault(store: &Store, target: &Target) -> Result<(), Status> {
    store.with(|state| {
        let Some(pod) = state.get(PODS, &target.key()).cloned() else {
            return Ok(());
        };
        let read = |name| annotation(&pod.value, name);
        let code = read(EXEC_ERROR).and_then(|code| code.parse::<u16>().ok());
        let Some(code) = code.filter(|code| (400..600).contains(code)) else {
            return Ok(());
        };
        let times = read(EXEC_ERROR_TIMES).and_then(|times| times.parse::<u32>().ok());
        match times {
            Some(0) => return Ok(()),
            Some(times) => {
                let left = (times - 1).to_string();
                annotate(state, target, EXEC_ERROR_TIMES, left);
            }
            None => {}
        }
        // As of a node whose certificate is not approved yet.
        let why = "error dialing backend: remote error: tls: internal error";
        let reason = if code == 500 { "InternalError" } else { "" };
        Err(Status::new(code, reason, why))
    })
}

/// Switches to a WebSocket, records the exec, and returns what sends the outcome.
pub(crate) fn play(
    store: &Store,
    target: &Target,
    parts: &mut Parts,
    query: &Query,
) -> Result<(Response<api::Body>, impl Future<Output = ()> + Send + use<>), Status> {
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let upgrade =
        upgrade.ok_or_else(|| Status::bad_request("exec needs a connection that is upgraded"))?;
    let asked = parts.uri.query().unwrap_or_default();
    let (headers, asked) = exec::accept(asked, &parts.headers).map_err(Status::bad_request)?;
    let code = store.with(|state| record(state, target, query))?;
    let mut response = Response::new(UnsyncBoxBody::new(Empty::new()));
    *response.status_mut() = exec::SWITCH;
    response.headers_mut().extend(headers);
    Ok((response, answer(upgrade, asked, code)))
}

/// The exit code of an exec; the first that succeeds in a container is recorded on the pod.
fn record(state: &mut State, target: &Target, query: &Query) -> Result<i32, Status> {
    let pod = state.get(PODS, &target.key()).cloned();
    let pod = pod.ok_or_else(|| Status::not_found(target.resource, &target.name))?;
    let container = logs::container(&pod.value, query.get("container"))?;
    let node = text(&pod.value["spec"], "nodeName");
    if node.is_empty() {
        let why = format!("pod {} does not have a host assigned", target.name);
        return Err(Status::bad_request(why));
    }
    if is_lost(state, node) {
        let why = "the kubelet of the pod does not answer";
        return Err(Status::new(502, "BadGateway", why));
    }
    let lists = ["containerStatuses", "initContainerStatuses"];
    let mut all = lists
        .iter()
        .flat_map(|list| pod.value["status"][*list].as_array().into_iter().flatten());
    let runs = |status: &Value| {
        status["name"] == container.as_str() && status["state"]["running"].is_object()
    };
    if !all.any(runs) {
        let why = format!("container {container:?} does not run");
        return Err(Status::bad_request(why));
    }
    let code = annotation(&pod.value, EXEC_EXIT_CODE).and_then(|code| code.parse::<u8>().ok());
    let code = code.unwrap_or(0);
    let execs = annotation(&pod.value, EXECS).unwrap_or_default();
    let mut known = execs.split(',').filter_map(|one| one.split_once('='));
    if code == 0 && !known.any(|(name, _)| name == container) {
        let separator = if execs.is_empty() { "" } else { "," };
        let execs = format!("{execs}{separator}{container}={:.3}", Timestamp::now());
        annotate(state, target, EXECS, execs);
    }
    Ok(code.into())
}

fn is_lost(state: &State, node: &str) -> bool {
    let nodes = resources::find("", "nodes");
    let node = nodes.and_then(|(nodes, _)| state.get(nodes, node));
    node.is_some_and(|node| node.value["metadata"]["annotations"][LOST] == "true")
}

fn annotation<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    let annotations = &pod["metadata"]["annotations"];
    annotations[format!("{PREFIX}{name}")].as_str()
}

fn annotate(state: &mut State, target: &Target, name: &str, value: String) {
    let Some(pod) = state.get(PODS, &target.key()) else {
        return;
    };
    let mut pod = pod.value.clone();
    pod["metadata"]["annotations"][format!("{PREFIX}{name}")] = json!(value);
    state.put(PODS, &target.key(), pod);
}

/// Sends the outcome, and returns when the client has closed.
async fn answer(upgrade: OnUpgrade, asked: Asked, code: i32) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => return tracing::debug!(%error, "exec: upgrade"),
    };
    let (role, config) = (Role::Server, Some(exec::config()));
    let socket = WebSocketStream::from_raw_socket(upgraded, role, config).await;
    let (mut sink, mut stream) = socket.split();
    let sent = async {
        if asked.stderr {
            sink.send(exec::message(STDERR, NOTE)).await?;
        }
        exec::end(&mut sink, &exec::outcome(code)).await
    };
    if let Err(error) = sent.await {
        return tracing::debug!(%error, "exec: the end is not sent");
    }
    while let Some(Ok(message)) = stream.next().await {
        if matches!(message, Message::Close(_)) {
            return;
        }
    }
}
