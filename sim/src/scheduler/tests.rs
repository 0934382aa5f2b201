//! Table of pods and their nodes.

use std::sync::Arc;

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

fn pod(uid: &str, labels: Value, spec: Value) -> Arc<Pod> {
    let pod =
        json!({ "metadata": { "uid": uid, "namespace": "n", "labels": labels }, "spec": spec });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn check(spec: Value, change: impl Fn(&mut Member), expected: Result<&str, &str>) {
    let pod: Pod = serde_json::from_value(json!({ "spec": spec })).unwrap();
    let mut member = node("a");
    change(&mut member);
    let nodes = Nodes::from([("a".to_owned(), member)]);
    let placed = place(&pod, &nodes, &Usage::default(), &mut 0);
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
    let (mut turn, mut usage) = (0, Usage::default());
    for uid in ["1", "2"] {
        usage.add("b", &pod(uid, json!({}), json!({})));
    }
    let mut placed: Vec<_> = (0..4)
        .map(|_| place(&Pod::default(), &nodes, &usage, &mut turn).unwrap())
        .collect();
    placed.sort();
    assert_eq!(placed, ["a", "a", "c", "c"]);
}

/// Places a pod on nodes `a` and `b` where `placed` run, each named with its node.
fn beside(placed: &[(&str, &Arc<Pod>)], pod: &Pod) -> Result<String, String> {
    let mut usage = Usage::default();
    for (node, pod) in placed {
        usage.add(node, pod);
    }
    let named = |name: &str| {
        let mut member = node(name);
        let (key, value) = ("kubernetes.io/hostname", name.to_owned());
        member.labels.insert(key.to_owned(), value);
        let slots = if name == "a" { 1000 } else { 2000 };
        member.allocatable = Amounts::from([("x.io/slot".to_owned(), slots)]);
        (name.to_owned(), member)
    };
    place(pod, &["a", "b"].map(named).into(), &usage, &mut 0)
}

fn terms(kind: &str, app: &str) -> Value {
    json!({ "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": [{
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": { "matchExpressions": [{ "key": "app", "operator": "In", "values": [app] }] },
    }] } } })
}

#[test]
fn pods_that_avoid_each_other_share_no_node() {
    let lone = |uid| pod(uid, json!({ "app": "x" }), terms("podAntiAffinity", "x"));
    let (first, second, third) = (lone("1"), lone("2"), lone("3"));
    assert_eq!(beside(&[("a", &first)], &second).as_deref(), Ok("b"));
    let both = [("a", &first), ("b", &second)];
    let full = "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. \
        preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.";
    assert_eq!(beside(&both, &third).unwrap_err(), full);
    // It avoids nobody itself.
    let plain = pod("4", json!({ "app": "x" }), json!({}));
    let refused = beside(&both, &plain).unwrap_err();
    assert!(
        refused.contains("2 node(s) didn't satisfy existing pods anti-affinity rules"),
        "{refused}"
    );
    let mut other: Pod = (*third).clone();
    other.metadata.namespace = Some("other".to_owned());
    assert!(beside(&both, &other).is_ok());
}

#[test]
fn pods_that_attract_each_other_share_a_node() {
    let close = |uid| pod(uid, json!({ "app": "x" }), terms("podAffinity", "x"));
    // The first of them goes anywhere.
    assert!(beside(&[], &close("1")).is_ok());
    assert_eq!(
        beside(&[("b", &close("1"))], &close("2")).as_deref(),
        Ok("b")
    );
    let lost = pod("3", json!({}), terms("podAffinity", "y"));
    let refused = "0/2 nodes are available: 2 node(s) didn't match pod affinity rules. \
        preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    assert_eq!(beside(&[("b", &close("1"))], &lost).unwrap_err(), refused);
}

#[test]
fn what_changed_is_known() {
    let mut usage = Usage::default();
    let first = pod("1", json!({}), json!({}));
    assert_eq!(usage.add("a", &first), Added::New);
    assert_eq!(usage.add("a", &first), Added::Same);
    let marked = pod("1", json!({ "app": "x" }), json!({}));
    assert_eq!(usage.add("a", &marked), Added::Relabelled);
    assert_eq!(usage.placed().count(), 1);
}

#[test]
fn requests_are_counted() {
    let slots = |uid, count: &str| {
        let requests = json!({ "requests": { "x.io/slot": count, "cpu": "9" } });
        let one = json!({ "name": "c", "resources": requests });
        pod(uid, json!({}), json!({ "containers": [one] }))
    };
    let (first, second) = (slots("1", "1"), slots("2", "1"));
    assert_eq!(beside(&[("a", &first)], &second).as_deref(), Ok("b"));
    let refused = "0/2 nodes are available: 2 Insufficient x.io/slot. preemption: 0/2 nodes are \
        available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.";
    let two = slots("3", "2");
    assert_eq!(beside(&[("b", &first)], &two).unwrap_err(), refused);
    // Of what a node does not have, nothing is there; its processors are not counted unless it states them.
    let mut usage = Usage::default();
    usage.add("a", &first);
    usage.remove("a", "1");
    assert!(!usage.has_anti_affinity());
    assert_eq!(usage.placed().count(), 0);
}

#[test]
fn init_containers_and_sidecars_count_at_their_time() {
    let one = |name: &str, cpu: &str, sidecar: bool| {
        let policy = sidecar.then_some("Always");
        json!({ "name": name, "restartPolicy": policy, "resources": { "requests": { "cpu": cpu } } })
    };
    let spec = json!({
        "initContainers": [one("before", "3", false), one("beside", "500m", true), one("after", "3", false)],
        "containers": [one("x", "1", false), one("y", "1500m", false)],
    });
    let asked = usage::requests(&pod("1", json!({}), spec));
    assert_eq!(asked, Amounts::from([("cpu".to_owned(), 3500)]));
}
