//! The guarantees of a subscription, whatever its subscriber misses: on updates of a toy.

use futures::FutureExt;

use super::log::{ENDED, Log, RECENT};
use super::toy::{Toy, ToyFilter};
use super::*;

fn append(log: &mut Log<Toy>, update: Toy) -> Option<u64> {
    log.append(log.head() + 1, Arc::new(update))
}

fn versions(log: &Log<Toy>, after: u64) -> Vec<(String, u64)> {
    log.after(after)
        .map(|(_, update)| (update.uid.to_string(), update.version))
        .collect()
}

fn owned(group: &str, owner: &'static str, version: u64) -> Toy {
    Toy {
        owner,
        ..Toy::new(group, version)
    }
}

fn everything(updates: &Updates<Toy>, from: SubscribeFrom) -> Subscription<Toy> {
    updates.subscribe(ToyFilter::default(), from)
}

/// Reads what is there, without waiting.
fn read(subscription: &mut Subscription<Toy>) -> Vec<String> {
    let mut read = Vec::new();
    while let Some(events) = subscription.next().now_or_never() {
        read.extend(events.unwrap().iter().map(|event| match event {
            UpdateEvent::Status(update) => format!("{}@{}", update.uid, update.version),
            UpdateEvent::SnapshotComplete(version) => format!("complete@{version}"),
        }));
    }
    read
}

#[test]
fn a_fast_subscriber_sees_every_update() {
    let mut log = Log::after_head(0);
    for version in 1..=3 {
        append(&mut log, Toy::new("a", version));
    }
    assert_eq!(
        versions(&log, 0),
        [("a".into(), 1), ("a".into(), 2), ("a".into(), 3)]
    );
    assert_eq!(versions(&log, 2), [("a".into(), 3)]);
}

#[test]
fn a_slow_subscriber_gets_the_last_update_of_each_group() {
    let mut log = Log::after_head(0);
    append(&mut log, Toy::new("quiet", 1));
    append(&mut log, Toy::last("over", 2));
    let last = RECENT as u64 * 3;
    for version in 3..=last {
        append(&mut log, Toy::new("busy", version));
    }
    let seen = versions(&log, 0);
    assert_eq!(seen[..2], [("quiet".into(), 1), ("over".into(), 2)]);
    assert_eq!(seen.last(), Some(&("busy".into(), last)));
    assert!(seen.is_sorted_by_key(|(_, version)| *version), "in order");
    assert!(
        seen.len() <= RECENT + 3,
        "the number of groups bounds the log"
    );
}

#[test]
fn a_subscriber_that_missed_an_end_for_good_learns_of_it() {
    let mut log = Log::after_head(0);
    let mut forgotten = None;
    for n in 0..=ENDED as u64 {
        forgotten = append(&mut log, Toy::last(&format!("g{n}"), n + 10));
    }
    assert_eq!(forgotten, Some(10));
    assert!(log.lost(0) && !log.lost(1));
}

#[test]
fn a_subscription_that_missed_an_end_for_good_fails() {
    let updates = Updates::default();
    let mut slow = everything(&updates, SubscribeFrom::Now);
    let ends = (0..=ENDED as u64).map(|n| Toy::last(&format!("g{n}"), n + 10));
    updates.publish(ends, None);
    assert_eq!(slow.ready().unwrap_err(), Lagged);
    // A token from before that end is too old too.
    let late = everything(&updates, SubscribeFrom::Resume(9));
    assert_eq!(late.started_from(), StartedFrom::Snapshot);
}

#[test]
fn what_comes_between_two_reads_is_neither_lost_nor_repeated() {
    let updates = Updates::default();
    let mut subscription = everything(&updates, SubscribeFrom::Now);
    let mut seen = Vec::new();
    for version in 1..=500 {
        updates.publish(vec![Toy::new("a", version)], None);
        if version % 7 == 0 {
            seen.extend(read(&mut subscription));
        }
    }
    seen.extend(read(&mut subscription));
    let all: Vec<_> = (1..=500).map(|version| format!("a@{version}")).collect();
    assert_eq!(seen, all);
}

