//! The next step for every state that a kill can leave behind.

use serde_json::{Value, json};

use crate::action::Action;
use crate::workspaces::case::{Case, Objects};
use crate::workspaces::status::Defaults;

const ANCHOR: &str = "ws-a";

/// The first pod, rejected by its node.
fn first(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "metadata": {
            "name": ANCHOR, "uid": "first", "resourceVersion": "7",
            "creationTimestamp": "2026-03-01T10:00:00Z",
            "labels": {"gpwsman": "true", "workspaceID": "a"},
            "annotations": {"gitpod/id": "a", "gitpod/url": "https://x", "gitpod/never-ready": "true", "gitpod.io/alreadyInitializing": "true"},
            "finalizers": ["gitpod.io/finalizer"],
        },
        "spec": {"nodeName": "n", "containers": [{"name": "workspace", "image": "x"}]},
        "status": {"phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected: no cpu"},
    });
    change(&mut pod);
    pod
}

/// The pod that was made after `count` rejections; it runs.
fn later(count: u32, change: impl FnOnce(&mut Value)) -> Value {
    first(|pod| {
        let meta = &mut pod["metadata"];
        meta["name"] = format!("{ANCHOR}-{}", count + 1).into();
        meta["uid"] = format!("uid-{count}").into();
        meta["resourceVersion"] = (10 * count).to_string().into();
        meta["annotations"]["wsman.dev/first-uid"] = "first".into();
        meta["annotations"]["wsman.dev/recreations"] = count.to_string().into();
        meta["ownerReferences"] = json!([{"kind": "Pod", "name": ANCHOR, "uid": "first"}]);
        pod["status"] = json!({"phase": "Running"});
        change(pod);
    })
}

fn mark(pod: &mut Value, key: &str, value: &str) {
    pod["metadata"]["annotations"][key] = value.into();
}

fn stopped(pod: &mut Value) {
    mark(pod, "gitpod.io/stoppedByRequest", "30s");
}

fn committed(pod: &mut Value) {
    mark(pod, "wsman.dev/successor", "ws-a-2");
}

fn handed_over(pod: &mut Value) {
    committed(pod);
    pod["metadata"]["labels"] = json!({"gpwsman": "true"});
}

