//! Table of pods and their nodes.

use serde_json::{Value, json};

use super::*;

fn node(name: &str) -> Member {
    Member {
        name: name.to_owned(),
        labels: BTreeMap::from([
            ("disk".to_owned(), "ssd".to_owned()),
            ("size".to_owned(), "7".to_owned()),
        ]),
        ready: true,
        ours: true,
        room: 2,
        ..Member::default()
    }
}

fn check(spec: Value, change: impl Fn(&mut Member), expected: Result<&str, &str>) {
    let pod: Pod = serde_json::from_value(json!({ "spec": spec })).unwrap();
    let mut member = node("a");
    change(&mut member);
    let nodes = Nodes::from([("a".to_owned(), member)]);
    let placed = place(&pod, &nodes, &HashMap::new(), &mut 0);
    assert_eq!(placed.as_deref().map_err(String::as_str), expected);
}

fn affinity(key: &str, operator: &str, values: &[&str]) -> Value {
    json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }],
    } } } })
}

const MISMATCH: &str = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. \
    preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";

#[test]
fn labels_decide() {
    let same = |_: &mut Member| {};
    check(json!({}), same, Ok("a"));
    check(json!({ "nodeSelector": { "disk": "ssd" } }), same, Ok("a"));
    check(
        json!({ "nodeSelector": { "disk": "hdd" } }),
        same,
        Err(MISMATCH),
    );
    for (operator, values, fits) in [
        ("In", &["ssd", "hdd"][..], true),
        ("In", &["hdd"], false),
        ("NotIn", &["hdd"], true),
        ("Exists", &[], true),
        ("DoesNotExist", &[], false),
        ("Gt", &["6"], false),
    ] {
        check(
            affinity("disk", operator, values),
            same,
            if fits { Ok("a") } else { Err(MISMATCH) },
        );
    }
    check(affinity("size", "Gt", &["6"]), same, Ok("a"));
    check(affinity("size", "Lt", &["6"]), same, Err(MISMATCH));
}

#[test]
fn taints_and_states_decide() {
    let taint = |member: &mut Member| {
        member.taints = vec![Taint {
            key: "k".to_owned(),
            value: Some("v".to_owned()),
            effect: "NoSchedule".to_owned(),
            time_added: None,
        }];
    };
    let refused = "0/1 nodes are available: 1 node(s) had untolerated taint {k: v}. \
        preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    check(json!({}), taint, Err(refused));
    check(
        json!({ "tolerations": [{ "key": "k", "value": "v" }] }),
        taint,
        Ok("a"),
    );
    check(
        json!({ "tolerations": [{ "key": "k", "operator": "Exists" }] }),
        taint,
        Ok("a"),
    );
    check(
        json!({ "tolerations": [{ "operator": "Exists" }] }),
        taint,
        Ok("a"),
    );
    check(
        json!({ "tolerations": [{ "key": "k", "value": "w" }] }),
        taint,
        Err(refused),
    );
    let full = "0/1 nodes are available: 1 Too many pods. \
        preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    check(json!({}), |member| member.room = 0, Err(full));
    check(
        json!({}),
        |member| member.ours = false,
        Err("no nodes available to schedule pods"),
    );
}

#[test]
fn nodes_take_turns() {
    let nodes: Nodes = ["a", "b", "c"]
        .map(|name| (name.to_owned(), node(name)))
        .into();
    let (mut turn, used) = (0, HashMap::from([("b".to_owned(), 2)]));
    let mut placed: Vec<_> = (0..4)
        .map(|_| place(&Pod::default(), &nodes, &used, &mut turn).unwrap())
        .collect();
    placed.sort();
    assert_eq!(placed, ["a", "a", "c", "c"]);
}
