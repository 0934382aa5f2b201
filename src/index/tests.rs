//! Whatever order, repetition and loss the watch suffers, what is published keeps the guarantees
//! (docs/protocol.md#what-consumers-of-updates-can-rely-on).

mod toy;
mod warnings;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::objects::Service;
use crate::objects::{Event, Node};
use crate::proto::answers::EncodedStatus;
use crate::proto::wsman::WorkspacePhase;
use crate::workspaces::entry::Workspace;
use crate::workspaces::update::StatusUpdate;

type Index = super::Index<Workspace>;
type Changes = super::Changes<Workspace>;

/// A workspace pod: its state is a number that moves its status.
fn pod(name: &str, uid: u64, version: u64, state: u8) -> Pod {
    let (phase, deleting) = match state % 4 {
        0 => ("Pending", false),
        1 => ("Running", false),
        2 => ("Running", true),
        _ => ("Succeeded", true),
    };
    let mut value = json!({
        "metadata": {
            "name": name,
            "uid": format!("{name}-{uid}"),
            "resourceVersion": version.to_string(),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "gpwsman": "true", "owner": "jane", "metaID": "m" },
            "annotations": { "gitpod/id": name, "gitpod/url": "https://x", "gitpod.io/alreadyInitializing": "true" },
            "finalizers": ["gitpod.io/finalizer"],
        },
        "spec": { "containers": [{ "name": "workspace", "image": "x" }] },
        "status": { "phase": phase },
    });
    if deleting {
        value["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z".into();
    }
    serde_json::from_value(value).unwrap()
}

/// The API server as it is, and everything that happened.
#[derive(Default)]
struct Truth {
    version: u64,
    pods: BTreeMap<String, Pod>,
    past: Vec<(bool, Pod)>,
    /// How much of the past the watch has sent.
    watched: usize,
}

#[derive(Debug, Clone)]
enum Step {
    Write {
        pod: u8,
        state: u8,
    },
    Remove {
        pod: u8,
    },
    /// The last finalizer is taken off: the answer comes with the old version, and then the pod is gone.
    Release {
        pod: u8,
    },
    /// The answer to a write comes, perhaps late.
    Answer {
        back: usize,
    },
    /// The watch sends what happened next.
    Watch {
        events: usize,
    },
    /// The watch was away and lists again.
    List,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u8, any::<u8>()).prop_map(|(pod, state)| Step::Write { pod, state }),
        2 => (0..4u8).prop_map(|pod| Step::Remove { pod }),
        2 => (0..4u8).prop_map(|pod| Step::Release { pod }),
        3 => (0..20usize).prop_map(|back| Step::Answer { back }),
        4 => (1..6usize).prop_map(|events| Step::Watch { events }),
        1 => Just(Step::List),
    ]
}

impl Truth {
    fn take(&mut self, step: &Step, index: &mut Index) -> Vec<Arc<StatusUpdate>> {
        match step {
            Step::Write { pod: number, state } => {
                self.version += 1;
                let name = format!("ws-{number}");
                let uid = self.pods.get(&name).map_or(self.version, |pod| {
                    pod.metadata
                        .uid
                        .rsplit('-')
                        .next()
                        .unwrap()
                        .parse()
                        .unwrap()
                });
                let pod = pod(&name, uid, self.version, *state);
                self.past.push((true, pod.clone()));
                self.pods.insert(name, pod);
                Vec::new()
            }
            Step::Remove { pod } => {
                if let Some(mut pod) = self.pods.remove(&format!("ws-{pod}")) {
                    self.version += 1;
                    pod.metadata.resource_version = self.version.to_string();
                    self.past.push((false, pod));
                }
                Vec::new()
            }
            Step::Release { pod } => {
                let answer = self.pods.get(&format!("ws-{pod}")).cloned();
                let deleting = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
                let Some(mut answer) = answer.filter(deleting) else {
                    return Vec::new();
                };
                answer.metadata.finalizers.clear();
                self.take(&Step::Remove { pod: *pod }, index);
                index.see_pod(&answer).updates
            }
            Step::Answer { back } => match self.past.iter().rev().nth(*back) {
                Some((true, pod)) => index.see_pod(pod).updates,
                _ => Vec::new(),
            },
            Step::Watch { events } => {
                let mut updates = Vec::new();
                for (lives, pod) in self.past.iter().skip(self.watched).take(*events) {
                    self.watched += 1;
                    let changes = match lives {
                        true => index.apply_pod(pod),
                        false => index.delete_pod(pod),
                    };
                    updates.extend(changes.updates);
                }
                updates
            }
            Step::List => {
                self.watched = self.past.len();
                relist(index, &self.pods, self.version)
            }
        }
    }
}

