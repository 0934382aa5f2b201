//! Go's duration syntax ("1h30m", "-1.5s", "0"), as in the configuration, requests and marks.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A signed span of time with nanoseconds, at most about 292 years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration {0:?}")]
pub struct InvalidDuration(pub String);

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl GoDuration {
    /// Returns the span of whole seconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Returns the span of nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Returns the span in nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Returns the span for timers; a negative one becomes zero.
    pub fn to_std(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// Parses Go's grammar: an optional sign, then decimal numbers each with a unit; also a bare "0".
    ///
    /// # Errors
    /// [`InvalidDuration`] with the text, also if it does not fit 64 bits of nanoseconds.
    pub fn parse(text: &str) -> Result<Self, InvalidDuration> {
        let invalid = || InvalidDuration(text.to_owned());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let (nanos, tail) = term(rest).ok_or_else(invalid)?;
            total = total
                .checked_add(nanos)
                .filter(|t| *t <= i128::from(i64::MAX) + 1)
                .ok_or_else(invalid)?;
            rest = tail;
        }
        i64::try_from(if negative { -total } else { total })
            .map(Self)
            .map_err(|_| invalid())
    }

    /// Returns the regular expression of non-negative durations. It cannot limit their length.
    pub fn pattern() -> String {
        let names = UNITS.map(|(name, _)| name).join("|");
        let terms = |number: &str| format!("(({number})({names}))+");
        format!(
            r"\+?(0|{})|-(0|{})",
            terms(r"[0-9]+(\.[0-9]*)?|\.[0-9]+"),
            terms(r"0+(\.0*)?|\.0+")
        )
    }
}

/// Parses one `<number><unit>` and returns its nanoseconds, truncated as in Go, and the rest.
fn term(text: &str) -> Option<(i128, &str)> {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let whole_len = digits(text);
    let (whole, mut rest) = text.split_at(whole_len);
    let mut fraction = "";
    if let Some(tail) = rest.strip_prefix('.') {
        (fraction, rest) = tail.split_at(digits(tail));
    }
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_len = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_len);
    let scale = i128::from(UNITS.iter().find(|(name, _)| *name == unit)?.1);
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok().filter(|w| *w <= i128::from(u64::MAX))?
    };
    let mut nanos = whole * scale;
    let mut value = scale;
    for digit in fraction.bytes() {
        value /= 10;
        if value == 0 {
            break;
        }
        nanos += i128::from(digit - b'0') * value;
    }
    Some((nanos, rest))
}

/// Words that people write for units, in seconds.
const WORDS: [(&str, i128); 10] = [
    ("sec", 1),
    ("second", 1),
    ("min", 60),
    ("minute", 60),
    ("hour", 3_600),
    ("hr", 3_600),
    ("d", 86_400),
    ("day", 86_400),
    ("w", 604_800),
    ("week", 604_800),
];

impl InvalidDuration {
    /// Returns what is wrong with the text, without repeating it, and what to write.
    pub fn advice(&self) -> String {
        let text = self.0.trim_start_matches(['-', '+']);
        let tight: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        if tight != text && GoDuration::parse(&tight).is_ok() {
            return format!("write it without spaces: {tight:?}");
        }
        let number_len = tight
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(tight.len());
        let (number, unit) = tight.split_at(number_len);
        let is_number = number.parse::<f64>().is_ok();
        if unit.is_empty() && is_number {
            return format!("it has no unit; write \"{number}s\" for seconds");
        }
        let word = unit.to_lowercase();
        let singular = word.strip_suffix('s').filter(|w| !w.is_empty());
        let known = WORDS
            .iter()
            .find(|(known, _)| word == *known || singular == Some(known));
        if let (Some((_, scale)), Ok(count)) = (known, number.parse::<u32>()) {
            let seconds = i128::from(count) * scale;
            let whole = [("h", 3_600), ("m", 60), ("s", 1)];
            let fits = whole.iter().find(|(_, size)| seconds % size == 0);
            let (unit_, size) = fits.unwrap_or(&("s", 1));
            return format!("{unit:?} is no unit; write \"{}{unit_}\"", seconds / size);
        }
        // With a single digit for each number it fits, unless something else is wrong.
        let mut small = String::new();
        for c in text.chars() {
            if !(c.is_ascii_digit() && small.ends_with('1')) {
                small.push(if c.is_ascii_digit() { '1' } else { c });
            }
        }
        if GoDuration::parse(&small).is_ok() {
            return "it is too long; the longest is \"2562047h\", 292 years".to_owned();
        }
        "a duration is numbers with units (h, m, s, ms, us, ns), such as \"1h30m\"".to_owned()
    }
}

