//! Converts messages between JSON and their encoding, by descriptor.
//!
//! The generated printer of pbjson is not used: it rejects an unknown number of an enum, so that one newer value would
//! make a whole list unreadable.

use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, ReflectMessage};

use crate::error::{Error, FieldViolation};
use crate::proto::duplicates;
use crate::redact;
use crate::rpc::errors::invalid;

/// The prefix of prost-reflect's error about an unknown name, which follows in quotes.
const UNKNOWN: &str = "unrecognized field name '";

/// Reads proto3 JSON strictly, in either spelling of names, and returns the encoded message. Empty text is `{}`.
///
/// # Errors
/// [`Error::Invalid`] with the path of the invalid field.
pub fn read(kind: &MessageDescriptor, text: &[u8]) -> Result<Vec<u8>, Error> {
    if let Some(twice) = duplicates::find(kind, text) {
        return Err(invalid(FieldViolation::new(twice.field, twice.why)));
    }
    parse(kind, text, &DeserializeOptions::new()).map_err(invalid)
}

/// Reads the response of a server that may be newer: unknown fields are ignored.
///
/// # Errors
/// [`Error::Invalid`] with the path of the invalid field.
pub fn read_answer(kind: &MessageDescriptor, text: &[u8]) -> Result<Vec<u8>, Error> {
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    parse(kind, text, &options).map_err(invalid)
}

/// Prints an encoded message as proto3 JSON: lowerCamelCase, enums by name, unknown ones by number, zero values
/// omitted.
///
/// # Errors
/// [`Error::Invalid`] if it is no such message, or has no JSON form.
pub fn print(kind: &MessageDescriptor, message: &[u8]) -> Result<Vec<u8>, Error> {
    print_decoded(&decode(kind, message)?)
}

/// # Errors
/// [`Error::Invalid`] if it is no such message.
pub fn decode(kind: &MessageDescriptor, message: &[u8]) -> Result<DynamicMessage, Error> {
    DynamicMessage::decode(kind.clone(), message).map_err(|error| {
        let why = format!("this is no {}: {error}", kind.full_name());
        invalid(FieldViolation::new("", why))
    })
}

/// Prints a message as [`print()`] does.
///
/// # Errors
/// [`Error::Invalid`] if it has no JSON form.
pub fn print_decoded(message: &DynamicMessage) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(message).map_err(|error| {
        let kind = message.descriptor();
        let why = format!("{} has no JSON form: {error}", kind.full_name());
        invalid(FieldViolation::new("", why))
    })
}

fn parse(
    kind: &MessageDescriptor,
    text: &[u8],
    options: &DeserializeOptions,
) -> Result<Vec<u8>, FieldViolation> {
    if text.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let mut track = serde_path_to_error::Track::new();
    let input = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let message = DynamicMessage::deserialize_with_options(kind.clone(), input, options);
    let message = message.map_err(|error| violation(track.path().to_string(), &error))?;
    json.end()
        .map_err(|error| FieldViolation::new("", error.to_string()))?;
    Ok(message.encode_to_vec())
}

fn violation(path: String, error: &serde_json::Error) -> FieldViolation {
    // An error of syntax, such as a missing brace, has a dot or a question mark as its path.
    let path = path.trim_end_matches('?').trim_end_matches('.');
    let why = error.to_string();
    match why
        .strip_prefix(UNKNOWN)
        .and_then(|rest| rest.split_once('\''))
    {
        Some((name, rest)) => {
            // The path may include the name or not.
            let field = match path {
                "" => name.to_owned(),
                path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
                path => format!("{path}.{name}"),
            };
            let field = redact::without_secrets(&field);
            FieldViolation::new(field, format!("unknown field{rest}"))
        }
        None => FieldViolation::new(redact::without_secrets(path), plain(&why)),
    }
}

