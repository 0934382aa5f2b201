//! Logs of pods whose containers are processes: their kubelet has those, on a socket that is named on its node.

use std::path::PathBuf;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::unfold;
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
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
use crate::logs::{self as wire, LOGS, LogRequest};

/// Most bytes of a kubelet's error.
const ERROR_LIMIT: usize = 64 * 1024;

/// A pod and the socket of its kubelet.
pub(crate) struct Processes {
    pod: Value,
    socket: PathBuf,
}

/// The pod, if its containers are processes.
pub(crate) fn of(store: &Store, target: &Target) -> Option<Processes> {
    let (nodes, _) = resources::find("", "nodes")?;
    store.with(|state| {
        let pod = state.get(PODS, &target.key())?.value.clone();
        let node = state.get(nodes, text(&pod["spec"], "nodeName"))?;
        let socket = node.value["metadata"]["annotations"][SOCKET].as_str()?;
        Some(Processes {
            socket: socket.into(),
            pod,
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
        wire::read(&self.pod, &container, previous).map_err(Status::bad_request)?;
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
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a kubelet");
            }
        }));
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| away(&error))?;
        match response.status() {
            StatusCode::OK => Ok((response, connection)),
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
