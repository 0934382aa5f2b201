//! The last backup of a workspace that was not saved at its end: how old its content is (docs/protocol.md#content).

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Longest reason that is kept on a pod.
const LONGEST: usize = 512;

/// What the store has of a workspace, as `wsman.dev/last-backup` keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LastBackup {
    /// The newest backup.
    Backup(Saved),
    /// There is none.
    None {},
    /// The store did not say, and why.
    Unknown(String),
}

/// A backup that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// Its name, which can be started from.
    pub name: String,
    /// When it was made, as its manifest says.
    pub created: String,
    /// It was made by this instance at its end, so that nothing came after it.
    #[serde(rename = "final")]
    pub is_final: bool,
}

impl LastBackup {
    /// Reads the mark. A damaged one says nothing, and is not looked up again.
    pub fn read(mark: &str) -> Self {
        serde_json::from_str(mark).unwrap_or_else(|_| Self::unknown("the mark is not understood"))
    }

    /// The store did not say.
    pub fn unknown(why: &str) -> Self {
        Self::Unknown(why[..why.floor_char_boundary(LONGEST)].to_owned())
    }

    /// Returns the mark.
    pub fn mark(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether the content was saved, although nobody reported it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Backup(saved) if saved.is_final)
    }

    /// Says how old the content is of a workspace that ended at `end`.
    pub fn age(&self, end: Timestamp) -> String {
        match self {
            Self::Backup(saved) => match saved.created.parse::<Timestamp>() {
                Ok(created) => format!(
                    "its content is from a backup {} before the end",
                    words(end.duration_since(created))
                ),
                Err(_) => "its content is from a backup of an unknown time".to_owned(),
            },
            Self::None {} => "there is no backup of its content".to_owned(),
            Self::Unknown(why) => format!("its last backup could not be looked up: {why}"),
        }
    }
}

/// The largest two units of a duration; clocks may differ, so it is never negative.
fn words(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_words() {
        let end: Timestamp = "2026-03-02T12:00:00Z".parse().unwrap();
        for (created, age) in [
            ("2026-03-02T11:59:31Z", "29 s"),
            ("2026-03-02T11:53:00Z", "7 min"),
            ("2026-03-02T09:00:00Z", "3 h"),
            ("2026-03-02T09:55:00.5Z", "2 h 4 min"),
            ("2026-03-01T11:00:00Z", "1 d 1 h"),
            ("2026-02-27T11:59:00Z", "3 d"),
            ("2026-03-02T12:00:03Z", "0 s"),
        ] {
            let last = LastBackup::Backup(Saved {
                created: created.to_owned(),
                ..Saved::default()
            });
            let text = format!("its content is from a backup {age} before the end");
            assert_eq!(last.age(end), text);
        }
    }

    #[test]
    fn marks_come_back_and_damaged_ones_say_nothing() {
        let backup = Saved {
            name: "o/w/0000000001-backup.json@b".to_owned(),
            created: "2026-03-02T11:53:00Z".to_owned(),
            is_final: true,
        };
        for last in [
            LastBackup::Backup(backup),
            LastBackup::None {},
            LastBackup::unknown("the store is away"),
        ] {
            assert_eq!(LastBackup::read(&last.mark()), last);
        }
        for damaged in ["", "{}", "{\"backup\":1}", "null"] {
            assert!(
                matches!(LastBackup::read(damaged), LastBackup::Unknown(_)),
                "{damaged}"
            );
        }
        assert!(LastBackup::unknown(&"ü".repeat(1_000)).mark().len() < 600);
    }
}
