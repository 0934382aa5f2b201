//! The labels of Gitpod nodes (docs/protocol.md#pods): pods select them, and simulated nodes have them.

use std::collections::BTreeMap;

use crate::proto::wsman::WorkspaceType;

/// The label of a node for workspaces of this kind.
pub(super) fn workload(kind: WorkspaceType) -> String {
    let workload = match kind {
        WorkspaceType::Regular => "regular",
        WorkspaceType::Prebuild | WorkspaceType::Imagebuild => "headless",
    };
    format!("gitpod.io/workload_workspace_{workload}")
}

/// The labels of a node with both ready node services of this namespace.
pub(super) fn services(namespace: &str) -> [String; 2] {
    ["ws-daemon", "registry-facade"]
        .map(|service| format!("gitpod.io/{service}_ready_ns_{namespace}"))
}

/// Returns the labels of a node for every workspace of this namespace.
pub fn labels(namespace: &str) -> BTreeMap<String, String> {
    let workloads = [WorkspaceType::Regular, WorkspaceType::Prebuild].map(workload);
    let keys = workloads.into_iter().chain(services(namespace));
    keys.map(|key| (key, "true".to_owned())).collect()
}
