//! What is to be done with the content of a workspace, beside the writes to its pod: a decision names it, a backend carries
//! it out, and its outcome is a mark on the pod.

use serde_json::{Value, json};
use wsman_store::manifest::{BackupName, Manifest};

use super::last_backup::{LastBackup, Saved};
use crate::action::{Action, Mark, PodRef};
use crate::error::Error;
use crate::workspaces::marks::annotation;

use super::wsdaemon::NodeStep;

/// One thing that a backend does. Doing it again does nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Finds out what the store has of a workspace that was not saved at its end.
    LastBackup(LookUp),
    /// The ws-daemon of a node does it.
    Node(NodeStep),
}

impl Step {
    /// Says what is done.
    pub fn sentence(&self) -> String {
        match self {
            Self::LastBackup(_) => "look for the last backup in the store".to_owned(),
            Self::Node(step) => step.sentence(),
        }
    }

    /// Returns the step as `explain` and golden files have it.
    pub fn to_json(&self) -> Value {
        match self {
            Self::LastBackup(look_up) => json!({ "last backup": {
                "owner": look_up.owner, "meta id": look_up.meta_id, "instance": look_up.instance,
            } }),
            Self::Node(step) => step.to_json(),
        }
    }
}

/// Whose last backup is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookUp {
    pub pod: PodRef,
    pub owner: String,
    pub meta_id: String,
    /// Only a final backup of this instance has all of its content.
    pub instance: String,
}

impl LookUp {
    /// Returns the mark that says what was found.
    pub fn outcome(&self, found: Result<Option<(BackupName, Manifest)>, Error>) -> Action {
        let last = match found {
            Ok(Some((name, manifest))) => LastBackup::Backup(Saved {
                name: name.to_string(),
                is_final: manifest.is_final && manifest.instance == self.instance,
                created: manifest.created,
            }),
            Ok(None) => LastBackup::None {},
            Err(error) => LastBackup::unknown(&error.to_string()),
        };
        let mark = Mark::put(annotation::LAST_BACKUP, Some(last.mark()));
        Action::Mark(self.pod.clone(), mark)
    }
}