/// Parsers of numbers name internal conversions. A string of the wrong type is not repeated.
fn plain(why: &str) -> String {
    redact::without_texts(why).replace(
        "out of range integral type conversion attempted",
        "a number out of range",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wsman::{StartWorkspaceRequest, WorkspaceStatus};
    use crate::rpc::methods::Methods;

    fn kind(method: &str) -> MessageDescriptor {
        let methods = Methods::load().unwrap();
        methods
            .find(&format!("/rpc/{method}"))
            .unwrap()
            .input
            .clone()
    }

    #[test]
    fn both_spellings_are_read() {
        let kind = kind("StartWorkspace");
        for text in [
            r#"{"id": "a", "servicePrefix": "p", "spec": {"workspaceImage": "i"}}"#,
            r#"{"id": "a", "service_prefix": "p", "spec": {"workspace_image": "i"}}"#,
        ] {
            let bytes = read(&kind, text.as_bytes()).unwrap();
            let request = StartWorkspaceRequest::decode(bytes.as_slice()).unwrap();
            assert_eq!(request.service_prefix, "p");
            assert_eq!(request.spec.unwrap().workspace_image, "i");
        }
        assert!(read(&kind, b" \n").unwrap().is_empty());
    }

    #[test]
    fn faults_name_their_field() {
        let kind = kind("StartWorkspace");
        for (text, field, why) in [
            (r#"{"idd": "a"}"#, "idd", "unknown field at line 1 column 6"),
            (r#"{"spec": {"x": 1}}"#, "spec.x", "unknown field"),
            (
                r#"{"spec": {"envvars": [{"name": "A"}, {"nam": "B"}]}}"#,
                "spec.envvars[1].nam",
                "unknown field",
            ),
            (r#"{"id": 7}"#, "id", "invalid type: integer `7`"),
            (
                r#"{"spec": {"ports": [{"port": -1}]}}"#,
                "spec.ports[0].port",
                "a number out of range",
            ),
            (r#"{"type": "WRONG"}"#, "type", "unrecognized enum value"),
            (r#"{"id": "a""#, "", "EOF while parsing"),
            (r#"{"id": "a"} x"#, "", "trailing characters"),
            (r#"["id"]"#, "", "invalid type: sequence"),
            ("null", "", "invalid type: null"),
            ("\"\u{fffd}", "", "EOF while parsing a string"),
        ] {
            let Err(Error::Invalid { violations, .. }) = read(&kind, text.as_bytes()) else {
                panic!("{text} was read")
            };
            assert_eq!(violations[0].field, field, "{text}: {violations:?}");
            assert!(violations[0].why.contains(why), "{text}: {violations:?}");
        }
        let deep = format!("{}1{}", "{\"spec\":".repeat(100_000), "}".repeat(100_000));
        assert!(read(&kind, deep.as_bytes()).is_err());
    }

    #[test]
    fn a_value_without_a_name_is_a_number() {
        let methods = Methods::load().unwrap();
        let kind = &methods.find("/rpc/DescribeWorkspace").unwrap().output;
        let status = WorkspaceStatus {
            id: "a".to_owned(),
            phase: 99,
            status_version: 1 << 60,
            ..Default::default()
        };
        let answer = crate::proto::wsman::DescribeWorkspaceResponse {
            status: Some(status),
            last_activity: "now".to_owned(),
        };
        let text = print(kind, &answer.encode_to_vec()).unwrap();
        let text = String::from_utf8(text).unwrap();
        let wanted = r#"{"status":{"id":"a","phase":99,"statusVersion":"1152921504606846976"},"lastActivity":"now"}"#;
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&text), value(wanted));
        assert_eq!(
            read_answer(kind, text.as_bytes()).unwrap(),
            answer.encode_to_vec()
        );
        assert!(read_answer(kind, br#"{"newer": [1]}"#).unwrap().is_empty());
        assert!(print(kind, &[0x0a, 0xff]).is_err());
    }
}
