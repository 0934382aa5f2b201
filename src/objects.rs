//! What wsman reads of Kubernetes objects: only the fields the fold uses. Decoding is total: unknown fields are
//! skipped, and a malformed field spoils only itself (it reads as absent).

mod event;
mod lenient;
mod list;
mod meta;
mod node;
mod pod;
mod record;
mod secret;
mod service;

pub use event::Event;
pub use list::{List, Object};
pub use meta::{Meta, Owner};
pub use node::{Node, Taint};
pub use pod::{
    Condition, Container, ContainerState, ContainerStatus, Pod, PodSpec, PodStatus, Terminated,
    Toleration, Waiting,
};
pub use record::{ConfigMap, Lease, LeaseSpec};
pub use secret::Secret;
pub use service::{Service, ServicePort, ServiceSpec};
