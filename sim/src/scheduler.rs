//! Finds a node for a pod as the default scheduler does, without weights: filters, then round robin; pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorTerm, Taint, Toleration};

use super::kubelet::node::Member;
use super::kubelet::pod::Pod;
use affinity::Rules;
pub(crate) use affinity::is_attracted;
pub(crate) use usage::{Added, Amounts, Usage};

mod affinity;
#[cfg(test)]
mod tests;
mod usage;

/// The nodes by name.
pub(crate) type Nodes = BTreeMap<String, Member>;

/// Why a pod cannot run on a node, with the scheduler's text.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Misfit {
    why: Cow<'static, str>,
    /// The end of other pods may change it.
    passing: bool,
}

impl Misfit {
    fn lasting(why: impl Into<Cow<'static, str>>) -> Misfit {
        let why = why.into();
        Misfit {
            why,
            passing: false,
        }
    }

    fn passing(why: impl Into<Cow<'static, str>>) -> Misfit {
        let why = why.into();
        Misfit { why, passing: true }
    }
}

/// The name of a node for `pod`, or the scheduler's reason why there is none. Only nodes of the simulation count:
/// several simulations can share a cluster. `turn` is the round robin.
pub(crate) fn place(
    pod: &Pod,
    nodes: &Nodes,
    usage: &Usage,
    turn: &mut usize,
) -> Result<String, String> {
    let asked = usage::requests(pod);
    let rules = Rules::new(pod, nodes, usage);
    let mut fitting = Vec::new();
    let mut refusals = Refusals::default();
    for node in nodes.values().filter(|node| node.ours) {
        let misfits = misfits(pod, node, usage, &asked, &rules);
        match misfits.is_empty() {
            true => fitting.push(&node.name),
            false => refusals.add(misfits),
        }
    }
    if fitting.is_empty() {
        return Err(refusals.message());
    }
    *turn = turn.wrapping_add(1);
    Ok(fitting[*turn % fitting.len()].clone())
}

/// The message of a pod that all nodes reject for one reason.
pub(crate) fn refused_by_all(nodes: &Nodes, reason: &str) -> String {
    let mut refusals = Refusals::default();
    for _ in nodes.values().filter(|node| node.ours) {
        let reason = reason.to_owned();
        refusals.add(vec![match reason.starts_with("node(s)") {
            true => Misfit::lasting(reason),
            false => Misfit::passing(reason),
        }]);
    }
    refusals.message()
}

/// The nodes that are no place for a pod, by reason.
#[derive(Debug, Default)]
struct Refusals {
    nodes: usize,
    /// Nodes on which the end of other pods would help.
    passing: usize,
    reasons: BTreeMap<Cow<'static, str>, usize>,
}

impl Refusals {
    fn add(&mut self, misfits: Vec<Misfit>) {
        self.nodes += 1;
        self.passing += usize::from(misfits.iter().all(|one| one.passing));
        for misfit in misfits {
            *self.reasons.entry(misfit.why).or_default() += 1;
        }
    }

    fn message(&self) -> String {
        let nodes = self.nodes;
        if nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let list = |parts: &mut Vec<String>| {
            parts.sort();
            parts.join(", ")
        };
        let reasons = self.reasons.iter();
        let mut why: Vec<_> = reasons.map(|(why, n)| format!("{n} {why}")).collect();
        let preemption = [
            (self.passing, "No preemption victims found for incoming pod"),
            (
                nodes - self.passing,
                "Preemption is not helpful for scheduling",
            ),
        ];
        let preemption = preemption.iter().filter(|(count, _)| *count > 0);
        let mut preemption: Vec<_> = preemption.map(|(n, why)| format!("{n} {why}")).collect();
        format!(
            "0/{nodes} nodes are available: {}. preemption: 0/{nodes} nodes are available: {}.",
            list(&mut why),
            list(&mut preemption)
        )
    }
}

/// Why `pod` cannot run on `node`: the first filter that refuses it, with all that this one finds.
fn misfits(
    pod: &Pod,
    node: &Member,
    usage: &Usage,
    asked: &Amounts,
    rules: &Rules<'_>,
) -> Vec<Misfit> {
    if let Some(misfit) = unfit(pod, node) {
        return vec![misfit];
    }
    let short = usage.misfits(node, asked);
    match short.is_empty() {
        true => rules.misfit(node).into_iter().collect(),
        false => short,
    }
}

/// Why `pod` cannot run on `node`, whatever else runs there.
fn unfit(pod: &Pod, node: &Member) -> Option<Misfit> {
    if node.unschedulable && !tolerates(&pod.spec.tolerations, &unschedulable()) {
        return Some(Misfit::lasting("node(s) were unschedulable"));
    }
    let harmful = |taint: &&Taint| taint.effect != "PreferNoSchedule";
    let refused = |taint: &&Taint| !tolerates(&pod.spec.tolerations, taint);
    if let Some(taint) = node.taints.iter().filter(harmful).find(refused) {
        let value = taint.value.as_deref().unwrap_or_default();
        return Some(Misfit::lasting(format!(
            "node(s) had untolerated taint {{{}: {value}}}",
            taint.key
        )));
    }
    if !selected(pod, node) {
        return Some(Misfit::lasting(
            "node(s) didn't match Pod's node affinity/selector",
        ));
    }
    // The real one sees this in a taint that the node controller adds a moment later.
    (!node.ready).then(|| Misfit::lasting("node(s) were not ready"))
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
