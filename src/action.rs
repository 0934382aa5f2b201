//! Everything wsman can do to the cluster, as values. `cluster::act` is the only code that carries them out.

mod copy;
mod services;
mod volumes;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use copy::PodCopy;
pub use services::{BuildServices, ServiceSync};
pub use volumes::{SNAPSHOTS, VolumeSnapshotPlan, VolumeSnapshotRestore};

/// The pod an action is meant for. Actions never touch a newer pod of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// Name in the configured namespace.
    pub name: String,
    /// uid of the pod that was decided on.
    pub uid: String,
}

/// Annotations to set and to remove in one merge patch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// Keys to set.
    pub set: BTreeMap<String, String>,
    /// Keys to remove.
    pub remove: Vec<String>,
}

impl Mark {
    /// Returns the mark that sets an annotation, or removes it.
    pub fn put(key: &str, value: Option<String>) -> Self {
        let mut mark = Self::default();
        match value {
            Some(value) => drop(mark.set.insert(key.to_owned(), value)),
            None => mark.remove.push(key.to_owned()),
        }
        mark
    }
}

/// What may change of a pod once it is there, in one patch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodChange {
    /// Annotations.
    pub mark: Mark,
    /// The scheduling gates that it keeps; `None`: those that it has.
    pub gates: Option<Vec<String>>,
    /// Seconds after which its node ends it, counted from its start. The API server refuses more than there were.
    pub active_deadline: Option<i64>,
    /// Only if it still is at this resourceVersion: its old marks were taken into account.
    pub version: Option<String>,
}

impl PodChange {
    /// Returns the change of annotations of a pod that is at a version.
    pub fn mark_at(version: String, mark: Mark) -> Self {
        Self {
            mark,
            version: Some(version),
            ..Self::default()
        }
    }
}

/// Keys to set and to remove in a Secret. Its values are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretChange {
    /// Values to set.
    pub set: BTreeMap<String, String>,
    /// Keys to remove.
    pub remove: Vec<String>,
    /// Labels of the pod that a new Secret does not get.
    pub unlabelled: &'static [&'static str],
}

impl SecretChange {
    /// Returns the Secret that holds what is set, named like its pod, which has these labels. Without an owner reference.
    pub fn build(&self, name: &str, namespace: &str, labels: &BTreeMap<String, String>) -> Secret {
        let mut labels = labels.clone();
        labels.retain(|key, _| !self.unlabelled.contains(&key.as_str()));
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            string_data: Some(self.set.clone()),
            ..Secret::default()
        }
    }
}

impl fmt::Debug for SecretChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretChange")
            .field("set", &self.set.keys().collect::<Vec<_>>())
            .field("remove", &self.remove)
            .finish()
    }
}

/// An object that a pod needs beside it; created with an owner reference to the pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Dependant {
    /// Protected environment and other secrets.
    Secret(Box<Secret>),
    /// A volume that outlives the pod's containers.
    Pvc(Box<PersistentVolumeClaim>),
    /// Ports of the pod.
    Service(Box<Service>),
}

/// A change of the Lease, which fails if it is no longer as it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseUpdate {
    /// Version that was seen; `None`: there was no Lease, it is to be created.
    pub version: Option<String>,
    /// What it is to say.
    pub spec: Box<LeaseSpec>,
}

/// Entries to set and to remove in one of the ConfigMaps that keep what replicas share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the ConfigMap.
    pub name: String,
    /// The label by which it is found.
    pub label: (&'static str, &'static str),
    /// The ConfigMap was seen; else it is created first.
    pub exists: bool,
    /// Entries to set.
    pub set: BTreeMap<String, String>,
    /// Keys to remove.
    pub remove: Vec<String>,
}

/// One write. An action whose goal is already met is a success.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Create the pod: the commit point of a start.
    CreatePod(Box<Pod>),
    /// Create what the pod needs, owned by it.
    CreateDependant(PodRef, Dependant),
    /// Bring Services in line with the marks of a pod: create, change, and delete.
    SyncServices(Box<ServiceSync>),
    /// Change the Secret of the pod; it is created, owned by the pod, where there is none.
    ChangeSecret(PodRef, SecretChange),
    /// Change annotations of the pod.
    Mark(PodRef, Mark),
    /// Change what may be changed of the pod.
    ChangePod(PodRef, PodChange),
    /// Delete the pod with a grace period; background propagation.
    Stop(PodRef, Duration),
    /// Delete the pod without waiting for its node.
    ForceDelete(PodRef),
    /// Take a finalizer off the pod.
    RemoveFinalizer(PodRef, &'static str),
    /// Take, renew or release the Lease.
    UpdateLease(LeaseUpdate),
    /// Record activity.
    Checkpoint(Checkpoint),
    /// Change labels of the pod; null removes.
    Label(PodRef, BTreeMap<&'static str, Option<&'static str>>),
    /// Copy annotations with these keys from the first pod, as it is now, to the second.
    CopyMarks(PodRef, PodRef, &'static [&'static str]),
    /// Create a pod like another, as that is now.
    CopyPod(Box<PodCopy>),
    /// Delete the pod at once and take a finalizer off, unless somebody wants it.
    Discard(Discard),
    /// Snapshot the volume of a pod.
    CreateVolumeSnapshot(Box<VolumeSnapshotPlan>),
    /// Make a snapshot known again that only its driver has.
    RestoreVolumeSnapshot(Box<VolumeSnapshotRestore>),
    /// Delete the volume snapshot with this name and uid.
    DeleteVolumeSnapshot(String, String),
    /// Delete a PersistentVolumeClaim that the pod owns.
    DeletePvc(PodRef, String),
    /// Keep a PersistentVolumeClaim when the pod goes that owns it.
    KeepPvc(PodRef, String),
}

/// A command in a container of a pod. Running it again does what running it once does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub pod: PodRef,
    pub container: &'static str,
    pub argv: Vec<String>,
    /// What it does, for errors.
    pub doing: String,
}

/// A pod that is to go, and what speaks against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discard {
    pub pod: PodRef,
    /// The finalizer that is taken off.
    pub finalizer: &'static str,
    /// Only if it still is at this version.
    pub version: Option<u64>,
    /// Not while this pod is there; without a uid, any of its name.
    pub unless: Option<PodRef>,
}
