//! Finds a node for a pod as the default scheduler does, without weights: filters, then round robin; pure.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{NodeSelectorTerm, Taint, Toleration};

use super::kubelet::node::Member;
use super::kubelet::pod::Pod;

/// The nodes by name.
pub(crate) type Nodes = BTreeMap<String, Member>;

/// The name of a node for `pod`, or the scheduler's reason why there is none. Only nodes of the simulation count:
/// several simulations can share a cluster. `used` counts the pods of each node, `turn` is the round robin.
pub(crate) fn place(
    pod: &Pod,
    nodes: &Nodes,
    used: &HashMap<String, usize>,
    turn: &mut usize,
) -> Result<String, String> {
    let mut fitting = Vec::new();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = 0;
    for node in nodes.values().filter(|node| node.ours) {
        count += 1;
        match misfit(pod, node, used.get(&node.name).copied().unwrap_or(0)) {
            None => fitting.push(&node.name),
            Some(reason) => *reasons.entry(reason).or_default() += 1,
        }
    }
    if fitting.is_empty() {
        return Err(unavailable(count, &reasons));
    }
    *turn = turn.wrapping_add(1);
    Ok(fitting[*turn % fitting.len()].clone())
}

/// The message of a pod that all nodes reject for one reason.
pub(crate) fn refused_by_all(nodes: &Nodes, reason: &str) -> String {
    let count = nodes.values().filter(|node| node.ours).count();
    unavailable(count, &BTreeMap::from([(reason.to_owned(), count)]))
}

fn unavailable(count: usize, reasons: &BTreeMap<String, usize>) -> String {
    if count == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut parts: Vec<_> = reasons
        .iter()
        .map(|(why, n)| format!("{n} {why}"))
        .collect();
    parts.sort();
    let preemption = match reasons.keys().any(|why| !why.starts_with("node(s)")) {
        true => "No preemption victims found for incoming pod",
        false => "Preemption is not helpful for scheduling",
    };
    format!(
        "0/{count} nodes are available: {}. preemption: 0/{count} nodes are available: {count} {preemption}.",
        parts.join(", ")
    )
}

/// Why `pod` cannot run on `node`, with the scheduler's text.
fn misfit(pod: &Pod, node: &Member, used: usize) -> Option<String> {
    if node.unschedulable && !tolerates(&pod.spec.tolerations, &unschedulable()) {
        return Some("node(s) were unschedulable".to_owned());
    }
    let harmful = |taint: &&Taint| taint.effect != "PreferNoSchedule";
    let refused = |taint: &&Taint| !tolerates(&pod.spec.tolerations, taint);
    if let Some(taint) = node.taints.iter().filter(harmful).find(refused) {
        let value = taint.value.as_deref().unwrap_or_default();
        return Some(format!(
            "node(s) had untolerated taint {{{}: {value}}}",
            taint.key
        ));
    }
    if !selected(pod, node) {
        return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
    }
    // The real one sees this in a taint that the node controller adds a moment later.
    if !node.ready {
        return Some("node(s) were not ready".to_owned());
    }
    (used >= node.room).then(|| "Too many pods".to_owned())
}

fn unschedulable() -> Taint {
    Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    }
}

fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let same_value = match toleration.operator.as_deref() {
            Some("Exists") => true,
            _ => {
                let wanted = toleration.value.as_deref().unwrap_or_default();
                !key.is_empty() && wanted == taint.value.as_deref().unwrap_or_default()
            }
        };
        let same_key = key.is_empty() || key == taint.key;
        same_key && same_value && (effect.is_empty() || effect == taint.effect)
    })
}

fn selected(pod: &Pod, node: &Member) -> bool {
    let labelled = |(key, value): (&String, &String)| node.labels.get(key) == Some(value);
    if !pod.spec.node_selector.iter().all(labelled) {
        return false;
    }
    let affinity = pod
        .spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| {
        a.required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    required.is_none_or(|required| {
        required
            .node_selector_terms
            .iter()
            .any(|term| matches(term, node))
    })
}

fn matches(term: &NodeSelectorTerm, node: &Member) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if labels.is_empty() && fields.is_empty() {
        return false; // a term without requirements matches nothing
    }
    let label = |key: &str| node.labels.get(key).map(String::as_str);
    let field = |key: &str| (key == "metadata.name").then_some(node.name.as_str());
    labels
        .iter()
        .all(|r| holds(label(&r.key), &r.operator, r.values.as_deref()))
        && fields
            .iter()
            .all(|r| holds(field(&r.key), &r.operator, r.values.as_deref()))
}

fn holds(value: Option<&str>, operator: &str, wanted: Option<&[String]>) -> bool {
    let wanted = wanted.unwrap_or_default();
    let listed = value.is_some_and(|value| wanted.iter().any(|w| w == value));
    let compare = || {
        let value: i64 = value?.parse().ok()?;
        let bound: i64 = wanted.first()?.parse().ok()?;
        Some(value.cmp(&bound))
    };
    match operator {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare().is_some_and(std::cmp::Ordering::is_gt),
        "Lt" => compare().is_some_and(std::cmp::Ordering::is_lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
