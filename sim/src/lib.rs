//! A simulated Kubernetes cluster: an API server inside the process, and nodes that are only its clients. It knows
//! nothing of the programs that use it.
//!
//! [`apiserver`] answers as a real one does (`testdata/conformance/` has the responses of both). [`kubelet`] works
//! against either: `script` decides its next step for a pod, `scheduler` the pod's node. Containers are played, or are
//! processes of the machine.

pub mod apiserver;
mod exec;
mod garbage;
pub mod kubelet;
mod logs;
mod scheduler;
mod script;
pub mod snapshots;

/// The Kubernetes version of the embedded cluster.
pub(crate) const KUBERNETES: &str = "v1.36.0+wsman";
