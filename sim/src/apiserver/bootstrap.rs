//! The initial objects of every cluster.

use serde_json::json;

use super::resources::NAMESPACES;
use super::store::State;
use super::write;

/// Creates the namespaces of a real API server, if they are missing.
pub(crate) fn namespaces(state: &mut State) {
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        if state.get(NAMESPACES, name).is_none() {
            write::install(state, NAMESPACES, json!({"metadata": {"name": name}}));
        }
    }
}
