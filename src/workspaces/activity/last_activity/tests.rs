//! The last activity on several replicas over the same ConfigMaps.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// The ConfigMaps of an API server.
#[derive(Default)]
struct Cluster {
    records: HashMap<String, (BTreeMap<String, String>, u64)>,
    version: u64,
}

impl Cluster {
    fn write(&mut self, checkpoint: &Checkpoint) {
        self.version += 1;
        let (data, version) = self.records.entry(checkpoint.name.clone()).or_default();
        *version = self.version;
        data.extend(checkpoint.set.clone());
        for id in &checkpoint.remove {
            data.remove(id);
        }
    }

    /// Shows a replica the current ConfigMaps.
    fn show(&self, last_activity: &mut LastActivity, lives: impl Fn(&str) -> bool) {
        for number in 0..SHARDS {
            let name = format!("{PREFIX}{number}");
            match self.records.get(&name) {
                Some((data, version)) => {
                    drop(last_activity.read(&name, Some(data), *version, &lives))
                }
                None => drop(last_activity.read(&name, None, self.version, &lives)),
            }
        }
    }

    /// Writes a replica's checkpoints and shows it the responses.
    fn record(&mut self, last_activity: &mut LastActivity, second: u64, holder: bool) -> usize {
        let due = last_activity.checkpoints(
            Duration::from_secs(second),
            at(second.cast_signed()),
            holder,
            false,
            |id| !id.starts_with("gone"),
        );
        for checkpoint in &due {
            self.write(checkpoint);
            let (data, version) = &self.records[&checkpoint.name];
            last_activity.read(&checkpoint.name, Some(data), *version, |_| true);
        }
        due.len()
    }
}

#[test]
fn the_first_sign_is_recorded_at_once_and_the_next_after_the_interval() {
    let (mut cluster, mut last_activity) = (Cluster::default(), LastActivity::default());
    assert_eq!(last_activity.due(true), None);
    assert!(last_activity.mark("a", at(100)));
    assert_eq!(last_activity.due(false), Some(Duration::ZERO));
    assert_eq!(cluster.record(&mut last_activity, 100, false), 1);
    assert_eq!(last_activity.due(false), None);
    for second in 101..110 {
        assert_eq!(last_activity.mark("a", at(second)), second == 101);
        assert_eq!(
            cluster.record(&mut last_activity, second.cast_unsigned(), false),
            0
        );
    }
    assert_eq!(last_activity.due(false), Some(Duration::from_secs(110)));
    assert_eq!(cluster.record(&mut last_activity, 110, false), 1);
    assert_eq!(
        cluster.record(&mut last_activity, 200, false),
        0,
        "nothing new"
    );
    let mut other = LastActivity::default();
    cluster.show(&mut other, |_| true);
    assert_eq!(other.last("a", None), Some(at(109)));
    assert_eq!(
        other.due(true),
        None,
        "what others saw is not written again"
    );
}

#[test]
fn a_sign_of_an_earlier_workspace_of_that_id_does_not_count() {
    let (mut cluster, mut last_activity) = (Cluster::default(), LastActivity::default());
    last_activity.mark("a", at(5));
    cluster.record(&mut last_activity, 5, false);
    last_activity.forget("a");
    assert_eq!(last_activity.last("a", Some(at(6))), None);
    last_activity.mark("a", at(7));
    assert_eq!(last_activity.last("a", Some(at(6))), Some(at(7)));
}

#[test]
fn an_entry_that_was_removed_or_set_back_is_restored() {
    let (mut cluster, mut seer, mut reader) = (
        Cluster::default(),
        LastActivity::default(),
        LastActivity::default(),
    );
    seer.mark("a", at(50));
    cluster.record(&mut seer, 50, false);
    cluster.show(&mut reader, |_| true);
    let (name, shard) = cluster.records.drain().next().unwrap();
    cluster.version += 1;
    let back = [("a".to_owned(), format(at(40)))];
    for data in [None, Some(BTreeMap::from(back))] {
        cluster.version += 1;
        for last_activity in [&mut seer, &mut reader] {
            last_activity.read(&name, data.as_ref(), cluster.version, |_| true);
            assert_eq!(last_activity.last("a", None), Some(at(50)));
        }
        assert!(seer.due(false).is_some());
        assert_eq!(reader.due(false), None);
    }
    drop(shard);
    cluster.record(&mut seer, 60, false);
    assert_eq!(cluster.records[&name].0["a"], format(at(50)));
}

#[test]
fn late_news_and_malformed_entries_change_nothing() {
    let mut last_activity = LastActivity::default();
    let name = format!("{PREFIX}{}", shard_of("a"));
    let data = |value: &str| BTreeMap::from([("a".to_owned(), value.to_owned())]);
    last_activity.read(&name, Some(&data(&format(at(9)))), 7, |_| true);
    last_activity.read(&name, Some(&data(&format(at(3)))), 6, |_| true);
    assert_eq!(last_activity.last("a", None), Some(at(9)));
    for odd in ["", "yesterday", "2026-13-01T00:00:00Z", "\0"] {
        let mut last_activity = LastActivity::default();
        last_activity.read(&name, Some(&data(odd)), 8, |_| true);
        assert_eq!(last_activity.last("a", None), None, "{odd}");
        last_activity.mark("a", at(1));
        assert!(last_activity.due(false).is_some());
    }
}

