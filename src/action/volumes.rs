//! Snapshots of volumes: what they are made from, as values.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::PodRef;
use crate::objects::Meta;

/// Their API group and version.
pub const SNAPSHOTS: &str = "snapshot.storage.k8s.io/v1";

/// A snapshot of the volume of a pod. It is not owned by the pod: it outlives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSnapshotPlan {
    /// Name of the VolumeSnapshot.
    pub name: String,
    /// Its labels are the snapshot's.
    pub pod: PodRef,
    /// The PersistentVolumeClaim that it is of.
    pub pvc: String,
    /// Its VolumeSnapshotClass; empty for the cluster's default.
    pub class: String,
    /// Annotations of the pod that it gets.
    pub annotations: &'static [&'static str],
}

impl VolumeSnapshotPlan {
    /// Returns the VolumeSnapshot; `pod` is the metadata of its pod.
    pub fn build(&self, namespace: &str, pod: &Meta) -> Value {
        let annotations = pod.annotations.iter();
        let annotations: BTreeMap<_, _> = annotations
            .filter(|(key, _)| self.annotations.contains(&key.as_str()))
            .collect();
        let mut spec = json!({ "source": { "persistentVolumeClaimName": self.pvc } });
        if !self.class.is_empty() {
            spec["volumeSnapshotClassName"] = self.class.as_str().into();
        }
        json!({
            "apiVersion": SNAPSHOTS,
            "kind": "VolumeSnapshot",
            "metadata": {
                "name": self.name,
                "namespace": namespace,
                "labels": pod.labels,
                "annotations": annotations,
            },
            "spec": spec,
        })
    }
}

/// A VolumeSnapshot for a snapshot that its driver has, and Kubernetes does not know any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSnapshotRestore {
    /// Name of the VolumeSnapshot.
    pub name: String,
    /// The driver's name of the snapshot.
    pub handle: String,
    /// A VolumeSnapshotClass of that driver.
    pub class: String,
    /// Labels of the VolumeSnapshot.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the VolumeSnapshot.
    pub annotations: BTreeMap<String, String>,
}

impl VolumeSnapshotRestore {
    /// Returns the name of its VolumeSnapshotContent.
    pub fn content(&self) -> String {
        format!("restored-{}", self.name)
    }

    /// Returns the VolumeSnapshotContent, which the driver deletes with its VolumeSnapshot.
    pub fn build_content(&self, namespace: &str, driver: &str) -> Value {
        json!({
            "apiVersion": SNAPSHOTS,
            "kind": "VolumeSnapshotContent",
            "metadata": { "name": self.content() },
            "spec": {
                "deletionPolicy": "Delete",
                "driver": driver,
                "source": { "snapshotHandle": self.handle },
                "volumeSnapshotClassName": self.class,
                "volumeSnapshotRef": { "name": self.name, "namespace": namespace },
            },
        })
    }

    /// Returns the VolumeSnapshot.
    pub fn build(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": SNAPSHOTS,
            "kind": "VolumeSnapshot",
            "metadata": {
                "name": self.name,
                "namespace": namespace,
                "labels": self.labels,
                "annotations": self.annotations,
            },
            "spec": {
                "source": { "volumeSnapshotContentName": self.content() },
                "volumeSnapshotClassName": self.class,
            },
        })
    }
}
