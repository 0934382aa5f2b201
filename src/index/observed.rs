//! What a pod is judged by: the pod, the warnings about it, and its node.

use crate::objects::{Event, Node, Pod};

/// What is known of the node that a pod is bound to.
#[derive(Debug, Clone, Copy, Default)]
pub enum NodeView<'a> {
    /// Nodes are not watched, not listed yet, or the pod is not bound.
    #[default]
    Unknown,
    /// The pod is bound to a node that was there and is not any more, or that a list newer than the pod lacks.
    Gone,
    /// The node as it is now.
    Present(&'a Node),
}

/// All that a pod is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    pub pod: &'a Pod,
    /// Events about pods of its name, oldest first.
    pub events: &'a [Event],
    pub node: NodeView<'a>,
}

/// The node of a pod, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum KnownNode {
    /// Nothing is known of it.
    #[default]
    Unknown,
    /// There is none any more.
    Gone,
    /// As it is.
    Present(Box<Node>),
}

/// A copy of what a pod was judged by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects<D> {
    pub pod: Pod,
    /// Warnings about pods of its name.
    pub events: Vec<Event>,
    pub node: KnownNode,
    /// What the configuration adds.
    pub defaults: D,
}

impl<D: Clone> Objects<D> {
    /// Copies what a fold looks at.
    pub fn of(observed: &Observed<'_>, defaults: &D) -> Self {
        Self {
            pod: observed.pod.clone(),
            events: observed.events.to_vec(),
            node: match observed.node {
                NodeView::Unknown => KnownNode::Unknown,
                NodeView::Gone => KnownNode::Gone,
                NodeView::Present(node) => KnownNode::Present(Box::new(node.clone())),
            },
            defaults: defaults.clone(),
        }
    }

    /// Returns them as a fold takes them.
    pub fn observed(&self) -> Observed<'_> {
        Observed {
            pod: &self.pod,
            events: &self.events,
            node: match &self.node {
                KnownNode::Unknown => NodeView::Unknown,
                KnownNode::Gone => NodeView::Gone,
                KnownNode::Present(node) => NodeView::Present(node),
            },
        }
    }
}
