//! The next step for every state that a kill can leave behind.

use serde_json::{Value, json};

use super::*;
use crate::action::PodRef;
use crate::config::Timeouts;
use crate::duration::GoDuration;
use crate::workspaces::pod_state;
use crate::workspaces::status::{self, Defaults, NodeView, Observed, Why};

fn pod(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "metadata": {
            "name": "ws-a", "uid": "first", "resourceVersion": "7", "labels": {"gpwsman": "true"},
            "annotations": {"gitpod/id": "a", "gitpod/url": "https://x", "gitpod/never-ready": "true"},
            "finalizers": ["gitpod.io/finalizer"],
        },
        "spec": {"nodeName": "n", "containers": [{"name": "workspace", "image": "x"}]},
        "status": {"phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected: no cpu"},
    });
    change(&mut pod);
    pod
}

fn marked(key: &str) -> impl FnOnce(&mut Value) {
    move |pod| pod["metadata"]["annotations"][key] = "record".into()
}

fn successor(provisional: bool, from: &str) -> Value {
    pod(|pod| {
        pod["metadata"]["uid"] = "second".into();
        pod["metadata"]["annotations"]["wsman.dev/made-from"] = from.into();
        if provisional {
            let owner = json!([{"kind": "ConfigMap", "name": "ws-a", "uid": from}]);
            pod["metadata"]["ownerReferences"] = owner;
        }
        pod["status"] = json!({"phase": "Pending"});
    })
}

fn stored(owned: bool, stop: bool) -> Value {
    let mut record = record(&pod(|_| {}));
    record["metadata"]["uid"] = "record".into();
    record["metadata"]["resourceVersion"] = "9".into();
    record["metadata"]["creationTimestamp"] = "2026-03-01T10:00:00Z".into();
    if !owned {
        record["metadata"]["ownerReferences"] = json!([]);
    }
    if stop {
        record["metadata"]["annotations"] = json!({"gitpod.io/stoppedByRequest": "30s"});
    }
    record
}

fn steps(pod: Option<Value>, record: Option<Value>, now: &str) -> String {
    let entry = pod.map(|pod| {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let node = NodeView::Unknown;
        let observed = Observed {
            pod: &pod,
            events: &[],
            node,
        };
        let defaults = Defaults {
            max_recreations: 3,
            ..Defaults::default()
        };
        Entry {
            pod: PodRef {
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            },
            status: status::fold(&observed, &defaults).status,
            state: pod_state::of(&observed),
            why: Why::default(),
        }
    });
    let record = record.map(|record| {
        let over = record["over"] == true;
        let map: ConfigMap = serde_json::from_value(record).unwrap();
        Record {
            over,
            ..Record::read(&map).unwrap()
        }
    });
    let initialization = GoDuration::parse("30m").unwrap();
    let timeouts = Timeouts {
        initialization,
        ..Timeouts::default()
    };
    let policy = LifecyclePolicy {
        timeouts: Some(timeouts),
        ..LifecyclePolicy::default()
    };
    let name = |action: &Action| match action {
        Action::Recreate(step) => step.name(),
        Action::Mark(..) => "mark",
        other => panic!("{other:?}"),
    };
    match next(
        entry.as_ref(),
        record.as_ref(),
        &policy,
        now.parse().unwrap(),
    ) {
        None => "-".to_owned(),
        Some(actions) => actions.iter().map(name).collect::<Vec<_>>().join(", "),
    }
}

#[test]
fn every_state_has_a_next_step() {
    const SOON: &str = "2026-03-01T10:00:01Z";
    const LATE: &str = "2026-03-01T10:30:00Z";
    let rejected = || Some(pod(|_| {}));
    let committed = || Some(pod(marked("wsman.dev/replaced-by")));
    let stopped = || {
        Some(pod(|pod| {
            marked("wsman.dev/replaced-by")(pod);
            marked("gitpod.io/stoppedByRequest")(pod);
        }))
    };
    let changed = || {
        Some(pod(|pod| {
            marked("wsman.dev/replaced-by")(pod);
            marked("gitpod/customTimeout")(pod);
        }))
    };
    let other = || Some(pod(|pod| pod["metadata"]["uid"] = "another".into()));
    let (owned, free, ending) = (
        stored(true, false),
        stored(false, false),
        stored(false, true),
    );
    let cases = [
        ("nothing", None, None, "-"),
        ("rejected", rejected(), None, "-"),
        ("recorded", rejected(), Some(&owned), "commit"),
        ("committed", committed(), Some(&owned), "inherit, vacate"),
        ("inherited", committed(), Some(&free), "inherit, vacate"),
        ("stopped", stopped(), Some(&free), "forget"),
        ("marked since", changed(), Some(&owned), "forget"),
        ("stopped by the record", committed(), Some(&ending), "mark"),
        ("vacated", None, Some(&free), "create"),
        ("stopped without a pod", None, Some(&ending), "forget"),
        ("recorded too late", None, Some(&owned), "forget"),
        (
            "created",
            Some(successor(true, "record")),
            Some(&free),
            "settle",
        ),
        (
            "created, then stopped",
            Some(successor(true, "record")),
            Some(&ending),
            "mark",
        ),
        (
            "settled",
            Some(successor(false, "record")),
            Some(&free),
            "forget",
        ),
        (
            "settled, then stopped",
            Some(successor(false, "record")),
            Some(&ending),
            "mark",
        ),
        ("forgotten", Some(successor(false, "record")), None, "-"),
        (
            "created too late",
            Some(successor(true, "record")),
            None,
            "remove orphan",
        ),
        (
            "created from another",
            Some(successor(true, "old")),
            Some(&free),
            "remove orphan",
        ),
        ("started anew", other(), Some(&free), "forget"),
    ];
    for (what, pod, record, expected) in cases {
        assert_eq!(steps(pod, record.cloned(), SOON), expected, "{what}");
    }
    let mut over = free.clone();
    over["over"] = true.into();
    for pod in [None, Some(successor(true, "record"))] {
        assert_eq!(steps(pod, Some(over.clone()), SOON), "forget", "over");
    }
    assert_eq!(
        steps(None, Some(free), LATE),
        "mark record",
        "cannot be created for too long"
    );
}
