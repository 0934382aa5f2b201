//! Messages as proto3 JSON with the field names of the proto file.

use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::method;

/// Encodes a message of a full name. Unknown numbers of enums stay numbers.
pub fn encode(name: &str, message: &impl Message) -> Value {
    let options = SerializeOptions::new().use_proto_field_name(true);
    let dynamic = method::message(name)
        .and_then(|kind| DynamicMessage::decode(kind, message.encode_to_vec().as_slice()).ok());
    let value = dynamic
        .map(|message| message.serialize_with_options(serde_json::value::Serializer, &options));
    // The type and its descriptor are compiled together; only a time after the year 9999 has no JSON form.
    value.and_then(Result::ok).unwrap_or_default()
}
