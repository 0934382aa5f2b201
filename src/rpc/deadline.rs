//! The deadline of a call: from its `grpc-timeout`, or from the default (docs/operations.md#limits).

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// The header with a call's timeout.
pub const HEADER: &str = "grpc-timeout";
/// What its value must be.
pub const EXPECTED: &str = "must be at most eight digits and one of H, M, S, m, u, n";
/// Time for the response to travel, so that it arrives before the transport cancels the call.
const MARGIN: Duration = Duration::from_millis(50);

/// The last response is this much before the transport's timeout.
const LAST_MOMENT: Duration = Duration::from_millis(10);
/// Resolution of timers.
const TICK: Duration = Duration::from_millis(2);

/// Returns the caller's deadline.
pub fn of(metadata: &HeaderMap, default: Duration) -> Instant {
    let asked = metadata
        .get(HEADER)
        .and_then(|value| value.to_str().ok())
        .and_then(parse);
    let timeout = asked.unwrap_or(default);
    Instant::now() + timeout.checked_sub(MARGIN).unwrap_or(timeout / 2)
}

/// Returns when to answer at the latest, before the transport answers CANCELLED: at once if the timeout is too short
/// for any work.
pub fn last_moment(timeout: Duration) -> Instant {
    let left = timeout.saturating_sub(LAST_MOMENT.min(timeout / 2));
    Instant::now() + if left < TICK { Duration::ZERO } else { left }
}

/// Reads at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
pub fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_grpc_sends() {
        assert_eq!(parse("100m"), Some(Duration::from_millis(100)));
        assert_eq!(
            parse("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for text in ["", "S", "123456789S", "-1S", "1", "1x", "1.5S", "\u{661}S"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
