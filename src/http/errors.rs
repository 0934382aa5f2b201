//! A gRPC status over HTTP: `{code, message, details}` and a status line, by the table of the Connect protocol.

use std::sync::OnceLock;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::StatusCode;
use prost::Message;
use prost_reflect::DescriptorPool;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::pb;

use super::json;

/// The prefix of a type URL in `google.protobuf.Any`.
const TYPES: &str = "type.googleapis.com/";

/// Base64 as in Connect: written without padding, read with and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Names and status lines of the codes.
const CODES: [(Code, &str, StatusCode); 16] = [
    (Code::Cancelled, "canceled", CLIENT_CLOSED),
    (Code::Unknown, "unknown", StatusCode::INTERNAL_SERVER_ERROR),
    (
        Code::InvalidArgument,
        "invalid_argument",
        StatusCode::BAD_REQUEST,
    ),
    (
        Code::DeadlineExceeded,
        "deadline_exceeded",
        StatusCode::GATEWAY_TIMEOUT,
    ),
    (Code::NotFound, "not_found", StatusCode::NOT_FOUND),
    (Code::AlreadyExists, "already_exists", StatusCode::CONFLICT),
    (
        Code::PermissionDenied,
        "permission_denied",
        StatusCode::FORBIDDEN,
    ),
    (
        Code::ResourceExhausted,
        "resource_exhausted",
        StatusCode::TOO_MANY_REQUESTS,
    ),
    (
        Code::FailedPrecondition,
        "failed_precondition",
        StatusCode::BAD_REQUEST,
    ),
    (Code::Aborted, "aborted", StatusCode::CONFLICT),
    (Code::OutOfRange, "out_of_range", StatusCode::BAD_REQUEST),
    (
        Code::Unimplemented,
        "unimplemented",
        StatusCode::NOT_IMPLEMENTED,
    ),
    (
        Code::Internal,
        "internal",
        StatusCode::INTERNAL_SERVER_ERROR,
    ),
    (
        Code::Unavailable,
        "unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
    ),
    (
        Code::DataLoss,
        "data_loss",
        StatusCode::INTERNAL_SERVER_ERROR,
    ),
    (
        Code::Unauthenticated,
        "unauthenticated",
        StatusCode::UNAUTHORIZED,
    ),
];

/// 499 has no constant.
const CLIENT_CLOSED: StatusCode = match StatusCode::from_u16(499) {
    Ok(code) => code,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// Returns the status line of a code.
pub fn line(code: Code) -> StatusCode {
    let found = CODES.iter().find(|(known, ..)| *known == code);
    found.map_or(StatusCode::OK, |(.., line)| *line)
}

/// Returns a status as JSON. A detail of a known type is also readable beside its bytes.
pub fn to_json(status: &Status) -> Value {
    let name = CODES.iter().find(|(code, ..)| *code == status.code());
    let mut error = Map::new();
    error.insert(
        "code".to_owned(),
        json!(name.map_or("unknown", |(_, name, _)| name)),
    );
    if !status.message().is_empty() {
        error.insert("message".to_owned(), json!(status.message()));
    }
    // Only this program writes the details, so they can be decoded.
    let details = pb::Status::decode(status.details())
        .unwrap_or_default()
        .details;
    if !details.is_empty() {
        let details: Vec<Value> = details
            .iter()
            .map(|detail| {
                let name = detail
                    .type_url
                    .strip_prefix(TYPES)
                    .unwrap_or(&detail.type_url);
                let mut shown = Map::new();
                shown.insert("type".to_owned(), json!(name));
                shown.insert("value".to_owned(), json!(BASE64.encode(&detail.value)));
                if let Some(readable) = readable(name, &detail.value) {
                    shown.insert("debug".to_owned(), readable);
                }
                Value::Object(shown)
            })
            .collect();
        error.insert("details".to_owned(), json!(details));
    }
    Value::Object(error)
}

/// Reads what [`to_json`] or another Connect server wrote; `None` if it is something else.
pub fn from_json(error: &Value) -> Option<Status> {
    let name = error.get("code")?.as_str()?;
    let (code, ..) = CODES.iter().find(|(_, known, _)| *known == name)?;
    let message = error
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let details = error.get("details").and_then(Value::as_array);
    let details: Vec<_> = details
        .into_iter()
        .flatten()
        .filter_map(|detail| {
            let name = detail.get("type")?.as_str()?;
            let value = BASE64.decode(detail.get("value")?.as_str()?).ok()?;
            Some(prost_reflect::prost_types::Any {
                type_url: format!("{TYPES}{name}"),
                value,
            })
        })
        .collect();
    if details.is_empty() {
        return Some(Status::new(*code, message));
    }
    let whole = pb::Status {
        code: i32::from(*code),
        message: message.to_owned(),
        details,
    };
    Some(Status::with_details(
        *code,
        message,
        whole.encode_to_vec().into(),
    ))
}

/// Returns the code of another program's error, such as a proxy's (Connect, "HTTP to error code").
pub fn code(line: StatusCode) -> Code {
    match line.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

fn readable(name: &str, value: &[u8]) -> Option<Value> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).ok());
    let kind = pool.as_ref()?.get_message_by_name(name)?;
    serde_json::from_slice(&json::print(&kind, value).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::{ErrorDetails, StatusExt};

    #[test]
    fn a_status_survives_the_journey() {
        let mut details = ErrorDetails::new();
        details.set_error_info("REASON", "example.com", [("id".to_owned(), "a".to_owned())]);
        details.add_bad_request_violation("spec.ports[0]", "is zero");
        let status = Status::with_error_details(Code::InvalidArgument, "no", details);
        let json = to_json(&status);
        assert_eq!(json["code"], "invalid_argument");
        assert_eq!(json["details"][0]["type"], "google.rpc.ErrorInfo");
        assert_eq!(json["details"][0]["debug"]["reason"], "REASON");
        assert_eq!(
            json["details"][1]["debug"]["fieldViolations"][0]["field"],
            "spec.ports[0]"
        );
        let read = from_json(&json).unwrap();
        assert_eq!(
            (read.code(), read.message(), read.details()),
            (status.code(), "no", status.details())
        );
        for (code, name, _) in CODES {
            let read = from_json(&json!({"code": name})).unwrap();
            assert_eq!((read.code(), to_json(&read)), (code, json!({"code": name})));
        }
    }

    #[test]
    fn what_is_no_error_is_none() {
        for text in [
            "null",
            "{}",
            r#"{"code": 3}"#,
            r#"{"code": "NOT_FOUND"}"#,
            r#""code""#,
        ] {
            assert!(
                from_json(&serde_json::from_str(text).unwrap()).is_none(),
                "{text}"
            );
        }
        // A detail that cannot be read does not affect the others.
        let odd =
            json!({"code": "internal", "details": [1, {"type": "a"}, {"type": "a", "value": "%"}]});
        assert!(from_json(&odd).unwrap().details().is_empty());
    }
}
