//! Where the ws-daemons are: their pods, by node.

use std::collections::{BTreeMap, HashSet};

use crate::objects::Pod;

/// The pods of ws-daemons, by name.
#[derive(Debug, Default)]
pub(super) struct Nodes(BTreeMap<String, Daemon>);

#[derive(Debug)]
struct Daemon {
    node: String,
    /// Empty before the pod has one.
    address: String,
    is_ready: bool,
}

impl Nodes {
    pub(super) fn apply(&mut self, pod: &Pod) {
        let leaves = pod.metadata.deletion_timestamp.is_some();
        let ready = pod.condition("Ready").is_some_and(|c| c.status == "True");
        let daemon = Daemon {
            node: pod.spec.node_name.clone(),
            address: pod.status.pod_ip.clone(),
            is_ready: ready && !leaves,
        };
        self.0.insert(pod.metadata.name.clone(), daemon);
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(super) fn retain(&mut self, names: &HashSet<String>) {
        self.0.retain(|name, _| names.contains(name));
    }

    /// Returns the address of the daemon of a node that is ready.
    pub(super) fn ready(&self, node: &str) -> Option<&str> {
        let mut on_node = self.0.values().filter(|daemon| daemon.node == node);
        let found = on_node.find(|daemon| daemon.is_ready && !daemon.address.is_empty())?;
        Some(&found.address)
    }

    /// Whether a daemon of the node has this address, ready or not.
    pub(super) fn has(&self, node: &str, address: &str) -> bool {
        let mut all = self.0.values();
        all.any(|daemon| daemon.node == node && daemon.address == address)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, address: &str, ready: bool) -> Pod {
        let ready = if ready { "True" } else { "False" };
        serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": { "nodeName": node },
            "status": { "podIP": address, "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    #[test]
    fn the_one_that_is_ready_is_found() {
        let mut nodes = Nodes::default();
        nodes.apply(&pod("a", "node-a", "10.0.0.1", false));
        nodes.apply(&pod("b", "node-b", "10.0.0.2", true));
        assert_eq!(nodes.ready("node-a"), None);
        assert!(nodes.has("node-a", "10.0.0.1") && !nodes.has("node-b", "10.0.0.1"));
        // Another one takes its place.
        nodes.apply(&pod("c", "node-a", "10.0.0.3", true));
        assert_eq!(nodes.ready("node-a"), Some("10.0.0.3"));
        let mut leaving = pod("c", "node-a", "10.0.0.3", true);
        leaving.metadata.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH);
        nodes.apply(&leaving);
        assert_eq!(nodes.ready("node-a"), None);
        nodes.retain(&["b".to_owned()].into());
        assert!(!nodes.has("node-a", "10.0.0.3"));
        nodes.delete("b");
        assert_eq!(nodes.ready("node-b"), None);
    }
}
