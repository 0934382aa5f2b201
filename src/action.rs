//! Everything wsman can do to the cluster, as values. `cluster::act` is the only code that carries them out.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};

/// The pod an action is meant for. Actions never touch a newer pod of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// Name in the configured namespace.
    pub name: String,
    /// uid of the pod that was decided on.
    pub uid: String,
}

/// The ConfigMap that stands for a group between two pods. Actions never touch a newer one of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRef {
    /// Name in the configured namespace; that of the pod.
    pub name: String,
    /// uid of the record that was decided on.
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

/// Keys to set and to remove in a Secret. Its values are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretChange {
    /// Values to set.
    pub set: BTreeMap<String, String>,
    /// Keys to remove.
    pub remove: Vec<String>,
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

/// Entries to set and to remove in one of the ConfigMaps that record activity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the ConfigMap.
    pub name: String,
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
    /// Bring the Services of the pod in line with its marks: create, change, and delete those that are its own.
    SyncServices {
        pod: PodRef,
        /// New ones have no cluster IP unless they need one.
        headless: bool,
    },
    /// Change the Secret of the pod; it is created, owned by the pod, where there is none.
    ChangeSecret(PodRef, SecretChange),
    /// Change annotations of the pod.
    Mark(PodRef, Mark),
    /// Set a label of the pod.
    Label(PodRef, &'static str, &'static str),
    /// Change annotations of the pod only if it still is at this resourceVersion: its old marks were taken into account.
    MarkVersion(PodRef, String, Mark),
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
    /// A step of making a rejected pod again.
    Recreate(Recreate),
}

/// One step of making a rejected pod again; whoever decides knows their order. A version is a precondition: of
/// an object that has changed since nothing is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Recreate {
    /// Create the record of the pod in this version, owned by the pod.
    Record(PodRef, u64),
    /// Mark the pod in this version as replaced by the record.
    Commit(PodRef, u64, RecordRef),
    /// Make the record an owner of what belongs to its pod, and free it of that pod.
    Inherit(RecordRef),
    /// Delete the pod in this version and take our finalizer off.
    Vacate(PodRef, u64),
    /// Create the new pod, owned by the record.
    Create(RecordRef),
    /// Make the new pod the owner of what belonged to the old one, and free it of the record.
    Settle(RecordRef, PodRef),
    /// Delete the record, where a version is given only in that.
    Forget(RecordRef, Option<u64>),
    /// Change annotations of the record.
    MarkRecord(RecordRef, Mark),
    /// Remove a new pod whose record is gone: it was created too late.
    RemoveOrphan(PodRef, RecordRef),
}

impl Recreate {
    /// Returns the name of the step.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Record(..) => "record",
            Self::Commit(..) => "commit",
            Self::Inherit(..) => "inherit",
            Self::Vacate(..) => "vacate",
            Self::Create(..) => "create",
            Self::Settle(..) => "settle",
            Self::Forget(..) => "forget",
            Self::MarkRecord(..) => "mark record",
            Self::RemoveOrphan(..) => "remove orphan",
        }
    }
}
