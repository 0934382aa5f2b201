//! JSON and everything else over plain HTTP, on the port of gRPC.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::support::world::TIMEOUT;

mod calls;
mod clients;
pub(crate) mod input;
mod layer;
mod raw;
mod stalled;
mod streams;
pub(crate) mod verbs;

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
const PROTO: (&str, &str) = ("content-type", "application/proto");

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) line: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code, the reason and the first field of an error.
    #[track_caller]
    pub(crate) fn error(&self) -> (String, String, String) {
        let error = self.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let detail = |kind: &str| {
            let details = error["details"].as_array().into_iter().flatten();
            let mut found = details.filter(|detail| detail["type"] == kind);
            found
                .next()
                .map(|detail| detail["debug"].clone())
                .unwrap_or_default()
        };
        (
            text(&error["code"]),
            text(&detail("google.rpc.ErrorInfo")["reason"]),
            text(&detail("google.rpc.BadRequest")["fieldViolations"][0]["field"]),
        )
    }
}

/// A client of one version of HTTP.
#[derive(Clone)]
pub(crate) struct Web {
    client: Client<HttpConnector, Full<Bytes>>,
    addr: SocketAddr,
}

impl Web {
    pub(crate) fn http1(addr: SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, addr }
    }

    pub(crate) fn http2(addr: SocketAddr) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        let client = builder.http2_only(true).build_http();
        Self { client, addr }
    }

    /// Sends a request and returns as soon as the response starts.
    pub(crate) async fn begin(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<Incoming> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.addr));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let answer = tokio::time::timeout(TIMEOUT, self.client.request(request));
        answer.await.expect("an answer in time").unwrap()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (parts, body) = self.begin(method, path, headers, body).await.into_parts();
        let body = tokio::time::timeout(TIMEOUT, body.collect());
        Answer {
            line: parts.status,
            headers: parts.headers,
            body: body
                .await
                .expect("a whole answer in time")
                .unwrap()
                .to_bytes(),
        }
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.send(Method::POST, path, headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }
}
