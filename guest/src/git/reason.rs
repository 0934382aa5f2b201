//! What git's messages come down to.

use super::remote::without_credentials;

/// Beginnings of failures that may pass by themselves.
const TRANSIENT: [&str; 12] = [
    "Could not resolve host",
    "Temporary failure in name resolution",
    "Connection reset",
    "Connection refused",
    "Connection timed out",
    "Failed to connect",
    "Empty reply from server",
    "early EOF",
    "the remote end hung up unexpectedly",
    "unexpected disconnect",
    "Operation too slow",
    "transfer closed",
];

/// Lines that only say that the line before them was a failure.
const GENERAL: [&str; 2] = [
    "Could not read from remote repository",
    "Failed to fetch some objects from",
];

/// Whether the same command may succeed later.
pub fn is_transient(stderr: &str) -> bool {
    if TRANSIENT.iter().any(|text| stderr.contains(text)) {
        return !stderr.contains("Authentication failed") && !stderr.contains("Permission denied");
    }
    stderr
        .split("The requested URL returned error: ")
        .skip(1)
        .any(|code| code.starts_with('5') || code.starts_with("429"))
}

/// Git's own reason in one line, without credentials.
pub fn of(stderr: &str) -> String {
    if stderr.contains("Host key verification failed") {
        return host_key(stderr);
    }
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("debug1:"))
        .collect();
    let stated = |line: &&&str| line.starts_with("fatal: ") || line.starts_with("error: ");
    let general = |line: &str| GENERAL.iter().any(|text| line.contains(text));
    let line = lines
        .iter()
        .rev()
        .filter(stated)
        .find(|line| !general(line))
        .or_else(|| {
            // ssh and git-lfs say why in the line before.
            let general = lines.iter().position(|line| general(line))?;
            general.checked_sub(1).and_then(|index| lines.get(index))
        })
        .or(lines.last());
    let line = line.copied().unwrap_or_default();
    let line = line
        .trim_start_matches("fatal: ")
        .trim_start_matches("error: ");
    lower_first(&without_credentials(line))
}

/// Which key of which host nobody vouches for.
fn host_key(stderr: &str) -> String {
    let after = |text: &str| {
        let (_, rest) = stderr.split_once(text)?;
        rest.lines().next()
    };
    let key = after("Server host key: ").unwrap_or("of unknown fingerprint");
    let host = after("debug1: Connecting to ")
        .and_then(|rest| rest.split(" [").next())
        .or_else(|| after("host key is known for ").and_then(|rest| rest.split(" and ").next()))
        .unwrap_or("the host");
    if stderr.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        format!("the key of {host} is not the one in known_hosts: {key}")
    } else {
        format!("the key of {host} is not in known_hosts: {key}")
    }
}

/// The first letter small, unless the word is an abbreviation.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            let rest = &text[first.len_utf8()..];
            format!("{}{rest}", first.to_lowercase())
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for passes in [
            "fatal: unable to access 'https://h/': Could not resolve host: h",
            "fatal: unable to access 'http://h/': The requested URL returned error: 503",
            "error: RPC failed; curl 56 Recv failure: Connection reset by peer",
        ] {
            assert!(is_transient(passes), "{passes}");
        }
        for stays in [
            "fatal: Authentication failed for 'https://h/'",
            "fatal: unable to access 'http://h/': The requested URL returned error: 403",
            "fatal: Remote branch gone not found in upstream origin",
        ] {
            assert!(!is_transient(stays), "{stays}");
        }
    }

    #[test]
    fn reasons_are_gits_own() {
        for (stderr, reason) in [
            (
                "warning: Could not find remote branch gone to clone.\nfatal: Remote branch gone not found in upstream origin\n",
                "remote branch gone not found in upstream origin",
            ),
            (
                "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n",
                "git@h: Permission denied (publickey).",
            ),
            (
                "[07] Object does not exist: [404] Object does not exist\nFailed to fetch some objects from 'https://h/x.git/info/lfs'\n",
                "[07] Object does not exist: [404] Object does not exist",
            ),
            (
                "fatal: unable to access 'https://u:marker@h/x/': SSL problem\n",
                "unable to access 'https://h/x/': SSL problem",
            ),
        ] {
            assert_eq!(of(stderr), reason);
        }
    }

    #[test]
    fn a_host_key_is_named_with_its_fingerprint() {
        let stderr = "debug1: Connecting to h [127.0.0.1] port 22.\r\ndebug1: Server host key: ssh-ed25519 SHA256:abc\nNo ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.\nfatal: Could not read from remote repository.\n";
        assert_eq!(
            of(stderr),
            "the key of h is not in known_hosts: ssh-ed25519 SHA256:abc"
        );
    }
}
