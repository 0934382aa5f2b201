//! The simulated cluster: an API server inside the process, and nodes that are only clients of one. Both are for trying
//! wsman and for its tests.
//!
//! [`apiserver`] answers as a real one does (`testdata/conformance/` holds what both answer). [`kubelet`] works against
//! either: what it does next with a pod, `script` decides; where the pod goes, `scheduler` does.

pub mod apiserver;
pub mod kubelet;
mod scheduler;
mod script;
