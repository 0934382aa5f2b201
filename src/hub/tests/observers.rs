//! What observers see: every input before it is folded, and what came of it, with all that it was made of.

use std::collections::HashSet;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::*;
use crate::index::input::Source;
use crate::objects::{Event, Node, Pod, Service};
use crate::workspaces::activity;
use crate::workspaces::case::{Case, Objects};
use crate::workspaces::decide::LifecyclePolicy;
use crate::workspaces::entry::Workspace;

/// Notes what it sees, and holds it against the pure core.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer<Workspace> for Notes {
    fn see(&self, seen: &Seen<'_, Workspace>) {
        let note = match seen {
            Seen::Input(Input::Pod(source, pod)) => {
                format!("pod {source:?} {}", pod.metadata.version())
            }
            Seen::Input(Input::PodGone(_)) => "pod gone".to_owned(),
            Seen::Input(Input::Event(_)) => "event".to_owned(),
            Seen::Input(Input::Node(_)) => "node".to_owned(),
            Seen::Input(Input::Service(_)) => "service".to_owned(),
            Seen::Input(_) => "list".to_owned(),
            Seen::Clock(now) => format!("clock {now}"),
            Seen::Status(folded) => {
                assert_eq!(folded.objects.fold(), folded.entry);
                format!("status {}", folded.entry.status.version())
            }
            Seen::Ended(update) => format!("ended {}", update.start_uid),
            Seen::Decision(decided) => {
                let case = Case {
                    members: decided.members.iter().map(|o| Objects::clone(o)).collect(),
                    ..decided.case.clone()
                };
                let read = Case::read(&Value::Object(case.write())).unwrap();
                for case in [case, read] {
                    assert_eq!(case.decide().as_ref(), Some(&decided.decision));
                }
                format!("decision {}", decided.decision.rule)
            }
        };
        self.0.lock().unwrap().push(note);
    }
}

fn pod(version: u64, phase: &str) -> Pod {
    let pod = json!({
        "metadata": {
            "name": "ws-a",
            "uid": "u-a",
            "resourceVersion": version.to_string(),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "gpwsman": "true" },
            "annotations": {
                "gitpod/id": "a", "gitpod/url": "https://a", "gitpod/servicePrefix": "a",
                "gitpod/ownerToken": "t", "gitpod.io/alreadyInitializing": "true", "wsman.dev/spec-sha256": "0",
            },
            "finalizers": ["gitpod.io/finalizer"],
        },
        "spec": { "nodeName": "n", "containers": [{ "name": "workspace", "image": "x" }] },
        "status": { "phase": phase },
    });
    serde_json::from_value(pod).unwrap()
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[test]
fn an_observer_sees_every_input_and_what_came_of_it() {
    let notes = Arc::new(Notes::default());
    let others = Arc::new(Notes::default());
    let observers: Vec<Arc<dyn Observer<Workspace>>> = vec![notes.clone(), others.clone()];
    let hub = Hub::observed(Index::default(), Clock::system(), observers);
    let policy = LifecyclePolicy {
        services: crate::config::Services::Headless,
        ..LifecyclePolicy::default()
    };
    let node: Node = object(json!({"metadata": {"name": "n", "resourceVersion": "1"}}));
    let event: Event = object(json!({
        "metadata": {"name": "ws-a.1", "resourceVersion": "2"}, "type": "Warning", "reason": "FailedMount",
        "involvedObject": {"kind": "Pod", "name": "ws-a", "uid": "u-a"}, "message": "no",
    }));
    let service: Service = object(json!({
        "metadata": {"name": "ws-a-ide", "ownerReferences": [{"kind": "Pod", "name": "ws-a", "uid": "u-a"}]},
        "spec": {"clusterIP": "None", "ports": [{"name": "ide", "port": 23000}]},
    }));
    hub.take(Input::Node(node));
    hub.take(Input::Event(event));
    hub.take(Input::Pod(Source::List, &pod(3, "Pending")));
    hub.take(Input::PodsListed(&HashSet::from(["ws-a".to_owned()]), 3));
    hub.take(Input::Service(service));
    hub.take(Input::ServicesListed(&HashSet::from([
        "ws-a-ide".to_owned()
    ])));
    let now = "2026-01-01T01:00:00Z".parse().unwrap();
    assert!(hub.decide("u-a", &policy, now).is_some());
    hub.take(Input::Pod(Source::Watch, &pod(4, "Running")));
    hub.take(Input::Pod(Source::Answer, &pod(2, "Pending")));
    hub.change_noun(|index, noun| activity::records::see(index, noun, "a", now));
    assert!(hub.decide("u-a", &policy, now).is_some());
    assert!(hub.decide("u-b", &policy, now).is_none());
    hub.take(Input::PodGone(&pod(5, "Failed")));
    let seen = notes.0.lock().unwrap();
    let shown: Vec<&str> = seen.iter().map(String::as_str).collect();
    let decisions = shown.iter().filter(|note| note.starts_with("decision"));
    assert_eq!(decisions.count(), 2);
    let rest: Vec<&str> = shown
        .iter()
        .copied()
        .filter(|note| !note.starts_with("decision"))
        .collect();
    assert_eq!(
        rest,
        [
            "node",
            "event",
            "pod List 3",
            "status 3",
            "list",
            "service",
            "list",
            "clock 2026-01-01T01:00:00Z",
            "pod Watch 4",
            "status 4",
            "pod Answer 2",
            "clock 2026-01-01T01:00:00Z",
            "clock 2026-01-01T01:00:00Z",
            "pod gone",
            "ended u-a",
        ]
    );
    assert_eq!(*seen, *others.0.lock().unwrap());
}

#[test]
fn who_is_not_observed_keeps_nothing_for_it() {
    let hub = Hub::<Workspace>::new(Index::default());
    hub.change(|index| {
        let changes = index.take(Input::Pod(Source::Watch, &pod(3, "Running")));
        assert_eq!(changes.folded, []);
        changes
    });
    assert!(
        hub.decide("u-a", &LifecyclePolicy::default(), Timestamp::UNIX_EPOCH)
            .is_some()
    );
}
