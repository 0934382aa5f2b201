//! Messages for programs: proto3 JSON with the field names of the proto file, as in `explain`, and without secrets.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::words::HIDDEN;
use crate::proto::DESCRIPTORS;
use crate::proto::wsman::*;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).unwrap_or_default());

/// Encodes a message. Unknown numbers of enums stay numbers.
pub(in crate::cli) fn message(name: &str, message: &impl Message) -> Value {
    let options = SerializeOptions::new().use_proto_field_name(true);
    let dynamic = POOL
        .get_message_by_name(name)
        .and_then(|kind| DynamicMessage::decode(kind, message.encode_to_vec().as_slice()).ok());
    let value = dynamic
        .map(|message| message.serialize_with_options(serde_json::value::Serializer, &options));
    // The type and its descriptor are compiled together; only a time after the year 9999 has no JSON form.
    value.and_then(Result::ok).unwrap_or_default()
}

/// Encodes a status; a placeholder replaces the owner token unless `show_token`.
pub(super) fn status(status: &WorkspaceStatus, show_token: bool) -> Value {
    let mut status = status.clone();
    redact(&mut status, show_token);
    message("wsman.WorkspaceStatus", &status)
}

/// Replaces the owner token by a placeholder, unless `show_token`.
pub(super) fn redact(status: &mut WorkspaceStatus, show_token: bool) {
    if let Some(auth) = &mut status.auth
        && !show_token
        && !auth.owner_token.is_empty()
    {
        auth.owner_token = HIDDEN.to_owned();
    }
}
