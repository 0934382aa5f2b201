//! Reads a request: its protocol, its deadline, its metadata, and its one message.

use std::time::Duration;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb, Request, Uri, header};
use http_body_util::BodyExt;
use prost_reflect::MessageDescriptor;
use tokio::time::Instant;
use tonic::body::Body;

use super::{call, json};
use crate::rpc::arriving::{self, Arriving};
use crate::rpc::in_flight::{Peer, RequestBytes};
use crate::rpc::methods::Method;
use crate::rpc::packing::{Packing, enveloped, gunzip};
use crate::rpc::rejection::Rejection;
use crate::rpc::{REQUEST_LIMIT, deadline};

/// This much of a request is read, so that the client gets to read its rejection.
const LONGEST_READ: usize = 4 * REQUEST_LIMIT;
/// Header with the encoding of a message that is the whole content.
const CONTENT_PACKING: &str = "content-encoding";
/// Header with the encoding of the messages of a Connect stream.
const CONNECT_PACKING: &str = "connect-content-encoding";
/// Parameter that resumes a stream. Browsers send the last `id:` as `Last-Event-ID`.
pub const RESUME: &str = "wsman-resume";
/// Prefix of parameters that stand for metadata, because a browser's EventSource sends no headers.
const PARAMETER: &str = "wsman-";

/// The encoding of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Json,
    /// Protocol buffers.
    Proto,
}

/// The protocol of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One response.
    Unary(Codec),
    /// A Connect stream: a prefix of five bytes before each message.
    Connect(Codec),
    /// A stream of lines of JSON.
    Lines,
    /// A stream of server-sent events.
    Events,
}

/// What a request has besides its message.
#[derive(Debug)]
pub struct Terms {
    /// The caller's deadline.
    pub deadline: Option<Instant>,
    /// The caller's timeout.
    pub timeout: Option<Duration>,
    pub metadata: HeaderMap,
}

/// Returns the protocol of a request.
///
/// # Errors
/// If the HTTP method, the content type or the accepted types are not supported.
pub fn form(method: &Method, request: &Request<Body>) -> Result<Form, Rejection> {
    let headers = request.headers();
    match *request.method() {
        Verb::POST => {}
        Verb::GET if method.reads && method.streams => return readable(headers),
        Verb::GET if method.reads => {
            let proto =
                query(request.uri()).any(|(key, value)| key == "encoding" && value == "proto");
            return Ok(Form::Unary(if proto { Codec::Proto } else { Codec::Json }));
        }
        _ if method.reads => return Err(Rejection::Verb("GET, POST")),
        _ => return Err(Rejection::Verb("POST")),
    }
    let content = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(essence)
        .unwrap_or_default();
    match (content.as_str(), method.streams) {
        ("application/json", false) => Ok(Form::Unary(Codec::Json)),
        ("application/proto", false) => Ok(Form::Unary(Codec::Proto)),
        ("application/json", true) => readable(headers),
        ("application/connect+json", true) => Ok(Form::Connect(Codec::Json)),
        ("application/connect+proto", true) => Ok(Form::Connect(Codec::Proto)),
        (_, false) => Err(Rejection::ContentType(
            "application/json, application/proto",
        )),
        (_, true) => Err(Rejection::ContentType(
            "application/json, application/connect+json, application/connect+proto",
        )),
    }
}

/// Reads the headers, and the parameters of a GET.
///
/// # Errors
/// If one of them is invalid.
pub fn terms(request: &Request<Body>) -> Result<Terms, Rejection> {
    let headers = request.headers();
    if let Some(version) = headers.get("connect-protocol-version")
        && version != "1"
    {
        return Err(Rejection::field("connect-protocol-version", "must be 1"));
    }
    let timeout = match (
        headers.get("connect-timeout-ms"),
        headers.get(deadline::HEADER),
    ) {
        (Some(text), _) => {
            let millis = text.to_str().ok().filter(|text| {
                (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
            });
            let millis = millis.and_then(|text| text.parse().ok()).ok_or_else(|| {
                Rejection::field(
                    "connect-timeout-ms",
                    "must be milliseconds, in at most ten digits",
                )
            })?;
            Some(Duration::from_millis(millis))
        }
        (None, Some(text)) => {
            let timeout = text
                .to_str()
                .ok()
                .and_then(deadline::parse)
                .ok_or_else(|| Rejection::field(deadline::HEADER, deadline::EXPECTED))?;
            Some(timeout)
        }
        (None, None) => None,
    };
    let mut metadata = HeaderMap::new();
    call::copy(headers, &mut metadata);
    if *request.method() == Verb::GET {
        for (key, value) in query(request.uri()).filter(|(key, _)| key.starts_with(PARAMETER)) {
            let unfit = || Rejection::field(&key, "cannot be sent as metadata");
            let name = HeaderName::try_from(&key).map_err(|_| unfit())?;
            metadata.insert(name, HeaderValue::try_from(&value).map_err(|_| unfit())?);
        }
    }
    // A browser that reconnects sends it: it is newer than the parameter of its first request.
    if let Some(last) = metadata.remove("last-event-id") {
        metadata.insert(RESUME, last);
    }
    Ok(Terms {
        deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        timeout,
        metadata,
    })
}

/// Reads the message and returns it encoded, with the bytes that it counts for.
///
/// # Errors
/// If it is too long, too late, in an unknown encoding, or no such message.
pub async fn message(
    kind: &MessageDescriptor,
    form: Form,
    request: Request<Body>,
) -> Result<(Bytes, RequestBytes), Rejection> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().cloned();
    let mut arriving = Arriving::new(body, peer);
    if parts.method == Verb::GET {
        let message = parameters(kind, form, &parts, &mut arriving)?;
        return Ok((message, arriving.into_bytes()));
    }
    let length = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > LONGEST_READ as u64) {
        return Err(Rejection::TooLarge);
    }
    let bytes = match form {
        Form::Connect(_) => {
            let packing = Packing::of(&parts.headers, CONNECT_PACKING)?;
            enveloped(&mut arriving, packing).await?
        }
        _ => {
            let packing = Packing::of(&parts.headers, CONTENT_PACKING)?;
            whole(&mut arriving, packing).await?
        }
    };
    Ok((decode(kind, form, bytes)?, arriving.into_bytes()))
}

