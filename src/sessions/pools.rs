//! The pools of machines: which nodes are in one, how many slots they have, and what is taken.

use std::collections::{BTreeMap, HashMap};

use super::admission::Supply;
use crate::objects::Node;

/// What the configuration says about pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRules {
    /// Label of nodes whose value is their pool.
    pub label: String,
    /// Taint keys that members tolerate.
    pub tolerated: Vec<String>,
    /// By pool: slots that may be asked for beyond its capacity.
    pub elastic: BTreeMap<String, u32>,
    /// Slots of pools where nodes may not be listed. Nodes add to none of these.
    pub fixed: BTreeMap<String, u32>,
}

impl Default for PoolRules {
    fn default() -> Self {
        Self {
            label: "pool".to_owned(),
            tolerated: Vec::new(),
            elastic: BTreeMap::new(),
            fixed: BTreeMap::new(),
        }
    }
}

/// Extended resource that counts the slots of a node; a node without it has one slot.
pub const SLOT: &str = "wsman.dev/slot";

/// A node of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub pool: String,
    /// How many members it takes.
    pub slots: u32,
    /// It takes pods now.
    pub is_usable: bool,
}

impl Machine {
    /// Returns what a node is to its pool; `None` if it is in none.
    pub fn of(node: &Node, rules: &PoolRules) -> Option<Self> {
        let pool = node.metadata.label(&rules.label)?;
        let tolerates = |key: &str| rules.tolerated.iter().any(|tolerated| tolerated == key);
        let repels = node.spec.taints.iter().any(|taint| {
            matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") && !tolerates(&taint.key)
        });
        let ready = node.status.conditions.iter().find(|c| c.kind == "Ready");
        let is_ready = ready.is_some_and(|ready| ready.status == "True");
        let slots = node.status.allocatable.get(SLOT);
        Some(Self {
            pool: pool.to_owned(),
            slots: slots.map_or(1, |slots| slots.parse().unwrap_or(0)),
            is_usable: is_ready
                && !repels
                && !node.spec.unschedulable
                && node.metadata.deletion_timestamp.is_none(),
        })
    }
}

/// A slot that a member of an admitted session holds: until its pod has ended, and no container of it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held<'a> {
    /// The pool that the member asked for.
    pub pool: &'a str,
    /// The node that it is bound to; empty before.
    pub node: &'a str,
}