fn ended(pod: &mut Value) {
    pod["metadata"]["deletionTimestamp"] = "2026-03-01T10:05:00Z".into();
    pod["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    pod["status"]["phase"] = "Succeeded".into();
}

fn rejected(pod: &mut Value) {
    pod["status"] =
        json!({"phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected: no cpu"});
}

fn case(pods: &[Value], gone: bool) -> Case {
    let defaults = Defaults {
        max_recreations: 3,
        ..Defaults::default()
    };
    let members = pods.iter().map(|pod| Objects {
        pod: serde_json::from_value(pod.clone()).unwrap(),
        defaults: defaults.clone(),
        ..Objects::default()
    });
    let orphaned = pods[0]["metadata"]["uid"] != "first" && !gone;
    Case {
        members: members.collect(),
        gone,
        // Of a workspace whose newest pod went, the first was seen.
        orphaned: orphaned && pods.len() > 1,
        now: "2026-03-01T10:10:00Z".parse().unwrap(),
        ..Case::default()
    }
}

/// The writes of a decision, in short.
fn steps(case: &Case) -> String {
    let decision = case.decide().unwrap();
    let names = decision.actions.iter().map(|action| match action {
        Action::ChangePod(pod, _) => format!("commit {}", pod.name),
        Action::CopyPod(copy) => format!("create {}", copy.to),
        Action::CopyMarks(from, to, _) => format!("pass on {} {}", from.name, to.name),
        Action::Label(pod, labels) => {
            assert!(labels.values().all(Option::is_none) && !labels.contains_key("gpwsman"));
            format!("hand over {}", pod.name)
        }
        Action::Discard(discard) => match &discard.unless {
            Some(unless) => format!("discard {} unless {}", discard.pod.name, unless.name),
            None => format!("discard {}", discard.pod.name),
        },
        Action::Mark(pod, mark) => {
            let keys: Vec<_> = mark.set.keys().map(String::as_str).collect();
            format!("mark {} {}", pod.name, keys.join(" "))
        }
        Action::RemoveFinalizer(pod, _) => format!("release {}", pod.name),
        Action::Stop(pod, _) => format!("stop {}", pod.name),
        other => format!("{other:?}"),
    });
    names.collect::<Vec<_>>().join(", ")
}

#[test]
fn every_state_has_a_next_step() {
    let nothing = |_: &mut Value| {};
    let cases: [(&str, Vec<Value>, bool, &str); 19] = [
        (
            "rejected",
            vec![first(nothing)],
            false,
            "commit ws-a, create ws-a-2",
        ),
        ("committed", vec![first(committed)], false, "create ws-a-2"),
        (
            "committed, then stopped",
            vec![first(|pod| {
                committed(pod);
                stopped(pod);
            })],
            false,
            "stop ws-a",
        ),
        (
            "created",
            vec![first(committed), later(1, nothing)],
            false,
            "hand over ws-a",
        ),
        (
            "created, then the first stopped",
            vec![
                first(|pod| {
                    committed(pod);
                    stopped(pod);
                }),
                later(1, nothing),
            ],
            false,
            "pass on ws-a ws-a-2",
        ),
        (
            "passed on",
            vec![
                first(|pod| {
                    committed(pod);
                    stopped(pod);
                }),
                later(1, stopped),
            ],
            false,
            "hand over ws-a",
        ),
        (
            "handed over",
            vec![first(handed_over), later(1, nothing)],
            false,
            "",
        ),
        (
            "handed over, then stopped",
            vec![first(handed_over), later(1, stopped)],
            false,
            "stop ws-a-2",
        ),
        (
            "handed over, deleted by garbage collection",
            vec![
                first(|pod| {
                    handed_over(pod);
                    ended(pod);
                    rejected(pod);
                }),
                later(1, nothing),
            ],
            false,
            "",
        ),
        (
            "rejected again",
            vec![first(handed_over), later(1, rejected)],
            false,
            "commit ws-a-2, create ws-a-3",
        ),
        (
            "created again",
            vec![
                first(handed_over),
                later(1, |pod| {
                    rejected(pod);
                    mark(pod, "wsman.dev/successor", "ws-a-3");
                }),
                later(2, nothing),
            ],
            false,
            "discard ws-a-2",
        ),
        (
            "created again, the second stopped",
            vec![
                first(handed_over),
                later(1, |pod| {
                    rejected(pod);
                    stopped(pod);
                }),
                later(2, nothing),
            ],
            false,
            "pass on ws-a-2 ws-a-3",
        ),
        (
            "ended",
            vec![first(handed_over), later(1, ended)],
            false,
            "mark ws-a wsman.dev/stopped, release ws-a-2",
        ),
        (
            "ended, marked",
            vec![
                first(|pod| {
                    handed_over(pod);
                    mark(pod, "wsman.dev/stopped", "2026-03-01T10:06:00Z");
                }),
                later(1, ended),
            ],
            false,
            "release ws-a-2",
        ),
        (
            "released",
            vec![
                first(|pod| {
                    handed_over(pod);
                    mark(pod, "wsman.dev/stopped", "2026-03-01T10:06:00Z");
                }),
                later(1, ended),
            ],
            true,
            "discard ws-a unless ws-a-2",
        ),
        (
            "released, after a restart",
            vec![first(|pod| {
                handed_over(pod);
                mark(pod, "wsman.dev/stopped", "2026-03-01T10:06:00Z");
            })],
            false,
            "discard ws-a unless ws-a-2",
        ),
        (
            "the newest removed by force",
            vec![first(handed_over), later(1, nothing)],
            true,
            "discard ws-a unless ws-a-2",
        ),
        (
            "the newest removed by force, after a restart",
            vec![first(handed_over)],
            false,
            "discard ws-a unless ws-a-2",
        ),
        (
            "made too late",
            vec![later(1, nothing)],
            false,
            "discard ws-a-2 unless ws-a",
        ),
    ];
    for (what, pods, gone, expected) in cases {
        // A pod that is gone has no finalizer, and is the last to be listed.
        assert_eq!(steps(&case(&pods, gone)), expected, "{what}");
    }
}

#[test]
fn the_copy_says_where_it_comes_from() {
    let copied = |pods: &[Value]| {
        let decision = case(pods, false).decide().unwrap();
        match decision.actions.into_iter().next_back() {
            Some(Action::CopyPod(copy)) => copy.mark.set,
            other => panic!("{other:?}"),
        }
    };
    let expected = |count: &str, started: Option<&str>| {
        let started = started.map(|at| ("wsman.dev/started-at", at));
        let all = [
            ("wsman.dev/first-uid", "first"),
            ("wsman.dev/recreations", count),
        ];
        let all = all.into_iter().chain(started);
        all.map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    let first = first(|_| {});
    assert_eq!(
        copied(std::slice::from_ref(&first)),
        expected("1", Some("2026-03-01T10:00:00Z"))
    );
    // What the second says of the first is copied with it.
    let mut handed = first;
    handed_over(&mut handed);
    assert_eq!(copied(&[handed, later(1, rejected)]), expected("2", None));
}
