//! Maintenance: while it is active nothing starts, and timeouts and completions wait (docs/operations.md#maintenance).
//!
//! The configuration enables it without an end, a ConfigMap until a given time.

use jiff::Timestamp;
use serde::Deserialize;

use crate::error::Error;
use crate::objects::ConfigMap;

/// Name of the ConfigMap, in the namespace of the workspaces.
pub const CONFIG_MAP: &str = "ws-manager-mk2-maintenance-mode";
const KEY: &str = "config.json";

/// The end of a maintenance without an end.
pub const FOR_EVER: Timestamp = Timestamp::MAX;

/// The state of the ConfigMap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Switch {
    /// Not read yet. Maintenance may be active.
    #[default]
    Unknown,
    /// It does not exist, or cannot be read.
    Off,
    /// It has this end.
    Until(Timestamp),
}

impl Switch {
    /// Returns the end of maintenance, given the configured one.
    pub fn end(self, configured: Option<Timestamp>) -> Option<Timestamp> {
        let switched = match self {
            Self::Unknown => Some(FOR_EVER),
            Self::Off => None,
            Self::Until(end) => Some(end),
        };
        configured.max(switched)
    }

    /// Reads the ConfigMap; `None` if there is none. Invalid content counts as off, whatever was there before, as
    /// after a restart.
    ///
    /// # Errors
    /// What is wrong with the content, for people.
    pub fn read(map: Option<&ConfigMap>) -> Result<Self, String> {
        let Some(map) = map else {
            return Ok(Self::Off);
        };
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Content {
            enabled_until: Option<Timestamp>,
        }
        let text = map.data.get(KEY).ok_or_else(|| format!("no key {KEY}"))?;
        let content: Content = serde_json::from_str(text).map_err(|e| format!("{KEY}: {e}"))?;
        Ok(content.enabled_until.map_or(Self::Off, Self::Until))
    }
}

/// Returns the error of a call that maintenance blocks. Programs of the classic manager compare its text; the end goes
/// into the details.
pub fn error(end: Timestamp) -> Error {
    Error::Maintenance {
        until: Some(end).filter(|end| *end != FOR_EVER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> ConfigMap {
        ConfigMap {
            data: [(KEY.to_owned(), text.to_owned())].into(),
            ..ConfigMap::default()
        }
    }

    #[test]
    fn reads_the_moment_and_nothing_else() {
        let end: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        let read = |text| Switch::read(Some(&map(text)));
        for text in [
            r#"{"enabledUntil":"2026-03-01T10:00:00Z"}"#,
            r#"{"enabledUntil":"2026-03-01T11:00:00+01:00","more":1}"#,
        ] {
            assert_eq!(read(text), Ok(Switch::Until(end)));
        }
        for text in ["{}", r#"{"enabledUntil":null}"#] {
            assert_eq!(read(text), Ok(Switch::Off));
        }
        for text in [
            "",
            "[]",
            "{",
            r#"{"enabledUntil":"tomorrow"}"#,
            r#"{"enabledUntil":1}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(Switch::read(None), Ok(Switch::Off));
        assert!(Switch::read(Some(&ConfigMap::default())).is_err());
    }

    #[test]
    fn the_later_end_counts() {
        let [early, late] = [5, 9].map(|s| Timestamp::from_second(s).unwrap());
        assert_eq!(Switch::Off.end(None), None);
        assert_eq!(Switch::Until(late).end(Some(early)), Some(late));
        assert_eq!(Switch::Until(early).end(Some(late)), Some(late));
        assert_eq!(Switch::Until(late).end(None), Some(late));
        assert_eq!(Switch::Unknown.end(None), Some(FOR_EVER));
    }
}
