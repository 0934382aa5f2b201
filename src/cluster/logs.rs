//! Reads the logs of containers. The API server asks the kubelet of the node, so a node that is young, or away, fails a
//! read that may succeed a moment later.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt};
use http::Request;
use jiff::Timestamp;
use kube::Client;
use tokio::time::timeout;
use url::form_urlencoded::Serializer;

use super::errors::{self, Cause};
use super::informer::IDLE_TIMEOUT;
use crate::error::Error;

/// Most bytes that one read of a log returns.
const CHUNK: usize = 16 << 10;
/// How long the API server may take to begin with its answer: it may have to connect to the node.
const OPEN_TIMEOUT: Duration = IDLE_TIMEOUT;

/// Reads logs in one namespace.
#[derive(Clone)]
pub struct Logs {
    client: Client,
    namespace: String,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    pub pod: &'a str,
    pub container: &'a str,
    /// Only lines from then on; fractions of the second do not count.
    pub since: Option<Timestamp>,
    /// Only this many of the last lines.
    pub tail: Option<u32>,
    /// Go on until the container ends.
    pub follow: bool,
}

impl Query<'_> {
    fn encode(&self) -> String {
        let mut text = Serializer::new(String::new());
        text.append_pair("container", self.container);
        text.append_pair("timestamps", "true");
        if self.follow {
            text.append_pair("follow", "true");
        }
        if let Some(since) = self.since {
            let whole = Timestamp::from_second(since.as_second()).unwrap_or(since);
            text.append_pair("sinceTime", &whole.to_string());
        }
        if let Some(tail) = self.tail {
            text.append_pair("tailLines", &tail.to_string());
        }
        text.finish()
    }
}

/// Why a log cannot be read.
#[derive(Debug)]
pub enum Failure {
    /// The pod is gone.
    Gone,
    /// It may be read a moment later: its container has not started, its node does not answer.
    Passing(Error),
    /// It may not be read.
    Denied(Error),
}

/// An open log, as text with a timestamp in front of each line.
pub struct Log {
    text: Box<dyn AsyncRead + Send + Unpin>,
    chunk: Box<[u8]>,
    pod: String,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("pod", &self.pod).finish()
    }
}

impl Logs {
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
        }
    }

    /// Opens a log.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn open(&self, query: &Query<'_>) -> Result<Log, Failure> {
        let (namespace, pod) = (&self.namespace, query.pod);
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log");
        let request = Request::get(format!("{path}?{}", query.encode()))
            .body(Vec::new())
            .map_err(kube::Error::HttpError);
        let doing = format!("reading the log of pod {pod}");
        let opening = async { self.client.request_stream(request?).await };
        let Ok(opened) = timeout(OPEN_TIMEOUT, opening).await else {
            let why = format!("{doing}: no answer within {OPEN_TIMEOUT:?}");
            return Err(passing(why));
        };
        let text = opened.map_err(|error| match errors::cause(&error) {
            Cause::Gone if errors::is_about(&error, "pods") => Failure::Gone,
            Cause::Forbidden | Cause::Denied => Failure::Denied(errors::of(&error, &doing)),
            _ => passing(format!("{doing}: {}", errors::text(&error))),
        })?;
        Ok(Log {
            text: Box::new(text),
            chunk: vec![0; CHUNK].into(),
            pod: pod.to_owned(),
        })
    }
}

impl Log {
    /// Returns the next text; empty at the end.
    ///
    /// # Errors
    /// [`Failure::Passing`] if the connection breaks.
    pub async fn read(&mut self) -> Result<&[u8], Failure> {
        match self.text.read(&mut self.chunk).await {
            Ok(length) => Ok(&self.chunk[..length]),
            Err(error) => Err(passing(format!(
                "reading the log of pod {}: {}",
                self.pod,
                errors::chain_of(&error)
            ))),
        }
    }
}

fn passing(why: String) -> Failure {
    Failure::Passing(Error::Unreachable {
        why,
        retry_after: None,
    })
}