#[test]
fn a_filter_wakes_for_its_topic_only_and_passes_all_that_matches() {
    let updates = Updates::default();
    let filtered = |owner: &'static str, group: &'static str| {
        updates.subscribe(ToyFilter { group, owner }, SubscribeFrom::Now)
    };
    let mut janes = filtered("jane", "");
    let mut one = filtered("jane", "c");
    let mut other = filtered("joe", "c");
    let mut joes = filtered("joe", "");
    // The topic outlives one of its subscribers.
    drop(filtered("jane", ""));
    let mut all = everything(&updates, SubscribeFrom::Now);
    assert_eq!(updates.subscribers(), 5);
    let groups = [("a", "jane", 1), ("b", "joe", 2)];
    let groups = groups.map(|(group, owner, version)| owned(group, owner, version));
    updates.publish(groups.to_vec(), None);
    assert!(one.is_done() && other.is_done(), "not woken");
    assert!(!janes.is_done() && !joes.is_done() && !all.is_done());
    updates.publish(vec![owned("c", "jane", 3)], None);
    assert_eq!(read(&mut janes), ["a@1", "c@3"]);
    assert_eq!(read(&mut one), ["c@3"]);
    assert!(read(&mut other).is_empty());
    assert_eq!(read(&mut joes), ["b@2"]);
    assert_eq!(read(&mut all), ["a@1", "b@2", "c@3"]);
    drop((janes, one, other, joes, all));
    assert_eq!(updates.subscribers(), 0);
}

#[test]
fn a_snapshot_has_everything_that_lives_and_then_what_comes() {
    let updates = Updates::default();
    let before = [
        Toy::new("a", 1),
        Toy::last("b", 2),
        Toy::new("c", 3),
        Toy::new("a", 4),
    ];
    updates.publish(before.to_vec(), None);
    let mut subscription = everything(&updates, SubscribeFrom::Snapshot);
    updates.publish(vec![Toy::new("c", 5)], None);
    assert_eq!(read(&mut subscription), ["c@3", "a@4", "complete@4", "c@5"]);
}

#[test]
fn a_stream_goes_on_where_another_stopped() {
    let updates = Updates::default();
    updates.publish(vec![Toy::new("a", 5)], Some(7));
    let later = [Toy::new("b", 8), Toy::new("a", 9), Toy::last("a", 11)];
    updates.publish(later.to_vec(), None);
    let begin = |version| {
        let mut subscription = everything(&updates, SubscribeFrom::Resume(version));
        (subscription.started_from(), read(&mut subscription))
    };
    let events = |events: &[&str]| events.iter().map(|event| (*event).to_owned()).collect();
    // Intermediate states may be merged, the end is never lost.
    assert_eq!(
        begin(7),
        (StartedFrom::Resumed, events(&["b@8", "a@11"])),
        "from the list on"
    );
    assert_eq!(begin(9), (StartedFrom::Resumed, events(&["a@11"])));
    assert_eq!(begin(11), (StartedFrom::Resumed, events(&[])));
    // Before the list, and after the head, there may be gaps: a snapshot has none.
    for unknown in [6, 12] {
        assert_eq!(
            begin(unknown),
            (StartedFrom::Snapshot, events(&["b@8", "complete@11"]))
        );
    }
}

#[test]
fn the_past_has_the_ends_that_are_remembered_and_then_what_comes() {
    let updates = Updates::default();
    let before = [Toy::new("a", 1), Toy::new("b", 2), Toy::last("a", 3)];
    updates.publish(before.to_vec(), None);
    let mut past = everything(&updates, SubscribeFrom::Past);
    assert_eq!(past.started_from(), StartedFrom::Snapshot);
    assert_eq!(read(&mut past), ["b@2", "a@3", "complete@3"]);
    updates.publish(vec![Toy::last("b", 4)], None);
    assert_eq!(read(&mut past), ["b@4"]);
}

#[test]
fn reached_waits_for_the_version() {
    let updates = Updates::default();
    updates.publish(vec![Toy::new("a", 4)], None);
    assert!(updates.reached(4).now_or_never().is_some());
    let mut later = Box::pin(updates.reached(6));
    assert!((&mut later).now_or_never().is_none());
    updates.publish(vec![Toy::new("a", 5)], None);
    assert!((&mut later).now_or_never().is_none());
    updates.publish(vec![Toy::new("b", 7)], None);
    assert!((&mut later).now_or_never().is_some());
}
