//! Instance ids: label values, so that no id is selector syntax (F-H3).

use crate::error::{Error, FieldViolation};
use crate::redact::show;

/// Longest id: it is a label value.
const LONGEST: usize = 63;

/// Validates the `id` of a request for a workspace.
///
/// # Errors
/// [`Error::Invalid`] if no workspace can have that id.
pub fn check(id: &str) -> Result<(), Error> {
    match fault(id) {
        None => Ok(()),
        Some(fault) => Err(invalid(vec![fault])),
    }
}

/// Returns the error of a request with these violations.
pub(super) fn invalid(violations: Vec<FieldViolation>) -> Error {
    let texts: Vec<String> = violations
        .iter()
        .map(|v| format!("{}: {}", v.field, v.why))
        .collect();
    Error::Invalid {
        message: format!("invalid request: {}", texts.join("; ")),
        violations,
    }
}

/// Returns why no workspace can have an id.
pub(super) fn fault(id: &str) -> Option<FieldViolation> {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = id.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let why = match bytes {
        [] => "cannot be blank".to_owned(),
        _ if bytes.len() > LONGEST => {
            format!("has {} bytes, at most {LONGEST} are possible", bytes.len())
        }
        _ if edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner) => return None,
        _ => format!(
            "{} is no id: letters, digits, '-', '_' and '.' inside",
            show(id)
        ),
    };
    Some(FieldViolation::new("id", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_label_values() {
        for id in [
            "a",
            "7e5b0f0e-1d4c-4d0a-9d57-3f0d6b7f2a10",
            "A_b.c",
            &"x".repeat(63),
        ] {
            assert!(check(id).is_ok(), "{id}");
        }
        for id in [
            "",
            "-a",
            "a-",
            "a,b=c",
            "!x",
            "a/b",
            "../x",
            "a b",
            "\u{e4}",
            "a\0",
            "a\n",
            &"x".repeat(64),
        ] {
            let Err(Error::Invalid { violations, .. }) = check(id) else {
                panic!("{id:?} passed")
            };
            assert_eq!(violations[0].field, "id");
        }
    }
}
