//! A call of a gRPC service within this process. So each RPC has one implementation, with its errors and limits.

use std::time::Duration;

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method as Verb, Request, Response, Version,
    header,
};
use http_body_util::Full;
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};

use crate::rpc::frames::{Frames, frame};

/// The service's response.
#[derive(Debug)]
pub struct Answer {
    /// Metadata before the messages.
    pub headers: HeaderMap,
    /// Metadata after the messages, if the call succeeds.
    pub trailers: HeaderMap,
    frames: Frames<Body>,
    status: Option<Status>,
}

/// Calls an RPC. `timeout` is how long the caller waits.
///
/// # Errors
/// The status of the service, if it sends no message.
pub async fn call<S>(
    service: S,
    path: &str,
    metadata: HeaderMap,
    timeout: Option<Duration>,
    extensions: Extensions,
    message: &[u8],
) -> Result<Answer, Status>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<StdError>,
{
    let mut request = Request::new(Body::new(Full::new(frame(0, message))));
    *request.method_mut() = Verb::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = path
        .parse()
        .map_err(|error| Status::internal(format!("{path}: {error}")))?;
    *request.extensions_mut() = extensions;
    let headers = request.headers_mut();
    copy(&metadata, headers);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if let Some(timeout) = timeout.and_then(header_of) {
        headers.insert("grpc-timeout", timeout);
    }
    let response = service
        .oneshot(request)
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    let (parts, body) = response.into_parts();
    // A response without messages has its status here.
    let status = Status::from_header_map(&parts.headers);
    if let Some(status) = status.as_ref().filter(|status| status.code() != Code::Ok) {
        return Err(status.clone());
    }
    let mut headers = HeaderMap::new();
    copy(&parts.headers, &mut headers);
    Ok(Answer {
        headers,
        trailers: HeaderMap::new(),
        // This process made the response, so it needs no limit.
        frames: Frames::new(body, usize::MAX),
        status,
    })
}

impl Answer {
    /// Waits for the next message; `None` is the end with OK. Cancel-safe.
    ///
    /// # Errors
    /// The status of the call.
    pub async fn message(&mut self) -> Result<Option<Bytes>, Status> {
        match self.frames.next().await {
            Ok(Some(frame)) => Ok(Some(frame.payload)),
            Err(broken) => Err(Status::unavailable(format!(
                "the answer broke off: {broken}"
            ))),
            Ok(None) => {
                let trailers = self.frames.trailers();
                let status = Status::from_header_map(&trailers).or_else(|| self.status.take());
                match status {
                    Some(status) if status.code() == Code::Ok => {
                        copy(&trailers, &mut self.trailers);
                        Ok(None)
                    }
                    // The headers hold the rest of the status.
                    Some(status) => Err(status),
                    None => Err(Status::unavailable("the answer ended without a status")),
                }
            }
        }
    }
}

/// Copies metadata: neither HTTP's own headers, nor those of gRPC and Connect.
pub fn copy(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if !is_reserved(name) {
            to.append(name, value.clone());
        }
    }
}

fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [HeaderName; 16] = [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::DATE,
        header::EXPECT,
        header::HOST,
        header::ORIGIN,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    let text = name.as_str();
    RESERVED.contains(name)
        || [
            "grpc-",
            "connect-",
            "access-control-",
            "sec-",
            "keep-alive",
            "proxy-",
        ]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

/// At most eight digits and a unit (gRPC over HTTP/2, "Timeout"). A longer timeout is the same as none.
fn header_of(timeout: Duration) -> Option<HeaderValue> {
    let (count, unit) = match timeout.as_millis() {
        0 => (timeout.as_micros().max(1), 'u'),
        millis @ ..=99_999_999 => (millis, 'm'),
        millis @ ..=99_999_999_999 => (millis / 1000, 'S'),
        _ => return None,
    };
    HeaderValue::try_from(format!("{count}{unit}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_fit_the_header() {
        let sent = |timeout| header_of(timeout).map(|value| value.to_str().unwrap().to_owned());
        for (timeout, wanted) in [
            (Duration::ZERO, Some("1u")),
            (Duration::from_millis(1), Some("1m")),
            (Duration::from_millis(99_999_999), Some("99999999m")),
            (Duration::from_millis(100_000_000), Some("100000S")),
            (Duration::MAX, None),
        ] {
            assert_eq!(sent(timeout).as_deref(), wanted);
        }
    }
}
