//! The trace of a workspace's start: the caller's trace is passed on with every update, as W3C Trace Context and, for
//! programs of the classic manager, in Jaeger's format.

use std::sync::Arc;

use super::marks;

/// Name of a call's metadata, and of an update's header (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";
/// The same in Jaeger's format.
pub const JAEGER: &str = "uber-trace-id";

/// The trace of a start, in each format of its caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    parent: Option<Arc<str>>,
    jaeger: Option<Arc<str>>,
}

impl Trace {
    /// Reads valid values; invalid ones count as absent. `get` returns the text of a name.
    pub fn read<'a>(get: impl Fn(&'static str) -> Option<&'a str>) -> Self {
        Self {
            parent: get(TRACEPARENT).and_then(parent).map(Arc::from),
            jaeger: get(JAEGER).and_then(jaeger).map(Arc::from),
        }
    }

    /// Returns the header of each known format.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let pairs = [(TRACEPARENT, &self.parent), (JAEGER, &self.jaeger)];
        let pairs = pairs.into_iter();
        pairs.filter_map(|(name, text)| Some((name, text.as_deref()?)))
    }
}

/// Returns the annotation for a header.
pub(super) fn annotation(header: &str) -> &'static str {
    match header {
        JAEGER => marks::annotation::UBER_TRACE_ID,
        _ => marks::annotation::TRACEPARENT,
    }
}

/// Digits of the version, the trace, the span and the flags.
const PARTS: [usize; 4] = [2, 32, 16, 2];

/// Returns `text` if it is a valid span: `<version>-<trace>-<span>-<flags>`, in lower case. It keeps what later
/// versions append; version ff and identifiers of zeros are invalid.
fn parent(text: &str) -> Option<&str> {
    let mut parts = text.split('-');
    for digits in PARTS {
        let part = parts.next()?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_zero = digits > 2 && part.bytes().all(|byte| byte == b'0');
        if part.len() != digits || !part.bytes().all(is_hex) || is_zero {
            return None;
        }
    }
    let is_whole = parts.next().is_none() || !text.starts_with("00-");
    (is_whole && !text.starts_with("ff-") && text.len() <= LONGEST).then_some(text)
}

/// Longest value that is passed on.
const LONGEST: usize = 256;

/// Returns `<trace>:<span>:<parent>:<flags>`, in hexadecimal digits, if `text` is valid. Jaeger's HTTP clients escape
/// the colons; identifiers may lack leading zeros, and only that of the parent may be zero.
fn jaeger(text: &str) -> Option<String> {
    if text.len() > LONGEST {
        return None;
    }
    let text = text.replace("%3A", ":").replace("%3a", ":");
    let parts: Vec<&str> = text.split(':').collect();
    let [trace, span, parent, flags] = parts[..] else {
        return None;
    };
    let is_hex = |part: &str, longest| {
        (1..=longest).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let names_a_span = is_hex(trace, 32)
        && is_hex(span, 16)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && !is_zero(trace)
        && !is_zero(span);
    names_a_span.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_a_span_is_passed_on() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let later = format!("01{}-more", &good[2..]);
        for text in [good, &later] {
            assert_eq!(parent(text), Some(text));
        }
        let (zero_trace, zero_span) = ("0".repeat(32), "0".repeat(16));
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            &format!("00-{zero_trace}-00f067aa0ba902b7-01"),
            &format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{zero_span}-01"),
            &format!("01{}-{}", &good[2..], "x".repeat(256)),
        ] {
            assert_eq!(parent(text), None, "{text:?}");
        }
    }

    #[test]
    fn jaeger_names_a_span_in_several_ways() {
        let good = "4bf92f3577b34da6a3ce929d0e0e4736:f067aa0ba902b7:0:1";
        for (text, read) in [
            (good, good),
            ("a3CE929d0e0e4736:1:1:0f", "a3CE929d0e0e4736:1:1:0f"),
            ("1%3A2%3a0%3A1", "1:2:0:1"),
        ] {
            assert_eq!(jaeger(text).as_deref(), Some(read));
        }
        let long = "0".repeat(LONGEST);
        for text in [
            "",
            "garbage",
            ":::",
            "1:2:0",
            "1:2:0:1:1",
            "1:2:0:g",
            "0:2:0:1",
            "1:0:0:1",
            "1:2::1",
            "1:2:0:001",
            "1:2:0:1\n",
            "14bf92f3577b34da6a3ce929d0e0e4736:2:0:1",
            "1:10f067aa0ba902b70:0:1",
            &long,
        ] {
            assert_eq!(jaeger(text), None, "{text:?}");
        }
    }

    #[test]
    fn each_format_is_read_by_itself() {
        let get = |name| Some(if name == JAEGER { "1:2:0:1" } else { "garbage" });
        let trace = Trace::read(get);
        assert_eq!(trace.headers().collect::<Vec<_>>(), [(JAEGER, "1:2:0:1")]);
        assert_eq!(Trace::read(|_| None), Trace::default());
        assert_eq!(Trace::default().headers().count(), 0);
    }
}
