//! `kubernetes.nodes`: the nodes of the embedded cluster.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::config::fields::Fields;
use crate::config::file::Node;
use crate::config::format::Format;
use crate::config::key::key;
use crate::workspaces::names::{DNS_LABEL, NAME_PART};

/// Most nodes of one entry.
const MOST: u32 = 5_000;

pub(in crate::config) fn nodes(f: &mut Fields) -> BTreeMap<String, Node> {
    f.named(
        key("nodes", "Nodes of the mode `embedded` by name, instead of two that are alike (one with the runtime `process`). They have the labels for workspaces, too.")
            .rules(|| vec![json!({
                "propertyNames": { "pattern": format!("^{DNS_LABEL}(\\.{DNS_LABEL})*$"), "maxLength": 63 },
            })]),
        "node",
        node,
    )
}

fn node(f: &mut Fields) -> Node {
    Node {
        count: f.whole(
            key("count", "How many there are; from two on a dash and a number follow the name: `a-0`, `a-1`.").default(1),
            1..=MOST,
        ),
        labels: f.strings(
            key("labels", "Labels of these nodes.")
                .format(Format::LabelValue)
                .rules(qualified)
                .example(json!({ "pool": "workers" })),
        ),
        capacity: f.strings(
            key("capacity", "What each has for pods, by resource; `pods` is 110 unless it is here. Without `cpu`, `memory` or `ephemeral-storage` pods are not limited in these.")
                .format(Format::Amount)
                .rules(qualified)
                .example(json!({ "cpu": "8", "example.com/slot": "1" })),
        ),
    }
}

/// Keys that may have a prefix.
fn qualified() -> Vec<Value> {
    let key = format!("^({DNS_LABEL}(\\.{DNS_LABEL})*/)?{NAME_PART}$");
    vec![json!({ "propertyNames": { "pattern": key } })]
}
