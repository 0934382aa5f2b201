//! Kubernetes quantities ("900m", "5Gi", "1e3"), parsed strictly and compared exactly.

use std::cmp::Ordering;
use std::fmt;

/// An amount with the text it was read from.
#[derive(Debug, Clone)]
pub struct Quantity {
    text: String,
    nanos: i128,
}

/// Why a text is no quantity, in the words of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// It has invalid characters.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// It has an invalid suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// It does not fit 63 bits.
    #[error("quantity is out of range")]
    Range,
}

impl InvalidQuantity {
    /// Returns what to write instead of an invalid quantity.
    pub fn advice(self, text: &str) -> String {
        if self == Self::Range {
            return "it is too large".to_owned();
        }
        let body: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let number_len = body
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(body.len());
        let (number, unit) = body.split_at(number_len);
        let unit = unit.to_lowercase();
        let letters = unit.trim_end_matches("ytes").trim_end_matches("yte");
        let letters = letters.strip_suffix('b').unwrap_or(letters);
        let known = [
            "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "",
        ];
        let near = known.iter().find(|known| known.to_lowercase() == letters);
        let meant = near.map(|unit| format!("{number}{unit}"));
        match meant.filter(|meant| Quantity::parse(meant).is_ok()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => "must be a number with a unit of Kubernetes (m, k, M, G, T, Ki, Mi, Gi, Ti) or none, \
                     such as \"500m\" or \"2Gi\""
                .to_owned(),
        }
    }
}

const NANOS: i128 = 1_000_000_000;

impl Quantity {
    /// Parses a quantity.
    ///
    /// # Errors
    /// [`InvalidQuantity`]; also for numbers out of range, which Kubernetes caps.
    pub fn parse(text: &str) -> Result<Self, InvalidQuantity> {
        let (negative, body) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let number_len = body
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(body.len());
        let (number, suffix) = body.split_at(number_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(InvalidQuantity::Format);
        }
        let scale = scale(suffix)?;
        let nanos = nanos(whole, fraction, scale).ok_or(InvalidQuantity::Range)?;
        Ok(Self {
            text: text.to_owned(),
            nanos: if negative { -nanos } else { nanos },
        })
    }

    /// Returns the regular expression of non-negative quantities. It cannot limit their size.
    pub fn pattern() -> &'static str {
        r"(\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)|-(0+(\.0*)?|\.0+))([numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]+)?"
    }

    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Returns whether it has no fraction.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANOS == 0
    }

    /// Returns whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Returns the quantity in whole units, such as bytes or cores, rounded up (away from zero) as in Kubernetes.
    pub fn value(&self) -> i64 {
        let up = if self.nanos < 0 { 1 - NANOS } else { NANOS - 1 };
        // In range: `nanos` was checked to be within 63 bits of units.
        i64::try_from((self.nanos + up) / NANOS).unwrap_or(i64::MAX)
    }

    /// Returns the text as it was read.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The factor of a suffix: a power of ten or of two.
#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

fn scale(suffix: &str) -> Result<Scale, InvalidQuantity> {
    Ok(match suffix {
        "n" => Scale::Ten(-9),
        "u" => Scale::Ten(-6),
        "m" => Scale::Ten(-3),
        "" => Scale::Ten(0),
        "k" => Scale::Ten(3),
        "M" => Scale::Ten(6),
        "G" => Scale::Ten(9),
        "T" => Scale::Ten(12),
        "P" => Scale::Ten(15),
        "E" => Scale::Ten(18),
        "Ki" => Scale::Two(10),
        "Mi" => Scale::Two(20),
        "Gi" => Scale::Two(30),
        "Ti" => Scale::Two(40),
        "Pi" => Scale::Two(50),
        "Ei" => Scale::Two(60),
        _ => return exponent(suffix),
    })
}

/// Parses `e` or `E`, a sign and digits; otherwise returns one of Kubernetes' two errors.
fn exponent(suffix: &str) -> Result<Scale, InvalidQuantity> {
    let letters = suffix
        .find(|c: char| !"eEinumkKMGTP".contains(c))
        .unwrap_or(suffix.len());
    let (letters, signed) = suffix.split_at(letters);
    let digits = signed.strip_prefix(['+', '-']).unwrap_or(signed);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidQuantity::Format);
    }
    if !matches!(letters, "e" | "E") || digits.is_empty() {
        return Err(InvalidQuantity::Suffix);
    }
    signed
        .parse()
        .ok()
        .filter(|power: &i32| power.abs() <= 64)
        .map(Scale::Ten)
        .ok_or(InvalidQuantity::Range)
}

