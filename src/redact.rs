//! How messages show a value: quoted, escaped, shortened, and without possible secrets.
//!
//! People put secrets into the wrong place: a password in front of a registry's name, `NAME=VALUE` instead of a name, a
//! token in a URL. A message about the mistake goes to logs and tickets; the secret must not.

/// Longest value that is shown whole, in characters.
const MAX: usize = 64;
/// Placeholder of what is omitted.
const HIDDEN: &str = "\u{2026}";

/// Returns a value for a message.
pub fn show(value: &str) -> String {
    let shown = without_secrets(value);
    match shown.char_indices().nth(MAX) {
        Some((end, _)) => format!("{:?}\u{2026} ({} bytes)", &shown[..end], value.len()),
        None => format!("{shown:?}"),
    }
}

/// Returns an error of a JSON reader without its quotes, which are parts of the input.
pub fn without_texts(error: &str) -> String {
    let mut left = error.to_owned();
    for (before, quote) in [("string \"", '"'), ("enum value '", '\'')] {
        if let Some(begin) = left.find(before).map(|at| at + before.len())
            && let Some(end) = left.rfind(quote).filter(|end| *end >= begin)
        {
            left.replace_range(begin..end, HIDDEN);
        }
    }
    left
}

/// Omits possible secrets: what precedes an `@` that is no digest's, and what follows a `=` or the first word of a
/// credential.
pub fn without_secrets(value: &str) -> String {
    if value.contains("-----BEGIN") {
        return HIDDEN.to_owned();
    }
    let credential = ["bearer ", "basic ", "token "].iter().find(|word| {
        let begin = value.get(..word.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(word))
    });
    if let Some(word) = credential {
        return format!("{}{HIDDEN}", &value[..word.len()]);
    }
    let value = match user_info(value) {
        None => value.to_owned(),
        Some((scheme, rest)) => format!("{scheme}{HIDDEN}@{rest}"),
    };
    match value.split_once('=') {
        Some((name, rest)) if !rest.is_empty() => format!("{name}={HIDDEN}"),
        _ => value,
    }
}

/// Returns what stands before and after `user:password@`, or `token@` behind a scheme.
fn user_info(value: &str) -> Option<(&str, &str)> {
    let begin = value.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = value.split_at(begin);
    let (at, _) = rest
        .match_indices('@')
        .rfind(|(at, _)| !is_digest(&rest[at + 1..]))?;
    // A mail address has no secret.
    (!scheme.is_empty() || rest[..at].contains(':')).then(|| (scheme, &rest[at + 1..]))
}

/// Returns what precedes the `@` of an image or a URL, if it may be a secret.
pub fn credentials(value: &str) -> Option<&str> {
    let (scheme, rest) = user_info(value)?;
    let end = value.len() - rest.len();
    value.get(scheme.len()..end.saturating_sub(1))
}

/// Whether this follows the `@` of an image: an algorithm and hexadecimal digits.
pub fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, digits)| {
        matches!(algorithm, "sha256" | "sha384" | "sha512")
            && !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out() {
        for (value, shown) in [
            (
                "user:hunter2@registry.example.com/image:1",
                "\"…@registry.example.com/image:1\"",
            ),
            (
                "user:hunter2@host/image@sha256:0a1b",
                "\"…@host/image@sha256:0a1b\"",
            ),
            ("https://user:hunter2@host/path", "\"https://…@host/path\""),
            ("https://hunter2@host/path", "\"https://…@host/path\""),
            ("amqp://user:hun@ter2@host", "\"amqp://…@host\""),
            (
                "https://host/path?token=hunter2",
                "\"https://host/path?token=…\"",
            ),
            ("NAME=hunter2", "\"NAME=…\""),
            ("Bearer hunter2", "\"Bearer …\""),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2", "\"…\""),
        ] {
            assert_eq!(show(value), shown);
        }
    }

    #[test]
    fn credentials_are_found() {
        for (value, secret) in [
            (
                "user:hun@ter2@registry/image@sha256:0a1b",
                Some("user:hun@ter2"),
            ),
            ("https://hunter2@host/path", Some("hunter2")),
            ("registry/image@sha256:0a1b", None),
            ("jane@example.com", None),
        ] {
            assert_eq!(credentials(value), secret);
        }
    }

    #[test]
    fn texts_of_readers_are_left_out() {
        for (error, shown) in [
            (
                "invalid type: string \"hun\\\"ter2\", expected a list at line 1 column 9",
                "invalid type: string \"…\", expected a list at line 1 column 9",
            ),
            (
                "unrecognized enum value 'hunter2'",
                "unrecognized enum value '…'",
            ),
            ("EOF while parsing a string", "EOF while parsing a string"),
        ] {
            assert_eq!(without_texts(error), shown);
        }
    }

    #[test]
    fn what_holds_none_is_shown_whole() {
        for value in [
            "",
            "a b",
            "jane@example.com",
            "registry:5000/image:1@sha256:0a1b",
            "https://example.com:8080/path",
            "a\nb",
            "NAME=",
            "basically",
        ] {
            assert_eq!(show(value), format!("{value:?}"));
        }
        assert_eq!(
            show(&"x".repeat(65)),
            format!("{:?}… (65 bytes)", "x".repeat(64))
        );
    }
}
