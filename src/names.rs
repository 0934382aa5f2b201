//! Names that Kubernetes accepts, and hashes for those that it does not.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::redact::is_digest;

/// The regular expression of [`is_dns_label`].
pub const DNS_LABEL: &str = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";
/// The regular expression of [`is_name_part`].
pub const NAME_PART: &str = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?";

/// Returns whether `text` is a DNS label (RFC 1123): at most 63 of `a-z0-9-`, with a letter or digit at both ends.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63
        && ends(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Returns whether `text` is a DNS subdomain: DNS labels joined by dots, at most 253 bytes.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Returns whether `text` may be the value of a label: empty, or at most 63 of `A-Za-z0-9-_.`, with a letter or digit at
/// both ends.
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name_part(text)
}

/// Returns whether `text` may follow the slash of an annotation's or a label's key.
pub fn is_name_part(text: &str) -> bool {
    text.len() <= 63
        && ends(text, |b| b.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Returns whether `text` may name an environment variable in every Kubernetes: `[-._a-zA-Z][-._a-zA-Z0-9]*`, and
/// neither "." nor something that begins with "..".
pub fn is_env_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b"-._".contains(&b);
    text.bytes().next().is_some_and(letter)
        && text.bytes().all(|b| letter(b) || b.is_ascii_digit())
        && text != "."
        && !text.starts_with("..")
}

/// Returns whether `text` may be a key in a Secret.
pub fn is_data_key(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && text != "."
        && !text.starts_with("..")
}

/// The regular expression of [`is_image`]. A digest follows the `@`.
pub const IMAGE: &str =
    "[-A-Za-z0-9._:/+\\[\\]]*|[-A-Za-z0-9._:/+\\[\\]@]*@(sha256|sha384|sha512):[0-9A-Fa-f]+";
/// Longest image reference.
pub const MAX_IMAGE: usize = 1024;

/// Returns whether `text` has the characters of an image reference, and nothing before an `@` but a digest's name: it
/// goes to container runtimes and registries.
pub fn is_image(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-:/@+[]".contains(c);
    let digest = text.rsplit_once('@').map(|(_, digest)| digest);
    text.len() <= MAX_IMAGE && text.chars().all(legal) && digest.is_none_or(is_digest)
}

/// Returns `text` if it is a valid label value, otherwise a hash that is. An annotation has the text itself
/// (docs/protocol.md#labels).
pub fn label_value(text: &str) -> Cow<'_, str> {
    if is_label_value(text) {
        Cow::Borrowed(text)
    } else {
        // 160 bits: two owners never have the same hash.
        Cow::Owned(format!("sha256-{}", &sha256(text.as_bytes())[..40]))
    }
}

/// Returns the hex SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

fn ends(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(a), Some(b)) if allowed(*a) && allowed(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn judges_names_as_kubernetes_does() {
        let long = "a".repeat(64);
        for (text, label, value, env) in [
            ("a", true, true, true),
            ("a-b", true, true, true),
            ("0a", true, true, false),
            ("A", false, true, true),
            ("a_b.c", false, true, true),
            ("", false, true, false),
            ("-a", false, false, true),
            ("a-", false, false, true),
            ("..", false, false, false),
            ("../x", false, false, false),
            ("%2e%2e", false, false, false),
            ("a/b", false, false, false),
            ("a,b=c", false, false, false),
            ("!x", false, false, false),
            ("a\0", false, false, false),
            ("\u{430}", false, false, false),
            (&long, false, false, true),
        ] {
            assert_eq!(is_dns_label(text), label, "label {text:?}");
            assert_eq!(is_label_value(text), value, "value {text:?}");
            assert_eq!(is_env_name(text), env, "env {text:?}");
        }
        assert!(is_dns_subdomain("a.b-c.d"));
        assert!(!is_dns_subdomain("a..b") && !is_dns_subdomain("a.") && !is_dns_subdomain(""));
    }

    #[test]
    fn hashes_as_sha256_does() {
        assert_eq!(
            sha256(b"foo"),
            "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
        );
    }

    proptest! {
        #[test]
        fn every_text_has_a_label_value(text in any::<String>()) {
            prop_assert!(is_label_value(&label_value(&text)));
        }
    }
}