/// Counts what the pools have and what is taken of it.
///
/// A member counts on the node on which it is, whatever the node's label says by now. On a node that takes no pods it holds
/// no capacity, because the node has none.
pub fn supplies<'a>(
    machines: &HashMap<String, Machine>,
    held: impl IntoIterator<Item = Held<'a>>,
    rules: &PoolRules,
) -> BTreeMap<String, Supply> {
    let mut pools: BTreeMap<String, Supply> = BTreeMap::new();
    for (pool, slots) in &rules.fixed {
        pools.entry(pool.clone()).or_default().capacity = *slots;
    }
    for machine in machines
        .values()
        .filter(|m| !rules.fixed.contains_key(&m.pool))
    {
        let pool = pools.entry(machine.pool.clone()).or_default();
        pool.size += machine.slots;
        if machine.is_usable {
            pool.capacity += machine.slots;
        }
    }
    let mut on_node: HashMap<&str, u32> = HashMap::new();
    for held in held {
        let machine = machines.get(held.node);
        match machine.filter(|machine| !rules.fixed.contains_key(&machine.pool)) {
            Some(machine) => {
                let count = on_node.entry(held.node).or_default();
                *count += 1;
                // More than it has slots for may run where only anti-affinity keeps members apart.
                if machine.is_usable && *count <= machine.slots {
                    pools.entry(machine.pool.clone()).or_default().in_use += 1;
                }
            }
            // Not bound yet, or its node is unknown: it may take any machine of its pool.
            None => pools.entry(held.pool.to_owned()).or_default().in_use += 1,
        }
    }
    for (pool, slots) in &rules.elastic {
        pools.entry(pool.clone()).or_default().elastic = *slots;
    }
    pools
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(value: serde_json::Value) -> Node {
        serde_json::from_value(value).unwrap()
    }

    fn ready(name: &str, pool: &str) -> serde_json::Value {
        json!({
            "metadata": {"name": name, "labels": {"pool": pool}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        })
    }

    fn machines(nodes: &[serde_json::Value]) -> HashMap<String, Machine> {
        let rules = PoolRules::default();
        let nodes = nodes.iter().cloned().map(node);
        let machines = nodes.filter_map(|node| {
            let machine = Machine::of(&node, &rules)?;
            Some((node.metadata.name.clone(), machine))
        });
        machines.collect()
    }

    /// Capacity, and what is in use.
    fn counts(supply: &Supply) -> (u32, u32) {
        (supply.capacity, supply.in_use)
    }

    #[test]
    fn a_node_that_takes_no_pods_is_no_capacity_and_its_pool_is_known() {
        let spoilt = [
            ("cordoned", json!({"spec": {"unschedulable": true}})),
            (
                "tainted",
                json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
            ),
            (
                "unready",
                json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}),
            ),
            (
                "leaving",
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            ),
        ];
        for (name, change) in spoilt {
            let mut value = ready(name, "a");
            json_patch::merge(&mut value, &change);
            let pools = supplies(&machines(&[value]), [], &PoolRules::default());
            assert_eq!(counts(&pools["a"]), (0, 0), "{name}");
        }
    }

    #[test]
    fn a_preference_and_a_tolerated_taint_repel_nothing() {
        let mut value = ready("n", "a");
        value["spec"] = json!({"taints": [
            {"key": "other", "effect": "PreferNoSchedule"},
            {"key": "bench", "effect": "NoExecute"},
        ]});
        let rules = PoolRules {
            tolerated: vec!["bench".to_owned()],
            ..PoolRules::default()
        };
        assert!(Machine::of(&node(value), &rules).unwrap().is_usable);
    }

    #[test]
    fn a_node_may_have_several_slots() {
        let mut value = ready("n", "a");
        value["status"]["allocatable"] = json!({SLOT: "4"});
        let held = ["n", "n", "n"].map(|node| Held { pool: "a", node });
        let pools = supplies(&machines(&[value]), held, &PoolRules::default());
        assert_eq!(counts(&pools["a"]), (4, 3));
    }

    #[test]
    fn a_member_counts_where_it_is() {
        let machines = machines(&[ready("n1", "a"), ready("n2", "b")]);
        // The label of its node was changed after it came.
        let held = [
            Held {
                pool: "a",
                node: "n2",
            },
            Held {
                pool: "a",
                node: "",
            },
        ];
        let pools = supplies(&machines, held, &PoolRules::default());
        assert_eq!(counts(&pools["a"]), (1, 1));
        assert_eq!(counts(&pools["b"]), (1, 1));
    }

    #[test]
    fn a_member_on_a_dead_node_takes_no_machine_of_the_others() {
        let mut dead = ready("dead", "a");
        dead["status"]["conditions"][0]["status"] = "Unknown".into();
        let held = [Held {
            pool: "a",
            node: "dead",
        }];
        let pools = supplies(
            &machines(&[dead, ready("n", "a")]),
            held,
            &PoolRules::default(),
        );
        assert_eq!(counts(&pools["a"]), (1, 0));
    }

    #[test]
    fn pools_of_the_configuration_need_no_nodes() {
        let rules = PoolRules {
            fixed: [("a".to_owned(), 2)].into(),
            elastic: [("b".to_owned(), 3)].into(),
            ..PoolRules::default()
        };
        let held = [Held {
            pool: "a",
            node: "n1",
        }];
        let pools = supplies(&machines(&[ready("n1", "a")]), held, &rules);
        assert_eq!(counts(&pools["a"]), (2, 1));
        assert_eq!(pools["b"].free(), 3);
    }
}
