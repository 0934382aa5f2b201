//! The ports of a workspace: its own, and the rules for those that it exposes.

use crate::error::FieldViolation;
use crate::proto::wsman::{PortProtocol, PortSpec, PortVisibility};

pub(super) const IDE_PORT: u16 = 23000;
pub(super) const SUPERVISOR_PORT: u16 = 22999;
/// Most ports of one workspace: an EndpointSlice of a Service has no more.
pub(super) const MAX_PORTS: usize = 100;
/// The regular expression of port numbers, 1 to 65535.
pub const PORT: &str =
    "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

/// Returns the violations of exposing a port: the IDE and the supervisor have their own Services, behind the admission.
pub(super) fn exposed_faults(field: &str, port: &PortSpec) -> Vec<FieldViolation> {
    let mut faults = faults(field, port);
    let whose = match u16::try_from(port.port) {
        Ok(IDE_PORT) => "the IDE",
        Ok(SUPERVISOR_PORT) => "the supervisor",
        _ => return faults,
    };
    let why = format!(
        "is {}, the port of {whose}, which cannot be exposed",
        port.port
    );
    faults.push(FieldViolation::new(format!("{field}.port"), why));
    faults
}

/// Returns the violations of a port.
pub(super) fn faults(field: &str, port: &PortSpec) -> Vec<FieldViolation> {
    let mut faults = Vec::new();
    let mut add = |name: &str, why: String| {
        faults.push(FieldViolation::new(format!("{field}.{name}"), why));
    };
    let out_of_range = |n: i32| format!("value {n} is out of range");
    if !(1..=65_535).contains(&port.port) {
        add("port", format!("is {}; must be 1 to 65535", port.port));
    }
    if port.target > 65_535 {
        let why = format!(
            "is {}; must be 1 to 65535, or 0 for the port itself",
            port.target
        );
        add("target", why);
    }
    if PortVisibility::try_from(port.visibility).is_err() {
        add("visibility", out_of_range(port.visibility));
    }
    if PortProtocol::try_from(port.protocol).is_err() {
        add("protocol", out_of_range(port.protocol));
    }
    faults
}