/// Computes `whole.fraction`, rounded up to whole nanos; `None` if it does not fit.
fn nanos(whole: &str, fraction: &str, scale: Scale) -> Option<i128> {
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    if digits.len() > 30 {
        return None;
    }
    let mantissa: i128 = digits.parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    let (mantissa, power) = match scale {
        Scale::Ten(power) => (mantissa, power - places + 9),
        Scale::Two(bits) => (mantissa.checked_mul(1 << bits)?, 9 - places),
    };
    let nanos = if power >= 0 {
        mantissa.checked_mul(10i128.checked_pow(power.unsigned_abs())?)?
    } else {
        match 10i128.checked_pow(power.unsigned_abs()) {
            Some(divisor) => mantissa / divisor + i128::from(mantissa % divisor != 0),
            None => 1,
        }
    };
    (nanos <= i128::from(i64::MAX) * NANOS).then_some(nanos)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_amounts_are_equal() {
        for (a, b) in [
            ("1", "1000m"),
            ("1Ki", "1024"),
            ("1000M", "1G"),
            ("1e3", "1k"),
            ("1E3", "1k"),
            ("1.5Gi", "1610612736"),
            ("0.0000001", "100n"),
            ("+1", "1"),
            (".5", "500m"),
            ("5.", "5"),
            ("1e-3", "1m"),
            ("0.1n", "1n"),
            ("-1Ki", "-1024"),
            ("9223372036854775807", "9223372036854775807000m"),
        ] {
            assert_eq!(Quantity::parse(a), Quantity::parse(b), "{a} = {b}");
        }
        assert!(Quantity::parse("999m").unwrap() < Quantity::parse("1").unwrap());
    }

    #[test]
    fn whole_units_are_rounded_up() {
        for (text, value) in [
            ("1m", 1),
            ("1500m", 2),
            ("-1500m", -2),
            ("0", 0),
            ("5Gi", 5 << 30),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().value(), value, "{text}");
        }
    }

    #[test]
    fn refuses_what_kubernetes_refuses() {
        use InvalidQuantity::{Format, Range, Suffix};
        for (text, why) in [
            ("", Format),
            ("x", Format),
            ("1 Gi", Format),
            ("1.2.3", Format),
            ("12xx", Format),
            ("--1", Format),
            (".", Format),
            ("1Gib", Format),
            ("\u{661}", Format),
            ("1mm", Suffix),
            ("1ki", Suffix),
            ("1e", Suffix),
            ("1Ki5", Suffix),
            ("1e400", Range),
            ("10E", Range),
            ("9223372036854775808", Range),
        ] {
            assert_eq!(Quantity::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn advice_has_what_to_write_instead() {
        for (text, advice) in [
            ("1Gib", "did you mean \"1Gi\"?"),
            ("1 GB", "did you mean \"1G\"?"),
            ("10kb", "did you mean \"10k\"?"),
            ("64 megabytes", "must be a number"),
            ("2 Gi", "did you mean \"2Gi\"?"),
            ("5mi", "did you mean \"5Mi\"?"),
            ("10 bytes", "did you mean \"10\"?"),
            ("two", "must be a number"),
            ("1e400", "it is too large"),
        ] {
            let invalid = Quantity::parse(text).unwrap_err();
            assert!(
                invalid.advice(text).starts_with(advice),
                "{text}: {}",
                invalid.advice(text)
            );
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in ".{0,40}") {
            if let Err(invalid) = Quantity::parse(&text) {
                let _ = invalid.advice(&text);
            }
        }

        #[test]
        fn amounts_are_exact(
            negative: bool,
            whole in 0..1_000_000_000u64,
            fraction in 0..1000u32,
            unit in 0..16usize,
        ) {
            const UNITS: [&str; 16] =
                ["n", "u", "m", "", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
            let sign = if negative { "-" } else { "" };
            let text = format!("{sign}{whole}.{fraction:03}{}", UNITS[unit]);
            // In thousandths of the unit, and then in thousandths of a nano.
            let mantissa = i128::from(whole) * 1000 + i128::from(fraction);
            let exact = match unit {
                0..10 => 10i128.checked_pow(3 * u32::try_from(unit).unwrap()).and_then(|s| mantissa.checked_mul(s)),
                _ => 1024i128.checked_pow(u32::try_from(unit).unwrap() - 9)
                    .and_then(|s| mantissa.checked_mul(s)?.checked_mul(NANOS)),
            };
            let nanos = exact.map(|e| e / 1000 + i128::from(e % 1000 != 0));
            match nanos.filter(|n| *n <= i128::from(i64::MAX) * NANOS) {
                None => prop_assert_eq!(Quantity::parse(&text), Err(InvalidQuantity::Range)),
                Some(nanos) => {
                    let quantity = Quantity::parse(&text).unwrap();
                    prop_assert_eq!(quantity.nanos, if negative { -nanos } else { nanos });
                    prop_assert_eq!(quantity.is_zero(), mantissa == 0);
                    let up = nanos / NANOS + i128::from(nanos % NANOS != 0);
                    prop_assert_eq!(i128::from(quantity.value().abs()), up);
                }
            }
        }

        #[test]
        fn the_pattern_is_the_grammar(text in "[+-]?[0-9.]{0,4}([eEinumkKMGTP]{0,2}|[eE][+-]?[0-9]{0,2})") {
            let schema = serde_json::json!({ "pattern": format!("^({})$", Quantity::pattern()) });
            let quantity = Quantity::parse(&text);
            prop_assume!(quantity != Err(InvalidQuantity::Range));
            let not_negative = quantity.is_ok_and(|quantity| !quantity.is_negative());
            prop_assert_eq!(jsonschema::is_valid(&schema, &text.into()), not_negative);
        }

        #[test]
        fn whatever_looks_like_a_quantity_is_judged(text in "[+-]?[0-9.]{0,40}[eEinumkKMGTP]{0,2}[+-]?[0-9]{0,5}") {
            if let Ok(quantity) = Quantity::parse(&text) {
                prop_assert_eq!(Quantity::parse(quantity.as_str()), Ok(quantity.clone()));
                prop_assert!(quantity.value() != i64::MIN);
            }
        }
    }
}
