//! What the hub adds to its index: who is woken, and in which order updates are published.

mod observers;

use super::*;
use crate::objects::ConfigMap;
use crate::proto::encoded::Encoded;
use crate::proto::wsman::WorkspaceStatus;
use crate::updates::{SubscribeFrom, UpdateEvent};
use crate::workspaces::activity;
use crate::workspaces::entry::Workspace;
use crate::workspaces::filter::Filter;
use crate::workspaces::update::StatusUpdate;

#[test]
fn updates_are_published_in_the_order_in_which_the_index_changed() {
    const EACH: usize = 500;
    let hub = Hub::<Workspace>::new(Index::default());
    let mut all = hub
        .updates()
        .subscribe(Filter::default(), SubscribeFrom::Now);
    let version = AtomicU64::new(0);
    let change = || {
        for _ in 0..EACH {
            hub.change(|_| {
                let status = WorkspaceStatus {
                    status_version: version.fetch_add(1, Ordering::Relaxed) + 1,
                    ..Default::default()
                };
                let updates = vec![StatusUpdate::new("a", Encoded::new(status)).into()];
                Changes {
                    updates,
                    ..Changes::default()
                }
            });
        }
    };
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        let threads = [scope.spawn(change), scope.spawn(change)];
        while seen.len() < 2 * EACH {
            let ended = threads.iter().all(|thread| thread.is_finished());
            let events = all.ready().unwrap();
            assert!(!ended || !events.is_empty(), "an update is lost");
            seen.extend(events.iter().map(|event| match event {
                UpdateEvent::Status(update) => update.version(),
                UpdateEvent::SnapshotComplete(_) => unreachable!("nothing asked for one"),
            }));
        }
    });
    assert!(seen.into_iter().eq(1..=2 * EACH as u64));
}

#[test]
fn only_the_first_heartbeat_of_a_workspace_wakes_a_decision() {
    let pod: crate::objects::Pod = serde_json::from_value(serde_json::json!({
        "metadata": {
            "name": "ws-a", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "gpwsman": "true" },
            "annotations": { "gitpod/id": "a", "gitpod/url": "https://x" },
        },
        "spec": { "containers": [{ "name": "workspace" }] },
        "status": { "phase": "Running" },
    }))
    .unwrap();
    let hub = Hub::new(Index::default());
    hub.change(|index| index.apply_pod(&pod));
    let woken = || {
        let names = futures::FutureExt::now_or_never(hub.dirty());
        names.map_or(0, |names| names.len())
    };
    assert_eq!(woken(), 1, "it is new");
    let see = |now| hub.change_noun(|index, noun| activity::records::see(index, noun, "a", now));
    let at = |second| Timestamp::from_second(1_800_000_000 + second).unwrap();
    see(at(1));
    assert_eq!(
        woken(),
        1,
        "its limit was that of a startup, and is nearer now"
    );
    for second in 2..50 {
        see(at(second));
    }
    assert_eq!(woken(), 0, "each moves the limit further away");

    // What another replica recorded counts the same.
    let record = |hub: &Hub<Workspace>, second: i64| {
        let map: ConfigMap = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "elsewhere", "resourceVersion": second.to_string() },
            "data": { "a": crate::workspaces::activity::format(at(second)) },
        }))
        .unwrap();
        let meta = &map.metadata;
        hub.change_noun(|index, noun| {
            activity::records::read_record(index, noun, &meta.name, Some(&map.data), meta.version())
        });
    };
    record(&hub, 100);
    assert_eq!(woken(), 0);
    let other = Hub::new(Index::default());
    other.change(|index| index.apply_pod(&pod));
    let woken = || {
        let names = futures::FutureExt::now_or_never(other.dirty());
        names.map_or(0, |names| names.len())
    };
    assert_eq!(woken(), 1, "it is new");
    record(&other, 100);
    assert_eq!(woken(), 1, "it is the first sign that this replica knows");
    record(&other, 110);
    assert_eq!(woken(), 0);
}

#[test]
fn nothing_is_decided_before_the_watch_has_it() {
    let pod = |version: u64| -> crate::objects::Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "ws-a", "uid": "u", "resourceVersion": version.to_string(),
                "labels": { "gpwsman": "true" }, "annotations": { "gitpod/id": "a", "gitpod/url": "https://x" },
            },
            "spec": { "containers": [{ "name": "workspace" }] },
            "status": { "phase": "Running" },
        }))
        .unwrap()
    };
    let hub = Hub::<Workspace>::new(Index::default());
    let decided = || {
        let policy = Default::default();
        hub.decide("u", &policy, Timestamp::UNIX_EPOCH).is_some()
    };
    hub.change(|index| index.apply_pod(&pod(1)));
    assert!(decided());
    // The answer to a write of ours.
    hub.change(|index| index.see_pod(&pod(3)));
    assert!(!decided(), "subscribers have not seen it");
    hub.change(|index| index.apply_pod(&pod(2)));
    assert!(!decided());
    hub.change(|index| index.apply_pod(&pod(3)));
    assert!(decided());
    // A list is complete only when its end was seen: that wakes a decision.
    hub.change(|index| index.list_pod(&pod(5)));
    assert!(!decided());
    let woken = || {
        let keys = futures::FutureExt::now_or_never(hub.dirty());
        keys.map_or(0, |keys| keys.len())
    };
    woken();
    hub.change(|index| index.retain_pods(&HashSet::from(["ws-a".to_owned()]), 6));
    assert!(decided());
    assert_eq!(woken(), 1);
}
