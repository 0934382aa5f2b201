//! The keys of `sessions`.

use serde_json::{Value, json};

use super::super::fields::Fields;
use super::super::file::{Limit, Order, Pools, Queue, Sessions};
use super::super::format::Format;
use super::super::key::{Key, key};
use crate::names::{DNS_LABEL, NAME_PART};

/// Most components, slots or sessions that a key may count.
const MOST: u32 = 1_000_000;
/// Most components that a session may be allowed.
const MOST_COMPONENTS: u32 = 5_000;

pub(super) fn sessions(f: &mut Fields) -> Sessions {
    Sessions {
        installation: f.text(
            key("installation", "Value of the label `wsman.dev/installation`, by which several installations in one namespace keep their sessions apart.")
                .format(Format::LabelValue)
                .rules(|| vec![json!({ "minLength": 1 })])
                .default("wsman"),
        ),
        queues: f.named(
            key("queues", "Queues of sessions. `default` is always there: sessions that name no queue are in it.")
                .rules(dns_labels),
            "queue",
            queue,
        ),
        pools: f.object(key("pools", "Pools of machines. A pool is the nodes with one value of a label."), pools),
        default_pools: f.strings(
            key("defaultPools", "Pools of components that name none, by role.")
                .format(Format::LabelValue)
                .rules(dns_labels)
                .unset("each component names its pool")
                .example(json!({ "driver": "drivers" })),
        ),
        image_prefixes: f.texts(
            key("imagePrefixes", "Images that may run: each a whole image, with any tag or digest, or a prefix that ends in `/`.")
                .format(Format::ImagePrefix)
                .unset("all images")
                .example(json!(["registry.example.com/bench/"])),
        ),
        max_components: f.whole(
            key("maxComponents", "Most components of a session.").default(500),
            1..=MOST_COMPONENTS,
        ),
        deadline: f.object(
            key("deadline", "How long a session runs at most, once all its components are ready. At least `1s`, at most `8760h`, as all durations of this block."),
            |f| limit(f, "24h"),
        ),
        ttl: f.object(
            key("ttl", "How long an ended session can be read."),
            |f| limit(f, "168h"),
        ),
        provisioning: f.duration(
            key("provisioning", "How long an admitted session may take until all its components are ready.").default("15m"),
        ),
        image_timeout: f.duration(
            key("imageTimeout", "How long a component may lack its image or its configuration.").default("5m"),
        ),
        unschedulable_timeout: f.duration(
            key("unschedulableTimeout", "How long a component of an admitted session may find no node.").default("2m"),
        ),
    }
}

fn queue(f: &mut Fields) -> Queue {
    let orders = [
        (json!("backfill"), Order::Backfill),
        (json!("strict"), Order::Strict),
    ];
    Queue {
        order: f
            .choice(
                key("discipline", "`backfill`: a session that fits may pass one that does not. `strict`: no session passes another.")
                    .default("backfill"),
                &orders,
            )
            .unwrap_or_default(),
        barrier: f.duration(
            key("barrier", "Age from which a waiting session is no longer passed. Only with `backfill`.")
                .unset("`10m`")
                .example("10m"),
        ),
        limit: f.whole(
            key("limit", "Most sessions of the queue that are admitted at a time. 0: any number.")
                .default(0)
                .example(8),
            0..=MOST,
        ),
    }
}

fn pools(f: &mut Fields) -> Pools {
    Pools {
        label: f.text(
            key("label", "Label of nodes whose value is their pool.")
                .format(Format::LabelKey)
                .default("pool"),
        ),
        tolerations: f.texts(
            key(
                "tolerations",
                "Keys of taints that components tolerate. A node with another taint is no capacity.",
            )
            .format(Format::LabelKey)
            .example(json!(["example.com/bench"])),
        ),
        elastic: f.counts(
            slots("elastic", "Slots that each of these pools gets beyond its capacity: sessions that need them are admitted, so that an autoscaler adds nodes for them."),
            0..=MOST,
        ),
        fixed: f.counts(
            slots("fixed", "Slots of pools, for clusters in which nodes may not be listed. Nodes add to none of these."),
            0..=MOST,
        ),
    }
}

fn slots(name: &'static str, doc: &'static str) -> Key {
    key(name, doc)
        .rules(pool_names)
        .example(json!({ "workers": 8 }))
}

fn limit(f: &mut Fields, longest: &str) -> Limit {
    Limit {
        default: f.duration(
            key(
                "default",
                "Of sessions that do not set it. Not more than `longest`.",
            )
            .default("1h"),
        ),
        longest: f.duration(key("longest", "What a session may set.").default(longest)),
    }
}

fn dns_labels() -> Vec<Value> {
    names(DNS_LABEL)
}

fn pool_names() -> Vec<Value> {
    names(NAME_PART)
}

/// Names that match a pattern.
fn names(pattern: &str) -> Vec<Value> {
    vec![json!({ "propertyNames": { "pattern": format!("^{pattern}$") } })]
}
