//! What a subscription promises its reader, whatever it misses.

use super::log::{ENDED, Log, RECENT};
use super::*;
use crate::index::Update;
use crate::proto::encoded::Encoded;
use crate::proto::wsman::{MetadataFilter, WorkspaceMetadata, WorkspacePhase, WorkspaceStatus};
use crate::workspaces::filter::Filter;

fn update(uid: &str, version: u64, phase: WorkspacePhase) -> Update {
    owned(uid, "jane", version, phase)
}

fn owned(uid: &str, owner: &str, version: u64, phase: WorkspacePhase) -> Update {
    let status = WorkspaceStatus {
        id: uid.to_owned(),
        status_version: version,
        phase: phase.into(),
        metadata: Some(WorkspaceMetadata {
            owner: owner.to_owned(),
            meta_id: format!("m-{uid}"),
            annotations: [("of".to_owned(), owner.to_owned())].into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    Update::new(uid, Encoded::new(status))
}

fn append(log: &mut Log, update: Update) -> Option<u64> {
    log.append(log.head() + 1, Arc::new(update))
}

fn versions(log: &Log, after: u64) -> Vec<(String, u64)> {
    log.after(after)
        .map(|(_, update)| (update.uid.to_string(), update.status.version()))
        .collect()
}

fn send(hub: &Hub, updates: Vec<Update>) {
    hub.change(|_| Changes {
        updates,
        ..Changes::default()
    });
}

/// Reads what is there now; nothing is waited for.
async fn read(subscription: &mut Subscription) -> Vec<String> {
    let mut read = Vec::new();
    while let Some(told) = futures::FutureExt::now_or_never(subscription.next()) {
        read.extend(told.unwrap().iter().map(|told| match told {
            Told::Update(update) => format!("{}@{}", update.uid, update.status.version()),
            Told::Complete(version) => format!("complete@{version}"),
        }));
    }
    read
}

#[test]
fn a_fast_reader_sees_every_update() {
    let mut log = Log::default();
    for version in 1..=3 {
        append(&mut log, update("a", version, WorkspacePhase::Running));
    }
    assert_eq!(
        versions(&log, 0),
        [("a".into(), 1), ("a".into(), 2), ("a".into(), 3)]
    );
    assert_eq!(versions(&log, 2), [("a".into(), 3)]);
}

#[test]
fn a_slow_reader_gets_the_last_update_of_each_workspace() {
    let mut log = Log::default();
    append(&mut log, update("quiet", 1, WorkspacePhase::Running));
    append(&mut log, update("over", 2, WorkspacePhase::Stopped));
    let last = RECENT as u64 * 3;
    for version in 3..=last {
        append(&mut log, update("busy", version, WorkspacePhase::Running));
    }
    let seen = versions(&log, 0);
    assert_eq!(seen[..2], [("quiet".into(), 1), ("over".into(), 2)]);
    assert_eq!(seen.last(), Some(&("busy".into(), last)));
    assert!(seen.is_sorted_by_key(|(_, version)| *version), "in order");
    assert!(
        seen.len() <= RECENT + 3,
        "bounded by the number of workspaces"
    );
}

#[test]
fn a_reader_that_missed_a_stopped_for_good_is_told() {
    let mut log = Log::default();
    let mut forgotten = None;
    for n in 0..=ENDED as u64 {
        forgotten = append(
            &mut log,
            update(&format!("w{n}"), n + 10, WorkspacePhase::Stopped),
        );
    }
    assert_eq!(forgotten, Some(10));
    assert!(log.lost(0) && !log.lost(1));
}

#[tokio::test]
async fn what_comes_between_two_reads_is_neither_lost_nor_repeated() {
    let hub = Hub::new(Index::default());
    let mut subscription = hub.subscribe(Filter::default(), Start::Now);
    let mut seen = Vec::new();
    for version in 1..=500 {
        send(&hub, vec![update("a", version, WorkspacePhase::Running)]);
        if version % 7 == 0 {
            seen.extend(read(&mut subscription).await);
        }
    }
    seen.extend(read(&mut subscription).await);
    let all: Vec<_> = (1..=500).map(|version| format!("a@{version}")).collect();
    assert_eq!(seen, all);
}

#[tokio::test]
async fn a_filter_keeps_its_reader_quiet_and_tells_all_that_matches() {
    let hub = Hub::new(Index::default());
    let filter = |owner: &str, meta_id: &str| {
        Filter::parse(Some(MetadataFilter {
            owner: owner.to_owned(),
            meta_id: meta_id.to_owned(),
            ..Default::default()
        }))
        .unwrap()
    };
    let mut janes = hub.subscribe(filter("jane", ""), Start::Now);
    let mut also = hub.subscribe(filter("jane", ""), Start::Now);
    let mut one = hub.subscribe(filter("jane", "m-c"), Start::Now);
    let mut other = hub.subscribe(filter("joe", "m-c"), Start::Now);
    let mut noted = hub.subscribe(
        Filter::parse(Some(MetadataFilter {
            annotations: [("of".to_owned(), "joe".to_owned())].into(),
            ..Default::default()
        }))
        .unwrap(),
        Start::Now,
    );
    drop(std::mem::replace(
        &mut also,
        hub.subscribe(Filter::default(), Start::Now),
    ));
    let running = WorkspacePhase::Running;
    send(
        &hub,
        vec![
            owned("a", "jane", 1, running),
            owned("b", "joe", 2, running),
            owned("c", "jane", 3, running),
        ],
    );
    assert_eq!(read(&mut janes).await, ["a@1", "c@3"]);
    assert_eq!(read(&mut one).await, ["c@3"]);
    assert!(read(&mut other).await.is_empty());
    assert_eq!(read(&mut noted).await, ["b@2"]);
    assert_eq!(read(&mut also).await, ["a@1", "b@2", "c@3"]);
}

#[tokio::test]
async fn a_snapshot_has_everything_that_lives_and_then_what_comes() {
    let hub = Hub::new(Index::default());
    send(
        &hub,
        vec![
            update("a", 1, WorkspacePhase::Pending),
            update("b", 2, WorkspacePhase::Stopped),
            update("c", 3, WorkspacePhase::Running),
            update("a", 4, WorkspacePhase::Running),
        ],
    );
    let mut subscription = hub.subscribe(Filter::default(), Start::Snapshot);
    send(&hub, vec![update("c", 5, WorkspacePhase::Stopping)]);
    assert_eq!(
        read(&mut subscription).await,
        ["c@3", "a@4", "complete@4", "c@5"]
    );
}

#[tokio::test]
async fn a_stream_goes_on_where_another_stopped() {
    let hub = Hub::new(Index::default());
    hub.change(|_| Changes {
        updates: vec![update("a", 5, WorkspacePhase::Running)],
        floor: Some(7),
        ..Changes::default()
    });
    send(
        &hub,
        vec![
            update("b", 8, WorkspacePhase::Running),
            update("a", 9, WorkspacePhase::Stopping),
            update("a", 11, WorkspacePhase::Stopped),
        ],
    );
    let begin = async |version| {
        let mut subscription = hub.subscribe(Filter::default(), Start::Resume(version));
        (subscription.began(), read(&mut subscription).await)
    };
    let told = |told: &[&str]| told.iter().map(|told| (*told).to_owned()).collect();
    // Intermediate states may be merged, the end is never lost.
    assert_eq!(
        begin(7).await,
        (Began::Resumed, told(&["b@8", "a@11"])),
        "from the list on"
    );
    assert_eq!(begin(9).await, (Began::Resumed, told(&["a@11"])));
    assert_eq!(begin(11).await, (Began::Resumed, told(&[])));
    // Before the list, and beyond what ever was, there may be gaps: everything is told instead.
    for unknown in [6, 12] {
        assert_eq!(
            begin(unknown).await,
            (Began::Snapshot, told(&["b@8", "complete@11"]))
        );
    }
}

#[tokio::test]
async fn who_asks_for_the_past_gets_the_ends_that_are_remembered_and_then_all_that_comes() {
    let hub = Hub::new(Index::default());
    send(
        &hub,
        vec![
            update("a", 1, WorkspacePhase::Running),
            update("b", 2, WorkspacePhase::Running),
            update("a", 3, WorkspacePhase::Stopped),
        ],
    );
    let mut past = hub.subscribe(Filter::default(), Start::Past);
    assert_eq!(past.began(), Began::Snapshot);
    assert_eq!(read(&mut past).await, ["b@2", "a@3", "complete@3"]);
    send(&hub, vec![update("b", 4, WorkspacePhase::Stopped)]);
    assert_eq!(read(&mut past).await, ["b@4"]);
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
    let at = |second| Timestamp::from_second(1_800_000_000 + second).unwrap();
    hub.mark_active("a", at(1));
    assert_eq!(
        woken(),
        1,
        "its limit was that of a startup, and is nearer now"
    );
    for second in 2..50 {
        hub.mark_active("a", at(second));
    }
    assert_eq!(woken(), 0, "each moves the limit further away");

    // What another replica recorded counts the same.
    let record = |hub: &Hub, second: i64| {
        let map: ConfigMap = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "elsewhere", "resourceVersion": second.to_string() },
            "data": { "a": crate::workspaces::activity::format(at(second)) },
        }))
        .unwrap();
        hub.record_activity(&map);
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
