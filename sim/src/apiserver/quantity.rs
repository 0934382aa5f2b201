//! Resource quantities in their canonical text: "1000m" is "1", "1024Mi" is "1Gi". Those of the daemon are another program's:
//! this one answers as the API server does, and shares no mistake with what it is asked by.

use serde_json::Value;

/// Fields of a resource requirement that hold quantities by name.
const LISTS: &[&str] = &[
    "limits",
    "requests",
    "capacity",
    "allocatable",
    "allocatedResources",
];
const DECIMAL: &[(&str, i32)] = &[
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: &[&str] = &["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// Rewrites every quantity inside `value`; the error has the invalid text.
pub(crate) fn canonicalize(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(canonicalize),
        Value::Object(fields) => fields.iter_mut().try_for_each(|(name, field)| {
            let Some(quantities) = field
                .as_object_mut()
                .filter(|_| LISTS.contains(&name.as_str()))
            else {
                return if name == "sizeLimit" {
                    rewrite(field)
                } else {
                    canonicalize(field)
                };
            };
            quantities.values_mut().try_for_each(rewrite)
        }),
        _ => Ok(()),
    }
}

fn rewrite(value: &mut Value) -> Result<(), String> {
    if let Some(text) = value.as_str() {
        *value = canonical(text).ok_or_else(|| text.to_owned())?.into();
    }
    Ok(())
}

/// The canonical form, rounded up to a thousandth; None if the text is invalid.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let text = text.trim();
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 30 || fraction.contains('.') {
        return None;
    }
    let mantissa: i128 = digits.parse().ok()?;
    let fraction = u32::try_from(fraction.len()).ok()?;
    let shown = if let Some(power) = BINARY.iter().position(|known| *known == suffix) {
        binary(mantissa, fraction, u32::try_from(power).ok()? + 1)?
    } else {
        let exponent = match DECIMAL.iter().find(|(known, _)| *known == suffix) {
            Some((_, exponent)) => *exponent,
            None => suffix
                .strip_prefix(['e', 'E'])?
                .parse()
                .ok()
                .filter(|exponent| (-64..=64).contains(exponent))?,
        };
        decimal(
            mantissa,
            exponent - i32::try_from(fraction).ok()?,
            suffix.len() > 1,
        )?
    };
    Some(if shown == "0" {
        shown
    } else {
        format!("{sign}{shown}")
    })
}

/// The quantity in thousandths, rounded up; None if the text is invalid.
pub(crate) fn milli(text: &str) -> Option<i128> {
    let text = canonical(text)?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.as_str()),
    };
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let number: i128 = number.parse().ok()?;
    let power = |base: i128, exponent: usize| base.checked_pow(u32::try_from(exponent).ok()?);
    let exponent = || match DECIMAL.iter().find(|(known, _)| *known == suffix) {
        Some((_, exponent)) => Some(*exponent),
        None => suffix.strip_prefix('e')?.parse().ok(),
    };
    let factor = match BINARY.iter().position(|known| *known == suffix) {
        Some(at) => power(1024, at + 1)?.checked_mul(1000)?,
        None => power(10, usize::try_from(exponent()? + 3).ok()?)?,
    };
    let milli = number.checked_mul(factor)?;
    Some(if negative { -milli } else { milli })
}

/// `mantissa / 10^fraction * 1024^power`.
fn binary(mantissa: i128, fraction: u32, power: u32) -> Option<String> {
    let product = mantissa.checked_mul(1024_i128.checked_pow(power)?)?;
    let scale = 10_i128.checked_pow(fraction)?;
    if product % scale != 0 || product / scale < 1024 {
        return decimal(product, -i32::try_from(fraction).ok()?, false);
    }
    let mut bytes = product / scale;
    let mut unit = None;
    for name in BINARY {
        if bytes == 0 || bytes % 1024 != 0 {
            break;
        }
        bytes /= 1024;
        unit = Some(name);
    }
    Some(format!("{bytes}{}", unit.unwrap_or(&"")))
}

/// `mantissa * 10^exponent`, with the largest suffix that leaves no fraction; rounds up to milli.
fn decimal(mut mantissa: i128, mut exponent: i32, scientific: bool) -> Option<String> {
    if mantissa == 0 {
        return Some("0".into());
    }
    while exponent < -3 {
        mantissa = mantissa / 10 + i128::from(mantissa % 10 != 0);
        exponent += 1;
    }
    while mantissa % 10 == 0 {
        mantissa /= 10;
        exponent += 1;
    }
    while exponent % 3 != 0 || exponent > 18 {
        mantissa = mantissa.checked_mul(10)?;
        exponent -= 1;
    }
    if scientific {
        return Some(if exponent == 0 {
            mantissa.to_string()
        } else {
            format!("{mantissa}e{exponent}")
        });
    }
    let (suffix, _) = DECIMAL.iter().find(|(_, known)| *known == exponent)?;
    Some(format!("{mantissa}{suffix}"))
}
