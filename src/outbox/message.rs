//! A message for the bus. Its content is up to the noun.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Largest body of a message: brokers and consumers are made for small messages.
pub const LARGEST: usize = 256 * 1024;
/// Longest word of a routing key, which may have 255 bytes in all.
const LONGEST_WORD: usize = 110;

/// The message of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusMessage {
    /// Words separated by dots; see [`word`].
    pub routing_key: String,
    /// The same for the same update, on every replica.
    pub id: String,
    /// Full name of the protobuf message in the body.
    pub kind: &'static str,
    /// Headers, to which the publisher adds its own.
    pub headers: Vec<(&'static str, Header)>,
    /// Proto3 JSON.
    pub body: Vec<u8>,
    /// The state is too large: the body only refers to it.
    pub is_reduced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    Text(String),
    Number(u64),
}

/// Returns a text as one word of a routing key. It keeps printable ASCII characters except `.`, `*`, `#` and `%`; every
/// other byte becomes `%XX`, an empty text `%`, and a word that is too long is cut and gets `%%` and a hash of the
/// whole.
pub fn word(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let escapes = text.bytes().map(|byte| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    let word: String = escapes.clone().collect();
    if word.len() <= LONGEST_WORD {
        return word;
    }
    let mut cut = String::new();
    for escape in escapes {
        if cut.len() + escape.len() > LONGEST_WORD - 2 - 16 {
            break;
        }
        cut.push_str(&escape);
    }
    cut.push_str("%%");
    for byte in &Sha256::digest(text.as_bytes())[..8] {
        let _ = write!(cut, "{byte:02x}");
    }
    cut
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'#' | b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_nothing_that_a_broker_reads_as_structure() {
        for (text, escaped) in [
            ("jane", "jane"),
            ("", "%"),
            ("a.b*c#d%e", "a%2Eb%2Ac%23d%25e"),
            ("x y", "x%20y"),
            ("jané@x/y", "jan%C3%A9@x/y"),
            ("\u{0}", "%00"),
        ] {
            assert_eq!(word(text), escaped);
        }
        let long = "x.".repeat(500);
        let other = "x.".repeat(499) + "y.";
        assert!(word(&long).len() <= LONGEST_WORD);
        assert!(!word(&long).contains('.'));
        assert_ne!(word(&long), word(&other));
        let just = "y".repeat(LONGEST_WORD);
        assert_eq!(word(&just), just);
    }
}