#[test]
fn entries_of_the_ended_go_with_the_next_write_of_the_holder_or_when_there_are_many() {
    let (mut cluster, mut last_activity) = (Cluster::default(), LastActivity::default());
    let lives = |id: &str| !id.starts_with("gone");
    let ids: Vec<_> = (0..1000).map(|n| format!("gone-{n}")).collect();
    for id in &ids {
        last_activity.mark(id, at(0));
    }
    cluster.record(&mut last_activity, 0, false);
    for id in &ids {
        last_activity.forget(id);
    }
    cluster.show(&mut last_activity, lives);
    assert_eq!(
        last_activity.due(false),
        None,
        "others leave it to the holder"
    );
    assert!(last_activity.due(true).is_some());
    assert_eq!(cluster.record(&mut last_activity, 30, true), 0, "too young");
    assert_eq!(cluster.record(&mut last_activity, 90, true), SHARDS);
    assert!(cluster.records.values().all(|(data, _)| data.is_empty()));

    let (mut cluster, mut last_activity) = (Cluster::default(), LastActivity::default());
    last_activity.mark("gone-one", at(0));
    cluster.record(&mut last_activity, 100, false);
    last_activity.forget("gone-one");
    let mate = (0..)
        .map(|n| format!("lives-{n}"))
        .find(|id| shard_of(id) == shard_of("gone-one"))
        .unwrap();
    assert_eq!(
        last_activity.due(true),
        None,
        "a few are no reason to write"
    );
    last_activity.mark(&mate, at(200));
    cluster.record(&mut last_activity, 200, true);
    let data: Vec<_> = cluster
        .records
        .values()
        .flat_map(|(data, _)| data.keys())
        .collect();
    assert_eq!(data, [&mate]);
}

#[test]
fn a_full_record_takes_no_new_entries_and_still_renews_the_old() {
    let mut last_activity = LastActivity::default();
    let name = format!("{PREFIX}{}", shard_of("a"));
    let others = (0..)
        .map(|n| format!("id-{n}"))
        .filter(|id| shard_of(id) == shard_of("a"));
    let ids: Vec<_> = others.take(FULL + 1).collect();
    let full = ids[..FULL].iter().map(|id| (id.clone(), format(at(0))));
    let full: BTreeMap<_, _> = full.collect();
    last_activity.read(&name, Some(&full), 1, |_| true);
    last_activity.mark(&ids[0], at(1));
    last_activity.mark(&ids[FULL], at(1));
    assert_eq!(last_activity.without_room(), 1);
    let due = last_activity.checkpoints(Duration::from_secs(1), at(1), false, false, |_| true);
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].set.keys().collect::<Vec<_>>(), [&ids[0]]);
    // The numbers in the comment of FULL: the longest ids and times, and their managed fields.
    let entry = 63 + "2026-11-21T08:11:35.123456789Z".len() + r#""":"","#.len();
    let managed = 63 + r#""f:":{},"#.len();
    assert!(FULL * (entry + managed) < 1_500_000);
}

#[derive(Debug, Clone)]
enum Event {
    Mark(usize, u8),
    Write(usize),
    Lose(usize),
    See(usize),
    Remove(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let replica = 0..3_usize;
    prop_oneof![
        4 => (replica.clone(), 0..6_u8).prop_map(|(r, id)| Event::Mark(r, id)),
        3 => replica.clone().prop_map(Event::Write),
        1 => replica.clone().prop_map(Event::Lose),
        2 => replica.prop_map(Event::See),
        1 => (0..SHARDS).prop_map(Event::Remove),
    ]
}

proptest! {
    /// Whatever is lost, late or removed: in the end all replicas know the last activity of each workspace, and
    /// none writes.
    #[test]
    fn all_agree_in_the_end(events in proptest::collection::vec(event(), 0..60)) {
        let mut cluster = Cluster::default();
        let mut replicas: [LastActivity; 3] = Default::default();
        let mut truth: HashMap<String, Timestamp> = HashMap::new();
        let mut second = 0_u64;
        for event in events {
            second += 7;
            let now = at(second.cast_signed());
            match event {
                Event::Mark(replica, id) => {
                    let id = format!("id-{id}");
                    replicas[replica].mark(&id, now);
                    truth.insert(id, now);
                }
                Event::Write(replica) => drop(cluster.record(&mut replicas[replica], second, replica == 0)),
                // The write fails: nothing is stored.
                Event::Lose(replica) => drop(replicas[replica].checkpoints(
                    Duration::from_secs(second), now, false, false, |_| true)),
                Event::See(replica) => cluster.show(&mut replicas[replica], |_| true),
                Event::Remove(number) => {
                    cluster.version += 1;
                    cluster.records.remove(&format!("{PREFIX}{number}"));
                }
            }
        }
        for _ in 0..4 {
            for replica in &mut replicas {
                cluster.show(replica, |_| true);
                second += 20;
                cluster.record(replica, second, false);
            }
        }
        for replica in &mut replicas {
            cluster.show(replica, |_| true);
            for (id, sign) in &truth {
                prop_assert_eq!(replica.last(id, None), Some(*sign));
            }
            prop_assert_eq!(replica.due(true), None);
        }
    }
}
