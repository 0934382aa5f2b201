//! What is to be done with the content of a workspace, beside the writes to its pod: a decision names it, a backend carries
//! it out, and its outcome is a mark on the pod.

use serde_json::{Value, json};
use wsman_store::manifest::{BackupName, Manifest};

use super::last_backup::{LastBackup, Saved};
use super::wsdaemon::NodeStep;
use crate::action::{Action, Mark, PodRef, VolumeSnapshotPlan};
use crate::error::Error;
use crate::workspaces::marks::annotation;

/// One thing that a backend does. Doing it again does nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Finds out what the store has of a workspace that was not saved at its end.
    LastBackup(LookUp),
    /// The ws-daemon of a node does it.
    Node(NodeStep),
    /// Snapshot the volume of a workspace that ended, and wait until the snapshot is ready.
    SnapshotVolume(Box<VolumeSnapshot>),
}

impl Step {
    /// Says what is done.
    pub fn sentence(&self) -> String {
        match self {
            Self::LastBackup(_) => "look for the last backup in the store".to_owned(),
            Self::Node(step) => step.sentence(),
            Self::SnapshotVolume(snapshot) => format!(
                "make volume snapshot {} of PersistentVolumeClaim {}, and wait until it is ready",
                snapshot.plan.name, snapshot.plan.pvc
            ),
        }
    }

    /// Returns the step as `explain` and golden files have it.
    pub fn to_json(&self) -> Value {
        match self {
            Self::LastBackup(look_up) => json!({ "last backup": {
                "owner": look_up.owner, "meta id": look_up.meta_id, "instance": look_up.instance,
            } }),
            Self::Node(step) => step.to_json(),
            Self::SnapshotVolume(snapshot) => json!({"snapshot": {
                "volumeSnapshot": snapshot.plan.name,
                "pvc": snapshot.plan.pvc,
                "class": snapshot.plan.class,
            }}),
        }
    }
}

/// The snapshot of the volume of a workspace that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSnapshot {
    /// What is created; its pod gets the outcome.
    pub plan: VolumeSnapshotPlan,
    /// The pod that owns the claim.
    pub owner: PodRef,
    /// It is that of a prebuild, which `gitpod/snapshot` names too.
    pub headless: bool,
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
