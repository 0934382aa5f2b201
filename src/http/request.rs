//! Reads a request: which form of the protocol it speaks, how long it waits, what it brings along, and its one message.

use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb, Request, header};
use http_body_util::BodyExt;
use prost_reflect::MessageDescriptor;
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;

use super::call;
use super::frames::{self, Broken, Frames};
use super::json;
use super::methods::Method;
use super::refusal::Refusal;
use crate::grpc::{self, deadline};

/// A client that has not sent its content by then is answered 408.
const ARRIVAL: Duration = Duration::from_secs(30);
/// As much of a request is read, so that the client comes to read its refusal.
const PATIENCE: usize = 4 * grpc::REQUEST_LIMIT;
/// What continues a stream: browsers send the last `id:` that they saw as `Last-Event-ID`.
pub const RESUME: &str = "wsman-resume";
/// What begins the names of parameters that stand for metadata, because a browser's EventSource sends no headers.
const PARAMETER: &str = "wsman-";

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Proto3 JSON.
    Json,
    /// The encoding of protocol buffers.
    Proto,
}

/// Which protocol a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One answer.
    Unary(Codec),
    /// A stream of Connect: five bytes before each message.
    Connect(Codec),
    /// A stream of lines of JSON.
    Lines,
    /// A stream of server-sent events.
    Events,
}

/// What a caller asks for, beside the message.
#[derive(Debug)]
pub struct Terms {
    /// When the caller stops waiting.
    pub due: Option<Instant>,
    /// The same as a span.
    pub limit: Option<Duration>,
    /// The metadata of the call.
    pub metadata: HeaderMap,
}

/// Returns the form of a request.
///
/// # Errors
/// If the verb, the type of its content or of the answer that it takes is not served.
pub fn form(method: &Method, request: &Request<Body>) -> Result<Form, Refusal> {
    let headers = request.headers();
    match *request.method() {
        Verb::POST => {}
        Verb::GET if method.reads && method.streams => return readable(headers),
        Verb::GET if method.reads => {
            let proto = query(request).any(|(key, value)| key == "encoding" && value == "proto");
            return Ok(Form::Unary(if proto { Codec::Proto } else { Codec::Json }));
        }
        _ if method.reads => return Err(Refusal::Verb("GET, POST")),
        _ => return Err(Refusal::Verb("POST")),
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
        (_, false) => Err(Refusal::ContentType("application/json, application/proto")),
        (_, true) => Err(Refusal::ContentType(
            "application/json, application/connect+json, application/connect+proto",
        )),
    }
}

/// Returns what the headers, and the parameters of a GET, ask for.
///
/// # Errors
/// If one of them cannot be understood.
pub fn terms(request: &Request<Body>) -> Result<Terms, Refusal> {
    let headers = request.headers();
    if let Some(version) = headers.get("connect-protocol-version")
        && version != "1"
    {
        return Err(Refusal::field("connect-protocol-version", "must be 1"));
    }
    let limit = match (
        headers.get("connect-timeout-ms"),
        headers.get("grpc-timeout"),
    ) {
        (Some(text), _) => {
            let millis = text.to_str().ok().filter(|text| {
                (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
            });
            let millis = millis.and_then(|text| text.parse().ok()).ok_or_else(|| {
                Refusal::field(
                    "connect-timeout-ms",
                    "must be milliseconds, in at most ten digits",
                )
            })?;
            Some(Duration::from_millis(millis))
        }
        (None, Some(text)) => {
            let limit = text
                .to_str()
                .ok()
                .and_then(deadline::parse)
                .ok_or_else(|| {
                    Refusal::field(
                        "grpc-timeout",
                        "must be at most eight digits and one of H, M, S, m, u, n",
                    )
                })?;
            Some(limit)
        }
        (None, None) => None,
    };
    let mut metadata = HeaderMap::new();
    call::copy(headers, &mut metadata);
    if *request.method() == Verb::GET {
        for (key, value) in query(request).filter(|(key, _)| key.starts_with(PARAMETER)) {
            let unfit = || Refusal::field(&key, "cannot be sent as metadata");
            let name = HeaderName::try_from(&key).map_err(|_| unfit())?;
            metadata.insert(name, HeaderValue::try_from(&value).map_err(|_| unfit())?);
        }
    }
    // Sent by a browser that reconnects: newer than the parameter of its first request.
    if let Some(last) = metadata.remove("last-event-id") {
        metadata.insert(RESUME, last);
    }
    Ok(Terms {
        due: limit.and_then(|limit| Instant::now().checked_add(limit)),
        limit,
        metadata,
    })
}

/// Reads the message and returns it encoded.
///
/// # Errors
/// If it is too long, too late, packed in an unknown way or not such a message.
pub async fn message(
    kind: &MessageDescriptor,
    form: Form,
    request: Request<Body>,
) -> Result<Bytes, Refusal> {
    if *request.method() == Verb::GET {
        return parameters(kind, form, &request);
    }
    let (parts, body) = request.into_parts();
    let told = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|length| length > PATIENCE as u64) {
        return Err(Refusal::TooLarge);
    }
    let late = Instant::now() + ARRIVAL;
    let packing = match form {
        Form::Connect(_) => "connect-content-encoding",
        _ => "content-encoding",
    };
    let packing = parts.headers.get(packing);
    let packed = match packing.map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => false,
        Some(b"gzip") => true,
        Some(other) => {
            return Err(Refusal::Encoding(
                String::from_utf8_lossy(other).into_owned(),
            ));
        }
    };
    let bytes = match form {
        Form::Connect(_) => timeout_at(late, enveloped(body, packed)).await,
        _ => timeout_at(late, whole(body, packed)).await,
    };
    decode(kind, form, bytes.map_err(|_| Refusal::TooSlow)??)
}

