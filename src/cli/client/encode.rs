//! Messages for programs: proto3 JSON with the field names of the proto file, as in `explain`, and without secrets.

use serde_json::Value;

use super::words::HIDDEN;
pub(in crate::cli) use crate::proto::named::encode as message;
use crate::proto::wsman::*;

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
