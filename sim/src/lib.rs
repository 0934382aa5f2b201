//! A simulated Kubernetes cluster: an API server inside the process, and nodes that are only clients of one. It knows
//! nothing of the programs that use it.
//!
//! [`apiserver`] answers as a real one does (`testdata/conformance/` holds what both answer). [`kubelet`] works against
//! either: what it does next with a pod, `script` decides; where the pod goes, `scheduler` does.

pub mod apiserver;
mod garbage;
pub mod kubelet;
mod logs;
mod scheduler;
mod script;

/// The version of Kubernetes that the embedded cluster says it has.
pub(crate) const KUBERNETES: &str = "v1.36.0+wsman";