/// Go's form: "1h30m0s", "1.5s", "250ms", "0s".
impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let nanos = self.0.unsigned_abs();
        let (unit, scale) = match nanos {
            0 => return f.write_str("0s"),
            1..1_000 => ("ns", 1),
            1_000..1_000_000 => ("\u{b5}s", 1_000),
            1_000_000..1_000_000_000 => ("ms", 1_000_000),
            _ => ("s", 1_000_000_000),
        };
        let minutes = nanos / 60_000_000_000;
        if minutes >= 60 {
            write!(f, "{}h", minutes / 60)?;
        }
        if minutes > 0 {
            write!(f, "{}m", minutes % 60)?;
        }
        let last = nanos % 60_000_000_000;
        write!(f, "{}", last / scale)?;
        if !last.is_multiple_of(scale) {
            let digits = scale.ilog10() as usize;
            let fraction = format!("{:0digits$}", last % scale);
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str(unit)
    }
}

/// A JSON string in Go's grammar, or a number of nanoseconds.
impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a duration such as \"1h30m\", or nanoseconds as a number"
        )]
        enum Form {
            Nanos(i64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Nanos(nanos) => Ok(Self(nanos)),
            Form::Text(text) => Self::parse(&text).map_err(serde::de::Error::custom),
        }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_prints_what_go_does() {
        for (text, nanos, printed) in [
            ("0", 0, "0s"),
            ("30m", 1_800_000_000_000, "30m0s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("36h", 129_600_000_000_000, "36h0m0s"),
            ("-1.5s", -1_500_000_000, "-1.5s"),
            ("+5s", 5_000_000_000, "5s"),
            ("250ms", 250_000_000, "250ms"),
            ("1.000000001s", 1_000_000_001, "1.000000001s"),
            ("1us", 1_000, "\u{b5}"),
            (".5h", 1_800_000_000_000, "30m0s"),
            ("1.h", 3_600_000_000_000, "1h0m0s"),
            (
                "2562047h47m16.854775807s",
                i64::MAX,
                "2562047h47m16.854775807s",
            ),
        ] {
            let duration = GoDuration::parse(text).unwrap();
            assert_eq!(duration.as_nanos(), nanos, "{text}");
            assert!(duration.to_string().contains(printed), "{text}: {duration}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "-",
            "5",
            "1d",
            "1h 30m",
            ".s",
            "1hh",
            "h",
            "2562047h47m16.854775808s",
            "1e3s",
            "\u{661}s",
        ] {
            assert_eq!(
                GoDuration::parse(text),
                Err(InvalidDuration(text.to_owned()))
            );
        }
    }

    #[test]
    fn advice_has_what_to_write_instead() {
        for (text, advice) in [
            ("30", "it has no unit; write \"30s\" for seconds"),
            ("1.5", "it has no unit; write \"1.5s\" for seconds"),
            ("2d", "\"d\" is no unit; write \"48h\""),
            ("1 week", "\"week\" is no unit; write \"168h\""),
            ("5min", "\"min\" is no unit; write \"5m\""),
            ("90 Seconds", "\"Seconds\" is no unit; write \"90s\""),
            ("1h 30m", "write it without spaces: \"1h30m\""),
            (
                "9000000h",
                "it is too long; the longest is \"2562047h\", 292 years",
            ),
            (
                "-99999999h5m",
                "it is too long; the longest is \"2562047h\", 292 years",
            ),
            (
                "soon",
                "a duration is numbers with units (h, m, s, ms, us, ns), such as \"1h30m\"",
            ),
            (
                "1y",
                "a duration is numbers with units (h, m, s, ms, us, ns), such as \"1h30m\"",
            ),
        ] {
            let invalid = GoDuration::parse(text).unwrap_err();
            assert_eq!(invalid.advice(), advice, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_pattern_is_the_grammar(text in "[-+]?([0-9.]{0,3}(ns|us|\u{b5}s|ms|s|m|h|d| |e|)){0,3}") {
            let schema = serde_json::json!({ "pattern": format!("^({})$", GoDuration::pattern()) });
            let legal = GoDuration::parse(&text).is_ok_and(|duration| duration.as_nanos() >= 0);
            // A duration that is truncated to zero is not negative.
            let is_cut = legal && text.starts_with('-') && text.contains(|c| ('1'..='9').contains(&c));
            prop_assume!(!is_cut);
            prop_assert_eq!(jsonschema::is_valid(&schema, &text.into()), legal);
        }

        #[test]
        fn printed_durations_read_back(nanos in any::<i64>()) {
            let duration = GoDuration::from_nanos(nanos);
            if nanos != i64::MIN {
                prop_assert_eq!(GoDuration::parse(&duration.to_string()), Ok(duration));
            }
        }

        #[test]
        fn reading_never_panics(text in ".{0,40}") {
            if let Err(invalid) = GoDuration::parse(&text) {
                let _ = invalid.advice();
            }
        }

        #[test]
        fn terms_add_up(
            sign in "[+-]?",
            terms in proptest::collection::vec((0..20_000_000_000u64, 0..1000u32, 0..UNITS.len()), 1..4),
        ) {
            let mut text = sign.clone();
            let mut sum = 0i128;
            for (whole, fraction, unit) in terms {
                let (name, scale) = UNITS[unit];
                text.push_str(&format!("{whole}.{fraction:03}{name}"));
                // Fractions of a nanosecond are truncated, digit by digit.
                let digits = [fraction / 100, fraction / 10 % 10, fraction % 10];
                let places = [scale / 10, scale / 100, scale / 1000];
                sum += i128::from(whole) * i128::from(scale);
                sum += digits.iter().zip(places).map(|(d, p)| i128::from(*d) * i128::from(p)).sum::<i128>();
            }
            let sum = if sign == "-" { -sum } else { sum };
            let expected = i64::try_from(sum).map(GoDuration::from_nanos);
            prop_assert_eq!(GoDuration::parse(&text).ok(), expected.ok());
        }

        #[test]
        fn what_is_read_follows_the_grammar(text in "[-+]?([0-9.]{0,4}(ns|us|\u{b5}s|ms|s|m|h|d| |e|)){0,4}") {
            let unsigned = text.trim_start_matches(['-', '+']);
            let units: Vec<&str> = unsigned.split(|c: char| c.is_ascii_digit() || c == '.').filter(|u| !u.is_empty()).collect();
            let numbers: Vec<&str> = unsigned.split(|c: char| !c.is_ascii_digit() && c != '.').filter(|n| !n.is_empty()).collect();
            // Longer ones exceed the 292 years of a duration, whatever the grammar allows.
            prop_assume!(numbers.iter().all(|number| number.len() <= 6));
            let known = |unit: &&str| UNITS.iter().any(|(name, _)| name == unit);
            let number = |n: &&str| n.matches('.').count() <= 1 && n.contains(|c: char| c.is_ascii_digit());
            let begins = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
            let ends = !unsigned.ends_with(|c: char| c.is_ascii_digit() || c == '.');
            let legal = unsigned == "0"
                || begins && ends && units.iter().all(known) && numbers.iter().all(number);
            prop_assert_eq!(GoDuration::parse(&text).is_ok(), legal, "{:?}", text);
        }
    }
}
