//! The custom resources of CSI volume snapshots (<https://kubernetes.io/docs/concepts/storage/volume-snapshots/>).

use jiff::Timestamp;
use serde::Deserialize;

use super::Meta;
use super::lenient::{self, Object};

/// A VolumeSnapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshot {
    #[serde(deserialize_with = "lenient::any")]
    pub metadata: Meta,
    #[serde(deserialize_with = "lenient::any")]
    pub spec: VolumeSnapshotSpec,
    #[serde(deserialize_with = "lenient::any")]
    pub status: VolumeSnapshotStatus,
}

/// What it is of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotSpec {
    #[serde(deserialize_with = "lenient::any")]
    pub source: VolumeSnapshotSource,
}

/// One of both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotSource {
    /// Name of the PersistentVolumeClaim.
    #[serde(deserialize_with = "lenient::any")]
    pub persistent_volume_claim_name: String,
    /// Name of the VolumeSnapshotContent that existed before it.
    #[serde(deserialize_with = "lenient::any")]
    pub volume_snapshot_content_name: String,
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotStatus {
    /// Name of its VolumeSnapshotContent.
    #[serde(deserialize_with = "lenient::any")]
    pub bound_volume_snapshot_content_name: String,
    /// A volume can be made from it.
    #[serde(deserialize_with = "lenient::any")]
    pub ready_to_use: bool,
    /// The smallest volume that can be made from it, as a quantity; empty if that is not known.
    #[serde(deserialize_with = "lenient::any")]
    pub restore_size: String,
    /// The last error. Its controller tries again, and removes it after a success.
    #[serde(deserialize_with = "lenient::any")]
    pub error: Option<VolumeSnapshotError>,
}

/// Why it is not ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotError {
    #[serde(deserialize_with = "lenient::any")]
    pub message: String,
    /// Since when it is this one.
    #[serde(deserialize_with = "lenient::any")]
    pub time: Option<Timestamp>,
}

/// A VolumeSnapshotContent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotContent {
    #[serde(deserialize_with = "lenient::any")]
    pub metadata: Meta,
    #[serde(deserialize_with = "lenient::any")]
    pub spec: VolumeSnapshotContentSpec,
    #[serde(deserialize_with = "lenient::any")]
    pub status: VolumeSnapshotContentStatus,
}

/// Where the snapshot is from, and whose it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotContentSpec {
    #[serde(deserialize_with = "lenient::any")]
    pub source: VolumeSnapshotContentSource,
    #[serde(deserialize_with = "lenient::any")]
    pub volume_snapshot_ref: Meta,
}

/// What the content is of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotContentSource {
    /// Handle of a snapshot that existed before it.
    #[serde(deserialize_with = "lenient::any")]
    pub snapshot_handle: String,
}

/// What the driver made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotContentStatus {
    /// The driver's name of the snapshot.
    #[serde(deserialize_with = "lenient::any")]
    pub snapshot_handle: String,
}

/// A VolumeSnapshotClass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotClass {
    /// The driver that makes its snapshots.
    #[serde(deserialize_with = "lenient::any")]
    pub driver: String,
}

impl Object for VolumeSnapshot {}
impl Object for VolumeSnapshotSpec {}
impl Object for VolumeSnapshotSource {}
impl Object for VolumeSnapshotStatus {}
impl Object for VolumeSnapshotError {}
impl Object for VolumeSnapshotContent {}
impl Object for VolumeSnapshotContentSpec {}
impl Object for VolumeSnapshotContentSource {}
impl Object for VolumeSnapshotContentStatus {}
impl Object for VolumeSnapshotClass {}
