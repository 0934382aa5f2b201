//! The names of a workspace's objects (docs/protocol.md#pods, docs/protocol.md#services-and-addresses).

pub use crate::names::*;
use crate::proto::wsman::WorkspaceType;

/// Returns the name of a workspace's pod, its Secret and its PersistentVolumeClaim.
pub fn pod(kind: WorkspaceType, id: &str) -> String {
    match kind {
        WorkspaceType::Regular => format!("ws-{id}"),
        WorkspaceType::Prebuild => format!("prebuild-{id}"),
        WorkspaceType::Imagebuild => format!("imagebuild-{id}"),
    }
}

/// Returns the name of the Service of a workspace's IDE, in lower case.
pub fn ide_service(prefix: &str) -> String {
    format!("ws-{}-ide", prefix.to_ascii_lowercase())
}

/// Returns the name of the Service of a workspace's exposed ports.
pub fn ports_service(prefix: &str) -> String {
    format!("ws-{}-ports", prefix.to_ascii_lowercase())
}
