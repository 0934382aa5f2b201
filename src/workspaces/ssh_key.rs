//! Whether a text is a public SSH key, as in a line of authorized_keys: options, type, data, comment.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ssh_key::PublicKey;

/// The format of a key, for people.
const WANTED: &str =
    "must be a line as in authorized_keys, such as \"ssh-ed25519 AAAA... comment\"";

/// Returns what is wrong with a key, without the key: it may be a private one.
pub fn fault(key: &str) -> Option<&'static str> {
    if key.trim().is_empty() {
        return Some("cannot be blank");
    }
    let is_line = !key.chars().any(char::is_control);
    if is_line && (is_key(key) || options_end(key).is_some_and(|end| is_key(&key[end..]))) {
        return None;
    }
    Some(match () {
        () if is_private(key) => {
            "is a private key; send the public one, from the file that ends in .pub"
        }
        () if key.contains("BEGIN ") && key.contains("PUBLIC KEY") => {
            "is a public key in another format; `ssh-keygen -i -f FILE` converts it (-m PKCS8 for PEM)"
        }
        () if !is_line => "must be one line without control characters",
        () if names_type(key) => "has a type, but data that is no key of this type",
        () => WANTED,
    })
}

/// PEM, OpenSSH's own format and PuTTY's.
fn is_private(key: &str) -> bool {
    key.contains("PRIVATE KEY")
        || key.contains("PuTTY-User-Key-File")
        || key.contains("Private-Lines:")
}

/// Whether type and data match; a comment follows.
fn is_key(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let (Some(kind), Some(data)) = (words.next(), words.next()) else {
        return false;
    };
    match kind.ends_with("-cert-v01@openssh.com") {
        // The library rejects certificates without an end date, which are common: only the type is checked.
        true => STANDARD.decode(data).is_ok_and(|data| {
            let length = u32::try_from(kind.len()).unwrap_or_default().to_be_bytes();
            let body = data.strip_prefix(&length).unwrap_or_default();
            body.strip_prefix(kind.as_bytes())
                .is_some_and(|rest| !rest.is_empty())
        }),
        false => PublicKey::from_openssh(&format!("{kind} {data}")).is_ok(),
    }
}

fn names_type(key: &str) -> bool {
    let known = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    let mut words = key.split_whitespace();
    words.any(|word| known.iter().any(|prefix| word.starts_with(prefix)))
}

/// The end of the options: the first space outside of quotes.
fn options_end(key: &str) -> Option<usize> {
    let key = key.trim_end();
    let start = key.len() - key.trim_start().len();
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in key.char_indices().skip_while(|(at, _)| *at < start) {
        match c {
            '"' if !escaped => quoted = !quoted,
            c if c.is_whitespace() && !quoted => return Some(at),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that OpenSSH accepts, one per kind of key.
    const GOOD: &str = include_str!("../../testdata/ssh/authorized_keys");

    #[test]
    fn every_kind_of_line_is_taken() {
        let lines: Vec<_> = GOOD.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(lines.len() >= 10, "{}", lines.len());
        for line in lines {
            assert_eq!(fault(line), None, "{line}");
            assert_eq!(fault(&format!("  {line} ")), None, "{line}");
        }
    }

    #[test]
    fn a_key_that_lost_something_is_none() {
        for line in GOOD.lines().filter(|line| !line.starts_with('#')) {
            let data = line
                .split_whitespace()
                .find(|word| word.starts_with("AAAA"));
            let data = data.expect("every line has data");
            let (half, _) = data.split_at(data.len() / 8);
            let cut = line.replace(data, half);
            assert_eq!(
                fault(&cut),
                Some("has a type, but data that is no key of this type")
            );
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused_by_its_kind() {
        for (text, part) in [
            ("", "blank"),
            (" \t", "blank"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END",
                "private key",
            ),
            ("PuTTY-User-Key-File-3: ssh-ed25519", "private key"),
            ("---- BEGIN SSH2 PUBLIC KEY ----", "another format"),
            ("-----BEGIN PUBLIC KEY-----", "another format"),
            ("not a key", "authorized_keys"),
            ("hello", "authorized_keys"),
            ("# a comment", "authorized_keys"),
            ("ssh-ed25519", "no key of this type"),
            ("ssh-ed25519 AAAA me", "no key of this type"),
            ("command=\"a b ssh-rsa AAAA", "no key of this type"),
            ("a\nb", "one line"),
        ] {
            let why = fault(text).expect(text);
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn the_type_must_be_that_of_the_data() {
        let line = GOOD.lines().find(|line| line.starts_with("ssh-ed25519 "));
        let other = line
            .expect("there is one")
            .replacen("ssh-ed25519", "ssh-rsa", 1);
        assert!(fault(&other).is_some());
    }
}