/// The whole content is the message. If it is too long, the rest is read and dropped, up to a limit: a client that
/// still sends would not see the response.
async fn whole(arriving: &mut Arriving, packing: Packing) -> Result<Bytes, Rejection> {
    let (mut bytes, mut length) = (BytesMut::new(), 0);
    while let Some(part) = arriving.frame().await {
        let part = part.map_err(arriving::rejection)?;
        let Ok(data) = part.into_data() else { continue };
        length += data.len();
        if length <= REQUEST_LIMIT {
            bytes.extend_from_slice(&data);
        } else if length <= LONGEST_READ {
            bytes = BytesMut::new();
        } else {
            break;
        }
    }
    match length {
        ..=REQUEST_LIMIT => packing.unpack_whole(bytes.freeze(), arriving),
        _ => Err(Rejection::TooLarge),
    }
}

/// The message of a GET is a parameter; without it the message is empty.
fn parameters(
    kind: &MessageDescriptor,
    form: Form,
    request: &Parts,
    arriving: &mut Arriving,
) -> Result<Bytes, Rejection> {
    const URL: GeneralPurpose = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let (mut message, mut base64, mut packed) = (String::new(), false, false);
    for (key, value) in query(&request.uri) {
        match (key.as_str(), value.as_str()) {
            ("message", _) => message = value,
            ("base64", "1") => base64 = true,
            ("compression", "gzip") => packed = true,
            ("compression", "identity" | "") | ("connect", "v1") => {}
            ("encoding", "json") => {}
            ("encoding", "proto") if matches!(form, Form::Unary(_)) => {}
            ("compression", _) => return Err(Rejection::Encoding),
            ("encoding" | "base64" | "connect", _) => {
                return Err(Rejection::field(&key, "has a value that is not served"));
            }
            (name, _) if name.starts_with(PARAMETER) => {}
            _ => {
                return Err(Rejection::field(
                    &key,
                    "unknown parameter; the request goes into message=",
                ));
            }
        }
    }
    let bytes = match base64 {
        true => URL
            .decode(message.as_bytes())
            .map_err(|error| Rejection::field("message", format!("is no base64: {error}")))?
            .into(),
        false => Bytes::from(message),
    };
    let bytes = match packed {
        true => gunzip(&bytes, arriving)?,
        false => bytes,
    };
    decode(kind, form, bytes)
}

fn decode(kind: &MessageDescriptor, form: Form, bytes: Bytes) -> Result<Bytes, Rejection> {
    match form {
        // The intake checks it.
        Form::Unary(Codec::Proto) | Form::Connect(Codec::Proto) => Ok(bytes),
        _ => Ok(json::read(kind, &bytes)?.into()),
    }
}

/// JSON lines, unless the client prefers events.
fn readable(headers: &HeaderMap) -> Result<Form, Rejection> {
    let mut listed = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(essence)
        .peekable();
    if listed.peek().is_none() {
        return Ok(Form::Lines);
    }
    listed
        .find_map(|kind| match kind.as_str() {
            "text/event-stream" => Some(Form::Events),
            "application/x-ndjson" | "application/ndjson" | "application/*" | "*/*" => {
                Some(Form::Lines)
            }
            _ => None,
        })
        .ok_or(Rejection::Accept)
}

/// A media type without its parameters.
pub fn essence(value: &str) -> String {
    let kind = value.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

fn query(uri: &Uri) -> impl Iterator<Item = (String, String)> + '_ {
    let query = uri.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes()).into_owned()
}