/// The watch lists again. Returns what is published.
fn relist<N: Noun>(
    index: &mut super::Index<N>,
    pods: &BTreeMap<String, Pod>,
    version: u64,
) -> Vec<Arc<N::Update>> {
    let mut updates = Vec::new();
    for pod in pods.values() {
        updates.extend(index.list_pod(pod).updates);
    }
    let names = pods.keys().cloned().collect();
    updates.extend(index.retain_pods(&names, version).updates);
    updates
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_promises_hold_whatever_the_watch_does(steps in prop::collection::vec(step(), 1..60)) {
        let (mut truth, mut index) = (Truth::default(), Index::default());
        let mut published: HashMap<Arc<str>, EncodedStatus> = HashMap::new();
        let mut last = 0;
        for step in steps.iter().chain([&Step::List]) {
            for update in truth.take(step, &mut index) {
                prop_assert!(update.status.version() >= last, "all replicas publish in the order of versions");
                last = update.status.version();
                if let Some(before) = published.get(&update.start_uid) {
                    prop_assert!(update.status.version() > before.version(), "versions grow");
                    prop_assert!(!before.same(&update.status), "no repeats");
                    prop_assert_ne!(before.phase(), WorkspacePhase::Stopped, "nothing after STOPPED");
                }
                published.insert(update.start_uid.clone(), update.status.clone());
            }
        }
        // After a list the index is what is there, and everything else was published as stopped.
        let held: BTreeMap<_, _> =
            index.pods.keys().map(|name| (name.to_string(), index.known(name).unwrap().version)).collect();
        let there: BTreeMap<_, _> =
            truth.pods.iter().map(|(name, pod)| (name.clone(), pod.metadata.version())).collect();
        prop_assert_eq!(held, there);
        for (uid, status) in &published {
            let lives = truth.pods.values().any(|pod| *pod.metadata.uid == **uid);
            prop_assert!(lives || status.phase() == WorkspacePhase::Stopped, "{} ended unpublished", uid);
        }
    }
}

#[test]
fn a_new_pod_under_an_old_name_ends_the_old_one_first() {
    let mut index = Index::default();
    index.apply_pod(&pod("ws-a", 1, 5, 1));
    let updates = index.apply_pod(&pod("ws-a", 2, 9, 0)).updates;
    let published: Vec<_> = updates
        .iter()
        .map(|u| (&*u.start_uid, u.status.phase()))
        .collect();
    assert_eq!(
        published,
        [
            ("ws-a-1", WorkspacePhase::Stopped),
            ("ws-a-2", WorkspacePhase::Pending)
        ]
    );
}

#[test]
fn what_changes_without_its_pod_is_published_with_the_pods_next_version() {
    let mut index = Index::default();
    index.apply_pod(&pod("ws-a", 1, 5, 0));
    let event = json!({
        "involvedObject": { "kind": "Pod", "name": "ws-a" }, "reason": "FailedMount", "message": "no such volume", "count": 3,
    });
    let event: Event = serde_json::from_value(event).unwrap();
    assert_eq!(index.apply_event(event.clone()).reread, [Arc::from("ws-a")]);
    assert!(index.apply_event(event).reread.is_empty(), "said once");
    let reread = index.apply_pod(&pod("ws-a", 1, 5, 0));
    assert!(
        reread.updates.is_empty() && !reread.dirty.is_empty(),
        "decided on, but not published"
    );
    let failed = index
        .by_id("ws-a")
        .unwrap()
        .status()
        .read()
        .conditions
        .unwrap()
        .failed;
    assert_eq!(failed, "no such volume");
    let published = index.apply_pod(&pod("ws-a", 1, 6, 0)).updates;
    assert_eq!(
        published[0].status.read().conditions.unwrap().failed,
        "no such volume"
    );
}

#[test]
fn a_node_is_gone_only_for_pods_that_are_older_than_the_list_without_it() {
    let mut index = Index::default();
    let bound = |version| {
        let mut pod = pod("ws-a", 1, version, 1);
        pod.spec.node_name = "n1".to_owned();
        pod
    };
    index.apply_pod(&bound(5));
    index.retain_nodes(&HashSet::new(), 4);
    index.apply_pod(&bound(5));
    assert!(
        !index.by_id("ws-a").unwrap().newest().entry.state.node_gone,
        "the node may be newer than the list"
    );
    assert_eq!(
        index.retain_nodes(&HashSet::new(), 8).reread,
        [Arc::from("ws-a")]
    );
    index.apply_pod(&bound(5));
    assert!(index.by_id("ws-a").unwrap().newest().entry.state.node_gone);
}

