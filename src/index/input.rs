//! Everything that the API server sends to the index, as one closed set: an observer sees each input before it is
//! folded.

use std::collections::HashSet;

use super::noun::Noun;
use super::{Changes, Index};
use crate::objects::{Event, Node, Pod, Service};

/// How a pod became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// An event of the watch.
    Watch,
    /// An item of a list.
    List,
    /// The answer to a call.
    Answer,
}

/// One input. A list is its objects, each by itself, and then that it is complete: its names and its version.
#[derive(Debug)]
pub enum Input<'a> {
    /// A pod as it is.
    Pod(Source, &'a Pod),
    /// A pod is gone; this was its last state.
    PodGone(&'a Pod),
    /// All pods were listed.
    PodsListed(&'a HashSet<String>, u64),
    /// A pod that lost the label by which the others are found.
    Stray(&'a Pod),
    /// A stray is gone, or has its label again.
    StrayGone(&'a Pod),
    /// All strays were listed.
    StraysListed(&'a HashSet<String>),
    Service(Service),
    /// A Service is gone; this was its last state.
    ServiceGone(Service),
    /// All Services were listed.
    ServicesListed(&'a HashSet<String>),
    Node(Node),
    /// A node is gone; this was its last state.
    NodeGone(Node),
    /// All nodes were listed.
    NodesListed(&'a HashSet<String>, u64),
    /// A warning about a pod.
    Event(Event),
    /// A warning is gone; this was its last state.
    EventGone(&'a Event),
    /// All warnings were listed.
    EventsListed(&'a HashSet<String>, u64),
}

impl<N: Noun> Index<N> {
    /// Takes in an input.
    pub fn take(&mut self, input: Input<'_>) -> Changes<N> {
        match input {
            Input::Pod(Source::Watch, pod) => self.apply_pod(pod),
            Input::Pod(Source::List, pod) => self.list_pod(pod),
            Input::Pod(Source::Answer, pod) => self.see_pod(pod),
            Input::PodGone(pod) => self.delete_pod(pod),
            Input::PodsListed(names, version) => self.retain_pods(names, version),
            Input::Stray(pod) => self.apply_stray(pod),
            Input::StrayGone(pod) => self.delete_stray(&pod.metadata.uid),
            Input::StraysListed(names) => self.retain_strays(names),
            Input::Service(service) => self.apply_service(service),
            Input::ServiceGone(service) => self.delete_service(&service.metadata.name),
            Input::ServicesListed(names) => self.retain_services(names),
            Input::Node(node) => self.apply_node(node),
            Input::NodeGone(node) => self.delete_node(&node.metadata.name, node.metadata.version()),
            Input::NodesListed(names, version) => self.retain_nodes(names, version),
            Input::Event(event) => self.apply_event(event),
            Input::EventGone(event) => self.delete_event(event),
            Input::EventsListed(names, version) => self.retain_events(names, version),
        }
    }
}
