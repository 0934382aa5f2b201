//! Paths below a root, checked once and then trusted.

use std::fmt;

/// A path below a root: components joined by `/`, without `.`, `..` or an absolute start. Empty is the root itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelPath(Vec<u8>);

/// Why a path is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    #[error("path {0} is absolute")]
    Absolute(String),
    #[error("path {0} leaves its root by `..`")]
    Parent(String),
    #[error("path {0} contains a NUL byte")]
    Nul(String),
}

impl RelPath {
    /// Checks `bytes`; `./` in front and `/` at the end carry no meaning and are dropped.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.starts_with(b"/") {
            return Err(PathError::Absolute(shown(bytes)));
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul(shown(bytes)));
        }
        let mut path = Vec::with_capacity(bytes.len());
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(PathError::Parent(shown(bytes))),
                name => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name);
                }
            }
        }
        Ok(Self(path))
    }

    /// Whether it is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The names on the way down, in order.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
    }

    /// The directory that holds it and its name there; none for the root.
    pub fn split(&self) -> Option<(RelPath, &[u8])> {
        if self.is_root() {
            return None;
        }
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => Some((RelPath(self.0[..slash].to_vec()), &self.0[slash + 1..])),
            None => Some((RelPath::default(), &self.0)),
        }
    }

    /// Whether it lies below `other` or is `other`.
    pub fn is_within(&self, other: &RelPath) -> bool {
        other.is_root()
            || self.0 == other.0
            || (self.0.starts_with(&other.0) && self.0.get(other.0.len()) == Some(&b'/'))
    }

    /// This path with `below` under it.
    pub fn join(&self, below: &RelPath) -> RelPath {
        if self.is_root() {
            return below.clone();
        }
        let mut path = self.0.clone();
        if !below.is_root() {
            path.push(b'/');
            path.extend_from_slice(&below.0);
        }
        RelPath(path)
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

/// A name for people: control characters and bytes that are not UTF-8 are escaped, and it is cut at 200 bytes.
pub fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(200)];
    let dots = if bytes.len() > 200 { "..." } else { "" };
    let mut text = String::from("`");
    for chunk in cut.utf8_chunks() {
        text.extend(chunk.valid().escape_debug());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text + dots + "`"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_leaves_the_root() {
        for (path, why) in [
            ("/etc/passwd", "path `/etc/passwd` is absolute"),
            ("a/../../b", "path `a/../../b` leaves its root by `..`"),
            ("..", "path `..` leaves its root by `..`"),
            ("a\0b", "path `a\\0b` contains a NUL byte"),
        ] {
            let error = RelPath::parse(path.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), why);
        }
    }

    #[test]
    fn drops_what_carries_no_meaning() {
        let path = RelPath::parse(b"./a//b/./c/").unwrap();
        assert_eq!(path.as_bytes(), b"a/b/c");
        assert!(RelPath::parse(b"./").unwrap().is_root());
    }

    #[test]
    fn knows_what_lies_below() {
        let of = |text: &str| RelPath::parse(text.as_bytes()).unwrap();
        assert!(of("a/b").is_within(&of("a")));
        assert!(!of("ab").is_within(&of("a")));
        assert!(of("a").is_within(&of("")));
    }

    #[test]
    fn shows_names_that_are_not_utf8() {
        assert_eq!(shown(b"a\xff\n"), "`a\\xff\\n`");
    }
}
