//! The one place where the embedded API server reads the clock.

use jiff::{SignedDuration, Timestamp};

/// Now, truncated to whole seconds: the precision of `metav1.Time`.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Microseconds since 2026, the first revision of a store. So a new store is ahead of any earlier one, and an earlier
/// resourceVersion is recognised as too old.
pub(crate) fn first_revision() -> u64 {
    const YEAR_2026: i64 = 1_767_225_600;
    let micros = Timestamp::now().as_microsecond() - YEAR_2026 * 1_000_000;
    u64::try_from(micros).unwrap_or(0) + 1
}

/// `metav1.Time` as JSON text.
pub(crate) fn text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `time` moved by whole seconds; saturates on invalid input.
pub(crate) fn plus(time: Timestamp, seconds: i64) -> Timestamp {
    let end = if seconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    time.checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(end)
}

/// The age of the RFC 3339 text, as `kubectl get` prints it ("5m3s", "4h", "12d").
pub(crate) fn age(text: Option<&str>) -> String {
    let Some(then) = text.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "<unknown>".into();
    };
    let seconds = now().duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let both = |big: i64, unit: char, small: i64, sub: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{sub}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => both(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => both(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => both(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => both(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}