fn service(name: &str, owner: &Pod, ports: &[i64]) -> Service {
    let ports = ports
        .iter()
        .map(|port| json!({"name": format!("p{port}"), "port": port}));
    serde_json::from_value(json!({
        "metadata": { "name": name, "ownerReferences": [
            { "kind": "Pod", "name": owner.metadata.name, "uid": owner.metadata.uid },
        ] },
        "spec": { "ports": ports.collect::<Vec<_>>() },
    }))
    .unwrap()
}

#[test]
fn a_service_that_changes_makes_its_pod_dirty_and_counts_for_no_other() {
    let mut index = Index::default();
    let (old, new) = (pod("a", 1, 1, 0), pod("a", 2, 5, 1));
    index.apply_pod(&old);
    let mine = index.by_pod("a").unwrap().key.clone();
    let dirty = |changes: Changes| changes.dirty.into_iter().collect::<HashSet<_>>().len();
    assert_eq!(dirty(index.apply_service(service("s", &old, &[1]))), 1);
    assert_eq!(dirty(index.apply_service(service("s", &old, &[1]))), 0);
    assert_eq!(index.service("s", &mine).unwrap().ports.len(), 1);
    assert_eq!(dirty(index.apply_service(service("s", &old, &[1, 2]))), 1);
    assert_eq!(index.service("s", &mine).unwrap().ports.len(), 2);

    // Until all are listed, nobody can say that one is missing; then everybody has to be looked at.
    assert!(!index.has_services());
    assert_eq!(
        dirty(index.retain_services(&HashSet::from(["s".to_owned()]))),
        1
    );
    assert!(index.has_services());
    assert_eq!(
        dirty(index.retain_services(&HashSet::from(["s".to_owned()]))),
        0
    );

    // A new pod of that name does not have the Service of the old one.
    index.apply_pod(&new);
    let newer = index.by_pod("a").unwrap().key.clone();
    assert!(index.service("s", &newer).is_none());
    index.apply_service(service("s", &new, &[1]));
    assert!(index.service("s", &newer).is_some() && index.service("s", &mine).is_none());
    assert_eq!(dirty(index.retain_services(&HashSet::new())), 1);
    assert!(index.service("s", &newer).is_none());
}

#[test]
fn a_node_stays_gone_however_often_its_pods_change() {
    let bound = |version| {
        let mut pod = pod("ws-a", 1, version, 1);
        pod.spec.node_name = "n1".to_owned();
        pod
    };
    let gone = |index: &Index| index.by_id("ws-a").unwrap().newest().entry.state.node_gone;
    let node = |name: &str| -> Node {
        serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap()
    };
    // Whether its end was sent, found by a list, or came before everything.
    for how in ["sent", "listed", "before"] {
        let mut index = Index::default();
        if how != "before" {
            index.apply_node(node("n1"));
            index.apply_pod(&bound(5));
            assert!(!gone(&index));
            // The pod changed after its node went, and was sent first.
            index.apply_pod(&bound(7));
        }
        match how {
            "sent" => drop(index.delete_node("n1", 6)),
            _ => drop(index.retain_nodes(&HashSet::new(), 6)),
        }
        if how == "before" {
            index.apply_pod(&bound(5));
        }
        for version in 7..10 {
            index.apply_pod(&bound(version));
            assert!(gone(&index), "{how} {version}");
        }
        // One of that name came: the pod may be its.
        index.apply_node(node("n1"));
        index.apply_pod(&bound(10));
        assert!(!gone(&index), "{how}");
        // What nobody names is not kept.
        index.delete_node("n2", 11);
        assert!(index.nodes.gone.is_empty(), "{how}");
    }
}

#[test]
fn an_announced_end_is_taken_in_once_and_only_by_its_own_pod() {
    let mut index = Index::default();
    let mut stopped = pod("a", 1, 5, 2);
    stopped
        .metadata
        .annotations
        .insert("wsman.dev/stopped".into(), "2026-01-01T00:02:00Z".into());
    let update = index.apply_pod(&stopped).updates.remove(0);
    assert!(update.is_last());
    let other = StatusUpdate {
        start_uid: "a-2".into(),
        ..StatusUpdate::clone(&update)
    };
    assert_eq!(index.announced(&other), Changes::default());
    assert_eq!(index.announced(&update).dirty, [Arc::from("a-1")]);
    assert_eq!(index.announced(&update), Changes::default());
    // What comes of the pod later does not undo it.
    stopped.metadata.resource_version = "6".into();
    index.apply_pod(&stopped);
    assert!(index.by_pod("a").unwrap().announced);
    index.delete_pod(&stopped);
    index.apply_pod(&pod("a", 2, 7, 1));
    assert!(!index.by_pod("a").unwrap().announced);
}
