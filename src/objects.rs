//! The Kubernetes objects as wsman reads them: only the fields that the fold uses. Decoding is total: unknown fields
//! are skipped, and a malformed field affects only itself (it reads as absent).

mod config_map;
mod event;
mod lease;
mod lenient;
mod list;
mod meta;
mod node;
mod pod;
mod secret;
mod service;
mod volume_snapshot;

pub use config_map::ConfigMap;
pub use event::Event;
pub use lease::{Lease, LeaseSpec};
pub use list::{List, Object};
pub use meta::{Meta, Owner};
pub use node::{Node, Taint};
pub use pod::{
    Condition, Container, ContainerState, ContainerStatus, Pod, PodSpec, PodStatus, Terminated,
    Toleration, Waiting,
};
pub use secret::Secret;
pub use service::{Service, ServicePort, ServiceSpec};
pub use volume_snapshot::{
    VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent, VolumeSnapshotError,
    VolumeSnapshotSource, VolumeSnapshotSpec, VolumeSnapshotStatus,
};
