//! Logs and exec of pods whose containers are processes: their kubelet has them, on a socket that is named on its node.

use std::path::PathBuf;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::unfold;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use super::api;
use super::logs;
use super::request::{Query, Target};
use super::resources::{self, PODS};
use super::status::Status;
use super::store::{Store, uid};
use super::validate::text;
use crate::kubelet::SOCKET;
use crate::logs::{self as wire, EXEC, LOGS, LogRequest};

/// Most bytes of a kubelet's error.
const ERROR_LIMIT: usize = 64 * 1024;

/// A pod and the socket of its kubelet.
pub(crate) struct Processes {
    pod: Value,
    socket: PathBuf,
}

/// The pod, if its kubelet is asked for something and its containers are processes.
pub(crate) fn of(store: &Store, target: &Target) -> Option<Processes> {
    let asks = ["log", "exec", "attach", "portforward", "proxy"];
    if target.index != PODS || !asks.contains(&target.subresource.as_str()) {
        return None;
    }
    let (nodes, _) = resources::find("", "nodes")?;
    store.with(|state| {
        let pod = &state.get(PODS, &target.key())?.value;
        let node = state.get(nodes, text(&pod["spec"], "nodeName"))?;
        let socket = node.value["metadata"]["annotations"][SOCKET].as_str()?;
        Some(Processes {
            socket: socket.into(),
            pod: pod.clone(),
        })
    })
}

impl Processes {
    /// The log of a container as a stream of text.
    pub(crate) async fn logs(&self, query: &Query) -> Result<api::Body, Status> {
        let selection = logs::selection(query)?;
        let container = logs::container(&self.pod, query.get("container"))?;
        let previous = query.is_set("previous");
        // Whether there is one is in the status of the pod.
        wire::read(&self.pod, &container, previous, Timestamp::now())
            .map_err(Status::bad_request)?;
        let request = LogRequest {
            uid: uid(&self.pod).to_owned(),
            run: run(&self.pod, &container, previous),
            container,
            follow: query.is_set("follow") && !previous,
            selection,
        };
        let body = serde_json::to_string(&request).unwrap_or_default();
        let request = Request::post(LOGS).body(Full::new(Bytes::from(body)));
        let (response, connection) = self.ask(request).await?;
        let state = (response.into_body().into_data_stream(), connection);
        let chunks = unfold(state, |(mut data, connection)| async move {
            // A kubelet that is gone ends the log.
            let chunk = data.next().await?.ok()?;
            Some((Ok(Frame::data(chunk)), (data, connection)))
        });
        Ok(UnsyncBoxBody::new(StreamBody::new(chunks)))
    }

    /// The kubelet's agreement to exec, and what then copies between client and kubelet.
    pub(crate) async fn exec(
        &self,
        parts: &Parts,
        query: &Query,
        upgrade: Option<OnUpgrade>,
    ) -> Result<(Response<api::Body>, impl Future<Output = ()> + Send + use<>), Status> {
        let upgrade = upgrade
            .ok_or_else(|| Status::bad_request("exec needs a connection that is upgraded"))?;
        let container = logs::container(&self.pod, query.get("container"))?;
        let path = format!("{EXEC}{}/{container}", uid(&self.pod));
        let asked = parts.uri.query().unwrap_or_default();
        let mut request = Request::get(format!("{path}?{asked}")).body(Empty::new());
        if let Ok(request) = &mut request {
            let kept = parts.headers.iter().filter(|(name, _)| {
                let name = name.as_str();
                matches!(name, "connection" | "upgrade") || name.starts_with("sec-websocket-")
            });
            for (name, value) in kept {
                request.headers_mut().append(name, value.clone());
            }
        }
        let (mut response, connection) = self.ask(request).await?;
        let kubelet = hyper::upgrade::on(&mut response);
        let copy = async move {
            let _connection = connection;
            let (client, kubelet) = match tokio::try_join!(upgrade, kubelet) {
                Ok(both) => both,
                Err(error) => return tracing::debug!(%error, "exec: upgrade"),
            };
            let (mut client, mut kubelet) = (TokioIo::new(client), TokioIo::new(kubelet));
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut kubelet).await {
                tracing::debug!(%error, "exec: the connection is cut");
            }
        };
        let (parts, _) = response.into_parts();
        let body = UnsyncBoxBody::new(Empty::new());
        Ok((Response::from_parts(parts, body), copy))
    }

    /// Sends a request; the connection must be kept as long as the response is read.
    async fn ask<B>(
        &self,
        request: http::Result<Request<B>>,
    ) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), Status>
    where
        B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
    {
        let away = |error: &dyn std::error::Error| {
            let why = format!("the kubelet of the pod does not answer: {error}");
            Status::new(502, "BadGateway", why)
        };
        let mut request = request.map_err(|error| away(&error))?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("kubelet"));
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| away(&error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| away(&error))?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to a kubelet");
            }
        }));
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| away(&error))?;
        match response.status() {
            StatusCode::OK | StatusCode::SWITCHING_PROTOCOLS => Ok((response, connection)),
            code => {
                let body = Limited::new(response.into_body(), ERROR_LIMIT)
                    .collect()
                    .await;
                let text = body.map(|body| body.to_bytes()).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                Err(match code {
                    StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Status::bad_request(text),
                    _ => Status::new(500, "InternalError", text),
                })
            }
        }
    }
}

/// The number of the run whose log is meant: a container that waits for its restart still has that of the last.
fn run(pod: &Value, container: &str, previous: bool) -> i32 {
    let lists = ["containerStatuses", "initContainerStatuses"];
    let mut all = lists
        .iter()
        .flat_map(|list| pod["status"][*list].as_array().into_iter().flatten());
    let Some(status) = all.find(|status| status["name"] == container) else {
        return 0;
    };
    let count = status["restartCount"].as_i64().unwrap_or(0);
    let before = previous && !status["state"]["waiting"].is_object();
    i32::try_from(count - i64::from(before)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_previous_run_is_the_one_before() {
        let pod = |state: Value| {
            let status = json!({ "name": "c", "restartCount": 3, "state": state });
            json!({ "status": { "initContainerStatuses": [status] } })
        };
        for (state, previous, expected) in [
            (json!({ "running": {} }), false, 3),
            (json!({ "running": {} }), true, 2),
            (json!({ "terminated": {} }), true, 2),
            (json!({ "waiting": {} }), false, 3),
            (json!({ "waiting": {} }), true, 3),
        ] {
            assert_eq!(run(&pod(state.clone()), "c", previous), expected, "{state}");
        }
    }
}
