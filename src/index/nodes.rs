//! The nodes that the pods are on.

use std::collections::{HashMap, HashSet};

use super::noun::Group;
use super::noun::Noun;
use super::observed::NodeView;
use super::{Changes, Index};
use crate::objects::{Node, Pod};

/// The nodes as far as they were seen.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_name: HashMap<String, Node>,
    /// Nodes that are gone while pods name them. Those pods go on changing: their versions no longer show it.
    pub(super) gone: HashSet<String>,
    /// Version of the last complete list; 0 where there was none, as without the right to.
    listed: u64,
}

impl<N: Noun> Index<N> {
    /// Takes in a node.
    pub fn apply_node(&mut self, node: Node) -> Changes<N> {
        let name = node.metadata.name.clone();
        self.nodes.gone.remove(&name);
        let before = self.nodes.by_name.get(&name);
        let matters = before.is_none_or(|before| N::depends_on_node(before, &node));
        let shared = N::shares_nodes(before, Some(&node));
        self.nodes.by_name.insert(name.clone(), node);
        let mut changes = match matters {
            true => self.on_node(&name),
            false => Changes::default(),
        };
        changes.shared = shared;
        changes
    }

    /// Returns the nodes that are there, in no order; none without the right to list them.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.by_name.values()
    }

    /// Whether the nodes were listed.
    pub fn lists_nodes(&self) -> bool {
        self.nodes.listed > 0
    }

    /// Takes in that a node is gone since `version`.
    pub fn delete_node(&mut self, name: &str, version: u64) -> Changes<N> {
        let before = self.nodes.by_name.remove(name);
        self.nodes.gone.insert(name.to_owned());
        self.forget_nodes();
        self.nodes.listed = self.nodes.listed.max(version);
        let mut changes = self.on_node(name);
        changes.shared = N::shares_nodes(before.as_ref(), None);
        changes
    }

    /// Takes in that a complete list at `version` held only the nodes in `present`.
    pub fn retain_nodes(&mut self, present: &HashSet<String>, version: u64) -> Changes<N> {
        let gone = self
            .nodes
            .by_name
            .extract_if(|name, _| !present.contains(name));
        self.nodes.gone.extend(gone.map(|(name, _)| name));
        self.forget_nodes();
        self.nodes.listed = version;
        let gone = |node: &str| !node.is_empty() && !present.contains(node);
        let mut changes = self.pods_on(gone);
        changes.shared = true;
        changes
    }

    pub(super) fn node(&self, pod: &Pod) -> NodeView<'_> {
        let name = &pod.spec.node_name;
        match self.nodes.by_name.get(name) {
            Some(node) => NodeView::Present(node),
            None if self.nodes.gone.contains(name) => NodeView::Gone,
            None => NodeView::Unknown,
        }
    }

    /// A node that was never known is gone only if it was not there in a list that is newer than the pod: the news of a
    /// new node may come after those of its first pods.
    pub(super) fn miss_node(&mut self, pod: &Pod) {
        let name = &pod.spec.node_name;
        let listed = pod.metadata.version() <= self.nodes.listed;
        if listed && !name.is_empty() && !self.nodes.by_name.contains_key(name) {
            self.nodes.gone.insert(name.clone());
        }
    }

    /// Only what a pod names is kept.
    fn forget_nodes(&mut self) {
        let members = self.groups.values().flat_map(Group::living);
        let named: HashSet<&str> = members.map(|member| &*member.node).collect();
        self.nodes.gone.retain(|name| named.contains(name.as_str()));
    }

    /// The pods of a node whose taints changed, or that came or went.
    fn on_node(&self, node: &str) -> Changes<N> {
        self.pods_on(|other| other == node)
    }

    fn pods_on(&self, is_there: impl Fn(&str) -> bool) -> Changes<N> {
        let members = self.groups.values().flat_map(Group::living);
        let there = members.filter(|member| is_there(&member.node));
        Changes {
            reread: there
                .map(|member| member.pod.name.as_str().into())
                .collect(),
            ..Changes::default()
        }
    }
}
