//! The trace that a workspace was started in: what the caller told is passed on with every update (W3C Trace Context).

/// Name of the metadata of a call, and of the header of an update.
pub const TRACEPARENT: &str = "traceparent";

/// Digits of a version, a trace, a span and the flags.
const PARTS: [usize; 4] = [2, 32, 16, 2];

/// Returns `text` if it names a span of a trace: `<version>-<trace>-<span>-<flags>`, in lower case. What later versions
/// append is taken along; version ff and identifiers of zeros only are invalid.
pub fn parent(text: &str) -> Option<&str> {
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
}
