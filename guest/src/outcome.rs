//! What a command reports: its termination message and its progress.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use wsman_store::manifest::GitStatus;

/// What Kubernetes keeps of a termination message.
pub const MESSAGE_LIMIT: usize = 4096;

/// One step of an initializer that is done.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Step {
    pub name: String,
    /// Where its content came from, without credentials.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    pub bytes: u64,
    pub files: u64,
    pub ms: u64,
}

/// A backup, as far as a workspace that began from it has to know.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Restored {
    pub name: String,
    pub created: String,
    #[serde(rename = "final")]
    pub is_final: bool,
}

/// How `content init` ended.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct InitOutcome {
    pub version: u32,
    pub ok: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A backup that is in the store.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct SavedBackup {
    #[serde(flatten)]
    pub backup: Restored,
    pub sequence: u64,
    pub size: u64,
    pub files: u64,
    /// Entries that could not be read and are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// How `content save` ended.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct SaveOutcome {
    pub version: u32,
    pub ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<SavedBackup>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The backup that stays valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Restored>,
}

impl InitOutcome {
    pub fn done(steps: Vec<Step>, restored: Option<Restored>) -> Self {
        Self {
            version: 1,
            ok: true,
            steps,
            restored,
            step: None,
            message: None,
        }
    }

    pub fn failed(step: &str, message: String) -> Self {
        let (step, message) = (Some(step.to_owned()), Some(message));
        Self {
            version: 1,
            ok: false,
            steps: Vec::new(),
            restored: None,
            step,
            message,
        }
    }

    /// As JSON that fits: the last steps go first, the message is cut next.
    pub fn message(&self) -> String {
        let mut fitted = self.clone();
        loop {
            let text = serde_json::to_string(&fitted).unwrap_or_default();
            if text.len() <= MESSAGE_LIMIT {
                return text;
            }
            if fitted.steps.pop().is_none() && !shorten(&mut fitted.message) {
                return text;
            }
        }
    }
}

impl SaveOutcome {
    pub fn failed(message: String) -> Self {
        Self {
            version: 1,
            ok: false,
            backup: None,
            git: None,
            message: Some(message),
            last: None,
        }
    }

    /// As JSON that fits: the lists of files get shorter, their totals stay.
    pub fn message(&self) -> String {
        let mut fitted = self.clone();
        loop {
            let text = serde_json::to_string(&fitted).unwrap_or_default();
            if text.len() <= MESSAGE_LIMIT {
                return text;
            }
            let shorter = fitted.git.as_mut().is_some_and(GitStatus::shorten)
                || fitted
                    .backup
                    .as_mut()
                    .is_some_and(|backup| backup.unreadable.pop().is_some())
                || shorten(&mut fitted.message);
            if !shorter {
                return text;
            }
        }
    }
}

/// Halves a message, at a character.
fn shorten(message: &mut Option<String>) -> bool {
    let Some(text) = message.as_mut().filter(|text| text.len() > 100) else {
        return false;
    };
    text.truncate(text.floor_char_boundary(text.len() / 2));
    text.push_str("...");
    true
}

/// Writes a termination message. Outside of a pod there is nowhere to put it, which is no failure.
pub fn write_message(path: &Path, message: &str) {
    // The file is a mount of its own: it is written, not replaced.
    if let Err(error) = fs::write(path, message)
        && error.kind() != io::ErrorKind::NotFound
        && error.kind() != io::ErrorKind::PermissionDenied
    {
        eprintln!("wsman-guest: cannot write {}: {error}", path.display());
    }
}

/// Lines about what goes on, on stderr.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// One JSON object per line instead of text.
    pub json: bool,
    /// The termination message of a run that is killed names the step that it was in.
    pub termination_log: Option<PathBuf>,
}

impl Progress {
    /// A step begins.
    pub fn begins(&self, step: &str) {
        self.say(step, "begins");
        if let Some(path) = &self.termination_log {
            let cut = InitOutcome::failed(step, format!("{step} was cut off before it was done"));
            write_message(path, &cut.message());
        }
    }

    pub fn say(&self, step: &str, text: &str) {
        if self.json {
            let line = serde_json::json!({ "step": step, "message": text });
            eprintln!("{line}");
        } else {
            eprintln!("{step}: {text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_fit() {
        let step = Step {
            target: "x".repeat(500),
            ..Step::default()
        };
        let done = InitOutcome::done(vec![step; 20], None).message();
        assert!(done.len() <= MESSAGE_LIMIT && done.contains(r#""ok":true"#));
        let failed = InitOutcome::failed("git", "ü".repeat(5000)).message();
        assert!(failed.len() <= MESSAGE_LIMIT);
        let back: InitOutcome = serde_json::from_str(&failed).unwrap();
        assert!(back.message.unwrap().ends_with("..."));
    }

    #[test]
    fn lists_get_shorter_and_totals_stay() {
        let git = GitStatus {
            uncommited_files: vec!["f".repeat(80); 100],
            total_uncommited_files: 100,
            ..GitStatus::default()
        };
        let outcome = SaveOutcome {
            version: 1,
            ok: true,
            backup: None,
            git: Some(git),
            message: None,
            last: None,
        };
        let text = outcome.message();
        assert!(text.len() <= MESSAGE_LIMIT);
        let git = serde_json::from_str::<SaveOutcome>(&text)
            .unwrap()
            .git
            .unwrap();
        assert_eq!(git.total_uncommited_files, 100);
        assert!(git.uncommited_files.len() > 10);
    }
}
