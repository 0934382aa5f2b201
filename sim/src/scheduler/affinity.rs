//! Required affinity and anti-affinity between pods. Of other namespaces, only those that a term lists count.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::PodAffinityTerm;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Misfit, Nodes, Usage, holds};
use crate::kubelet::node::Member;
use crate::kubelet::pod::Pod;

/// The nodes that the affinities of a pod, and those of the pods that are placed, leave for it.
pub(super) struct Rules<'a> {
    /// Per term of the affinity: its key, and the domains that have pods it selects.
    wanted: Vec<(&'a str, HashSet<&'a str>)>,
    /// No pod is selected but the pod itself: any domain does.
    is_first: bool,
    /// The same of the anti-affinity, whose domains are out.
    unwanted: Vec<(&'a str, HashSet<&'a str>)>,
    /// Keys and domains of placed pods whose anti-affinity selects the pod.
    refused: HashSet<(&'a str, &'a str)>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(pod: &'a Pod, nodes: &'a Nodes, usage: &'a Usage) -> Rules<'a> {
        let (affinity, anti) = (affinity(pod), anti_affinity(pod));
        let mut rules = Rules {
            wanted: affinity.iter().map(start).collect(),
            is_first: false,
            unwanted: anti.iter().map(start).collect(),
            refused: HashSet::new(),
        };
        if affinity.is_empty() && anti.is_empty() && !usage.has_anti_affinity() {
            return rules;
        }
        for (node, placed) in usage.placed() {
            let Some(node) = nodes.get(node) else {
                continue;
            };
            if affinity.iter().all(|term| selects(term, pod, placed)) {
                add(&mut rules.wanted, node);
            }
            for (term, domains) in anti.iter().zip(&mut rules.unwanted) {
                if selects(term, pod, placed) {
                    add(std::slice::from_mut(domains), node);
                }
            }
            for term in anti_affinity(placed) {
                if let Some(domain) = node.labels.get(&term.topology_key)
                    && selects(term, placed, pod)
                {
                    rules.refused.insert((&term.topology_key, domain));
                }
            }
        }
        let none = rules.wanted.iter().all(|(_, domains)| domains.is_empty());
        rules.is_first = none && affinity.iter().all(|term| selects(term, pod, pod));
        rules
    }

    /// Why the pod cannot run on the node.
    pub(super) fn misfit(&self, node: &Member) -> Option<Misfit> {
        let domain = |key: &str| node.labels.get(key).map(String::as_str);
        let is_in = |(key, domains): &(&str, HashSet<&str>)| {
            domain(key).is_some_and(|domain| domains.contains(domain))
        };
        let reaches = |term: &(&str, HashSet<&str>)| {
            is_in(term) || (self.is_first && domain(term.0).is_some())
        };
        if !self.wanted.iter().all(reaches) {
            return Some(Misfit::lasting("node(s) didn't match pod affinity rules"));
        }
        if self.unwanted.iter().any(is_in) {
            return Some(Misfit::passing(
                "node(s) didn't match pod anti-affinity rules",
            ));
        }
        let refuses = |(key, value): &(&str, &str)| domain(key) == Some(*value);
        self.refused
            .iter()
            .any(refuses)
            .then(|| Misfit::passing("node(s) didn't satisfy existing pods anti-affinity rules"))
    }
}

/// Whether a pod asks for the company of others.
pub(crate) fn is_attracted(pod: &Pod) -> bool {
    !affinity(pod).is_empty()
}

/// The required terms of the anti-affinity of a pod.
pub(super) fn anti_affinity(pod: &Pod) -> &[PodAffinityTerm] {
    let all = pod.spec.affinity.as_ref();
    let anti = all.and_then(|all| all.pod_anti_affinity.as_ref());
    let required = anti.and_then(|anti| {
        anti.required_during_scheduling_ignored_during_execution
            .as_deref()
    });
    required.unwrap_or_default()
}

fn affinity(pod: &Pod) -> &[PodAffinityTerm] {
    let all = pod.spec.affinity.as_ref();
    let affinity = all.and_then(|all| all.pod_affinity.as_ref());
    let required = affinity.and_then(|affinity| {
        affinity
            .required_during_scheduling_ignored_during_execution
            .as_deref()
    });
    required.unwrap_or_default()
}

fn start(term: &PodAffinityTerm) -> (&str, HashSet<&str>) {
    (&term.topology_key, HashSet::new())
}

fn add<'a>(terms: &mut [(&'a str, HashSet<&'a str>)], node: &'a Member) {
    for (key, domains) in terms {
        domains.extend(node.labels.get(*key).map(String::as_str));
    }
}

/// Whether a term of `pod` selects `other`.
fn selects(term: &PodAffinityTerm, pod: &Pod, other: &Pod) -> bool {
    let namespace = other.namespace();
    let listed = match term.namespaces.as_deref() {
        None | Some([]) => pod.namespace() == namespace,
        Some(all) => all.iter().any(|one| one == namespace),
    };
    let selector = term.label_selector.as_ref();
    listed && selector.is_some_and(|selector| matches(selector, other))
}

fn matches(selector: &LabelSelector, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key));
    let mut equal = selector.match_labels.iter().flatten();
    let mut asked = selector.match_expressions.iter().flatten();
    equal.all(|(key, value)| label(key) == Some(value))
        && asked.all(|r| {
            let value = label(&r.key).map(String::as_str);
            holds(value, &r.operator, r.values.as_deref())
        })
}