/// The whole content is the message. One that is too long is read to its end and thrown away: a client that is still
/// sending would not see the answer. There is an end to that, too.
async fn whole(mut body: Body, packed: bool) -> Result<Bytes, Refusal> {
    let (mut bytes, mut length) = (BytesMut::new(), 0);
    while let Some(part) = body.frame().await {
        let part = part.map_err(|error| {
            Refusal::field("", format!("the request broke off: {}", error.message()))
        })?;
        let Ok(data) = part.into_data() else { continue };
        length += data.len();
        if length <= grpc::REQUEST_LIMIT {
            bytes.extend_from_slice(&data);
        } else if length <= PATIENCE {
            bytes = BytesMut::new();
        } else {
            break;
        }
    }
    match (length, packed) {
        (..=grpc::REQUEST_LIMIT, true) => unpack(&bytes),
        (..=grpc::REQUEST_LIMIT, false) => Ok(bytes.freeze()),
        _ => Err(Refusal::TooLarge),
    }
}

/// The content is one message with five bytes before it, and nothing after it.
async fn enveloped(body: Body, packed: bool) -> Result<Bytes, Refusal> {
    let broken = |broken| match broken {
        Broken::TooLarge(_) => Refusal::TooLarge,
        broken => Refusal::field("", format!("the request is broken: {broken}")),
    };
    let mut frames = Frames::new(body, grpc::REQUEST_LIMIT);
    let Some(first) = frames.next().await.map_err(broken)? else {
        return Err(Refusal::field("", "the request has no message"));
    };
    if frames.next().await.map_err(broken)?.is_some() {
        return Err(Refusal::field("", "the request has more than one message"));
    }
    match first.flags {
        0 => Ok(first.payload),
        frames::COMPRESSED if packed => unpack(&first.payload),
        frames::COMPRESSED => Err(Refusal::field(
            "",
            "a message is compressed, but connect-content-encoding is not told",
        )),
        flags => Err(Refusal::field(
            "",
            format!("the flags {flags:#010b} mean nothing"),
        )),
    }
}

fn unpack(bytes: &[u8]) -> Result<Bytes, Refusal> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(grpc::REQUEST_LIMIT as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| Refusal::field("", format!("the content is no gzip: {error}")))?;
    match plain.len() > grpc::REQUEST_LIMIT {
        true => Err(Refusal::TooLarge),
        false => Ok(plain.into()),
    }
}

/// The message of a GET is a parameter, and nothing stands for an empty one.
fn parameters(
    kind: &MessageDescriptor,
    form: Form,
    request: &Request<Body>,
) -> Result<Bytes, Refusal> {
    const URL: GeneralPurpose = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let (mut message, mut base64, mut packed) = (String::new(), false, false);
    for (key, value) in query(request) {
        match (key.as_str(), value.as_str()) {
            ("message", _) => message = value,
            ("base64", "1") => base64 = true,
            ("compression", "gzip") => packed = true,
            ("compression", "identity" | "") | ("connect", "v1") => {}
            ("encoding", "json") => {}
            ("encoding", "proto") if matches!(form, Form::Unary(_)) => {}
            ("compression", _) => return Err(Refusal::Encoding(value)),
            ("encoding" | "base64" | "connect", _) => {
                return Err(Refusal::field(&key, format!("{value:?} is not served")));
            }
            (name, _) if name.starts_with(PARAMETER) => {}
            _ => {
                return Err(Refusal::field(
                    &key,
                    "unknown parameter; the request goes into message=",
                ));
            }
        }
    }
    let bytes = match base64 {
        true => URL
            .decode(message.as_bytes())
            .map_err(|error| Refusal::field("message", format!("is no base64: {error}")))?
            .into(),
        false => Bytes::from(message),
    };
    decode(kind, form, if packed { unpack(&bytes)? } else { bytes })
}

fn decode(kind: &MessageDescriptor, form: Form, bytes: Bytes) -> Result<Bytes, Refusal> {
    match form {
        Form::Unary(Codec::Proto) | Form::Connect(Codec::Proto) => {
            json::check(kind, &bytes)?;
            Ok(bytes)
        }
        _ => Ok(json::read(kind, &bytes)?.into()),
    }
}

/// Lines unless events are asked for first.
fn readable(headers: &HeaderMap) -> Result<Form, Refusal> {
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
        .ok_or(Refusal::Accept)
}

/// A media type without its parameters.
fn essence(value: &str) -> String {
    let kind = value.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

fn query(request: &Request<Body>) -> impl Iterator<Item = (String, String)> + '_ {
    let query = request.uri().query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes()).into_owned()
}
