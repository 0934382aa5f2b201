//! What a stop by request leaves on the anchor.

use crate::error::{Error, FieldViolation};
use crate::proto::wsman::sessions::v1::StopSessionRequest;

/// Most bytes of a reason.
const LONGEST: usize = 1 << 10;

/// Validates a request.
///
/// # Errors
/// [`Error::Invalid`] if the reason is too long.
pub fn check(request: &StopSessionRequest) -> Result<(), Error> {
    let length = request.reason.len();
    if length <= LONGEST {
        return Ok(());
    }
    let why = format!("has {length} bytes; at most {LONGEST} are allowed");
    Err(Error::Invalid {
        message: format!("invalid request: reason: {why}"),
        violations: vec![FieldViolation::new("reason", why)],
    })
}

/// Returns why the session is stopped, for people.
pub fn text(request: &StopSessionRequest) -> String {
    match request.reason.as_str() {
        "" => "stopped by request".to_owned(),
        reason => format!("stopped by request: {reason}"),
    }
}
