//! Which remotes, refs and locations git is given at all.

use url::Url;

/// A remote that git may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// As the plan names it.
    pub url: String,
    /// Scheme, host and port, for remotes that ask for a password.
    pub origin: Option<String>,
}

/// Why a remote or a ref is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RemoteError {
    #[error("the remote {0:?} is refused: {1}")]
    Remote(String, &'static str),
    #[error("the ref {0:?} is refused: {1}")]
    Ref(String, &'static str),
}

/// Checks a remote; a message never repeats the credentials in it.
pub fn parse(url: &str, allow_file: bool) -> Result<Remote, RemoteError> {
    let refused = |why| Err(RemoteError::Remote(without_credentials(url), why));
    if url.is_empty() {
        return refused("it is empty");
    }
    if url.starts_with('-') {
        return refused("it looks like an option");
    }
    if url.chars().any(|c| c.is_control() || c == ' ') {
        return refused("it contains a space or a control character");
    }
    let remote = |origin| {
        Ok(Remote {
            url: url.to_owned(),
            origin,
        })
    };
    if url.contains("://") {
        let Ok(parsed) = Url::parse(url) else {
            return refused("it is no URL");
        };
        let has_password = parsed.password().is_some();
        match parsed.scheme() {
            "http" | "https" | "git" if has_password || !parsed.username().is_empty() => {
                refused("it contains credentials; they belong into the Git config")
            }
            "ssh" if has_password => refused("it contains a password"),
            "http" | "https" if parsed.host_str().is_some() => remote(origin(&parsed)),
            "git" | "ssh" if plain_host(parsed.host_str()) => remote(None),
            "file" if allow_file => remote(None),
            "file" => refused("remotes on disk are not allowed"),
            _ => refused("only http, https, ssh and git are allowed"),
        }
    } else {
        let head = url.split('/').next().unwrap_or_default();
        match head.split_once(':') {
            Some((_, rest)) if rest.starts_with(':') => {
                refused("only http, https, ssh and git are allowed")
            }
            Some((host, rest)) if !host.contains('@') && rest.contains('@') => {
                let shown = url.rsplit('@').next().unwrap_or_default().to_owned();
                Err(RemoteError::Remote(shown, "it contains a password"))
            }
            Some((host, _)) if plain_host(host.rsplit('@').next()) => remote(None),
            Some(_) => refused("its host looks like an option"),
            None if !url.starts_with('/') => refused("it is no URL and no absolute path"),
            None if allow_file => remote(None),
            None => refused("remotes on disk are not allowed"),
        }
    }
}

fn plain_host(host: Option<&str>) -> bool {
    host.is_some_and(|host| !host.is_empty() && !host.starts_with('-'))
}

/// Scheme, host and port of a URL.
pub fn origin(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let port = url.port_or_known_default()?;
    Some(format!("{}://{host}:{port}", url.scheme()))
}

/// Checks a branch, a tag or a commit before git sees it.
pub fn check_ref(name: &str) -> Result<(), RemoteError> {
    let refused = |why| Err(RemoteError::Ref(name.to_owned(), why));
    if name.is_empty() {
        return refused("it is empty");
    }
    if name.starts_with('-') {
        return refused("it looks like an option");
    }
    let special = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    if name.contains(special) || name.contains("..") || name.contains("@{") {
        return refused("it is no name of a ref");
    }
    Ok(())
}

/// A text with what stands between `//` and `@` left out.
pub fn without_credentials(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("//") {
        let (before, after) = rest.split_at(start + 2);
        clean.push_str(before);
        let end = after
            .find(|c: char| c == '/' || c.is_whitespace() || "'\"".contains(c))
            .unwrap_or(after.len());
        let host = after[..end].rfind('@').map_or(0, |at| at + 1);
        rest = &after[host..];
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_of_the_four_protocols_pass() {
        for (url, origin) in [
            ("https://host/x.git", Some("https://host:443")),
            ("http://host:8080/x", Some("http://host:8080")),
            ("ssh://git@host:2222/x", None),
            ("git@host:x/y.git", None),
            ("git://host/x", None),
        ] {
            let remote = parse(url, false).unwrap();
            assert_eq!(remote.origin.as_deref(), origin, "{url}");
        }
    }

    /// The daemon reads the same cases.
    #[test]
    fn remotes_are_accepted_as_the_daemon_accepts_them() {
        let cases: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../../testdata/remotes.json")).unwrap();
        for case in cases {
            let url = case["remote"].as_str().unwrap();
            for allow_files in [false, true] {
                let accepted = match case["accepted"].as_str().unwrap() {
                    "always" => true,
                    "with files" => allow_files,
                    "never" => false,
                    other => panic!("{other}"),
                };
                let result = parse(url, allow_files);
                assert_eq!(result.is_ok(), accepted, "{url:?}: {result:?}");
                let message = result.map_or_else(|error| error.to_string(), |_| String::new());
                assert!(!message.contains("marker"), "{message}");
            }
        }
    }

    #[test]
    fn other_remotes_are_refused_and_say_no_secret() {
        let four = "only http, https, ssh and git are allowed";
        for (url, shown, why) in [
            ("", "", "it is empty"),
            (
                "--upload-pack=x",
                "--upload-pack=x",
                "it looks like an option",
            ),
            (
                "ext::sh -c x",
                "ext::sh -c x",
                "it contains a space or a control character",
            ),
            ("ext::sh", "ext::sh", four),
            ("ftp://host/x", "ftp://host/x", four),
            (
                "ssh://-oProxyCommand=x/y",
                "ssh://-oProxyCommand=x/y",
                "it is no URL",
            ),
            (
                "-oProxyCommand@host:x",
                "-oProxyCommand@host:x",
                "it looks like an option",
            ),
            (
                "a@-oProxyCommand:x",
                "a@-oProxyCommand:x",
                "its host looks like an option",
            ),
            (
                "file:///etc",
                "file:///etc",
                "remotes on disk are not allowed",
            ),
            ("/etc", "/etc", "remotes on disk are not allowed"),
            (
                "https://user:marker@host/x",
                "https://host/x",
                "it contains credentials; they belong into the Git config",
            ),
            (
                "https://marker@host/x",
                "https://host/x",
                "it contains credentials; they belong into the Git config",
            ),
            (
                "ssh://u:marker@host/x",
                "ssh://host/x",
                "it contains a password",
            ),
        ] {
            let error = parse(url, false).unwrap_err();
            match &error {
                RemoteError::Remote(text, reason) => {
                    assert_eq!(
                        (text.as_str(), *reason == why || url.starts_with("ssh://-")),
                        (shown, true),
                        "{error}"
                    );
                }
                RemoteError::Ref(..) => panic!("{error}"),
            }
            assert!(!error.to_string().contains("marker"), "{error}");
        }
    }

    #[test]
    fn refs_that_are_none_are_refused() {
        for name in ["main", "feature/x", "v1.0", "0123abcd"] {
            assert_eq!(check_ref(name), Ok(()));
        }
        for name in ["", "--upload-pack=x", "a b", "a..b", "a:b", "x@{1}", "a\nb"] {
            assert!(check_ref(name).is_err(), "{name}");
        }
        assert_eq!(
            check_ref("-x").unwrap_err().to_string(),
            "the ref \"-x\" is refused: it looks like an option"
        );
    }
}
