//! The token that resumes a stream of updates, on any replica.
//!
//! It holds the last version that was sent. Versions are resourceVersions of pods, which every replica sees in the same
//! order (<https://github.com/kubernetes/enhancements/issues/5504>), so a replica that has every later update needs
//! nothing else.

use std::fmt;
use std::str::FromStr;

/// A position in the stream of updates, as text `1.<epoch>.<version>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The server of the versions: those of different epochs cannot be compared.
    pub epoch: u64,
    /// Everything up to this version was sent.
    pub version: u64,
}

/// The text is no token.
#[derive(Debug, PartialEq, Eq)]
pub struct NoToken;

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}.{}", self.epoch, self.version)
    }
}

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let number = |part: Option<&str>| {
            let digits = part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|part| part.parse().ok()).ok_or(NoToken)
        };
        let mut parts = text.split('.');
        let form = number(parts.next())?;
        let token = Self {
            epoch: number(parts.next())?,
            version: number(parts.next())?,
        };
        match (form, parts.next()) {
            (1, None) => Ok(token),
            _ => Err(NoToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is_one() {
        let token = Token {
            epoch: 7,
            version: u64::MAX,
        };
        assert_eq!(token.to_string().parse(), Ok(token));
        for text in [
            "",
            "1",
            "1.0",
            "1.0.",
            "1..5",
            "2.0.5",
            "1.0.5.6",
            "1.-1.5",
            "1.0.+5",
            "1.0.99999999999999999999",
            "x",
        ] {
            assert_eq!(text.parse::<Token>(), Err(NoToken), "{text}");
        }
    }
}
