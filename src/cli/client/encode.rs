//! Statuses for programs: proto3 JSON without secrets, and with enum numbers that this program has no name for.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::words::HIDDEN;
use crate::proto::wsman::*;

/// A status as programs get it.
pub(super) struct Encoded {
    /// Every enum number in it has a name.
    status: WorkspaceStatus,
    /// The numbers without a name: where they belong (JSON pointer), field, number.
    numbers: Vec<(String, &'static str, i32)>,
}

impl Encoded {
    /// Prepares a status; the owner token is replaced by a remark unless `show_token`.
    pub(super) fn new(mut status: WorkspaceStatus, show_token: bool) -> Self {
        redact(&mut status, show_token);
        let numbers = take_numbers(&mut status);
        Self { status, numbers }
    }
}

impl Serialize for Encoded {
    /// The generated code refuses unknown enum numbers, but a newer server may well send one; the protocol's JSON
    /// writes it as a number.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.numbers.is_empty() {
            return self.status.serialize(serializer);
        }
        let mut value = serde_json::to_value(&self.status).map_err(serde::ser::Error::custom)?;
        for (place, field, number) in &self.numbers {
            if let Some(Value::Object(object)) = value.pointer_mut(place) {
                object.insert((*field).to_owned(), (*number).into());
            }
        }
        value.serialize(serializer)
    }
}

/// Replaces the owner token by a remark, unless it was asked for.
pub(super) fn redact(status: &mut WorkspaceStatus, show_token: bool) {
    if let Some(auth) = &mut status.auth
        && !show_token
        && !auth.owner_token.is_empty()
    {
        auth.owner_token = HIDDEN.to_owned();
    }
}

/// Takes out every enum number without a name.
fn take_numbers(status: &mut WorkspaceStatus) -> Vec<(String, &'static str, i32)> {
    let mut numbers = Vec::new();
    let mut take = |place: &str, field: &'static str, number: &mut i32, known: fn(i32) -> bool| {
        if !known(*number) {
            numbers.push((place.to_owned(), field, std::mem::take(number)));
        }
    };
    take("", "phase", &mut status.phase, WorkspacePhase::is_valid);
    if let Some(spec) = &mut status.spec {
        take("/spec", "type", &mut spec.r#type, WorkspaceType::is_valid);
        for (index, port) in spec.exposed_ports.iter_mut().enumerate() {
            let place = format!("/spec/exposedPorts/{index}");
            take(
                &place,
                "visibility",
                &mut port.visibility,
                PortVisibility::is_valid,
            );
            take(
                &place,
                "protocol",
                &mut port.protocol,
                PortProtocol::is_valid,
            );
        }
    }
    if let Some(auth) = &mut status.auth {
        take(
            "/auth",
            "admission",
            &mut auth.admission,
            AdmissionLevel::is_valid,
        );
    }
    if let Some(c) = &mut status.conditions {
        let flags = [
            ("pullingImages", &mut c.pulling_images),
            ("finalBackupComplete", &mut c.final_backup_complete),
            ("deployed", &mut c.deployed),
            ("networkNotReady", &mut c.network_not_ready),
            ("stoppedByRequest", &mut c.stopped_by_request),
            ("aborted", &mut c.aborted),
        ];
        for (field, flag) in flags {
            take("/conditions", field, flag, WorkspaceConditionBool::is_valid);
        }
    }
    numbers
}
