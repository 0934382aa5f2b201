//! The guarantees of an outbox, whatever the bus does.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::updates::toy::Toy;

fn update(group: &str, start: u64, version: u64, is_last: bool) -> Arc<Toy> {
    Arc::new(Toy {
        uid: format!("{group}-{start}").into(),
        is_last,
        ..Toy::new(group, version)
    })
}

fn sent(outbox: &mut Outbox<Toy>, now: Instant) -> Vec<(String, u64, bool)> {
    std::iter::from_fn(|| outbox.take(now))
        .map(|out| (out.lane.to_string(), out.update.version, out.again))
        .collect()
}

#[test]
fn what_waits_is_merged_and_an_end_never_is() {
    let (mut outbox, now) = (Outbox::default(), Instant::now());
    for version in 1..=3 {
        outbox.push(update("a", 1, version, false));
    }
    outbox.push(update("a", 1, 4, true));
    outbox.push(update("a", 2, 5, false));
    outbox.push(update("a", 2, 6, false));
    assert_eq!(outbox.waiting(), 2);
    assert_eq!(sent(&mut outbox, now), [("a".into(), 4, false)]);
    assert_eq!(outbox.confirm(&"a".into()).unwrap().version, 4);
    assert_eq!(sent(&mut outbox, now), [("a".into(), 6, false)]);
    outbox.confirm(&"a".into());
    assert!(outbox.is_empty());
}

#[test]
fn one_of_a_group_is_under_way_at_a_time() {
    let (mut outbox, now) = (Outbox::default(), Instant::now());
    outbox.push(update("a", 1, 1, false));
    outbox.push(update("b", 1, 1, false));
    assert_eq!(sent(&mut outbox, now).len(), 2);
    outbox.push(update("a", 1, 2, false));
    assert_eq!(sent(&mut outbox, now), []);
    outbox.confirm(&"a".into());
    assert_eq!(sent(&mut outbox, now), [("a".into(), 2, false)]);
    assert_eq!((outbox.waiting(), outbox.under_way()), (0, 2));
}

#[test]
fn what_was_not_answered_is_sent_again_before_anything_newer() {
    let (mut outbox, now) = (Outbox::default(), Instant::now());
    outbox.push(update("a", 1, 1, false));
    sent(&mut outbox, now);
    outbox.push(update("a", 1, 2, false));
    outbox.lose();
    outbox.push(update("a", 1, 3, false));
    assert_eq!(sent(&mut outbox, now), [("a".into(), 1, true)]);
    outbox.confirm(&"a".into());
    assert_eq!(sent(&mut outbox, now), [("a".into(), 3, false)]);
}

#[test]
fn what_was_refused_waits_and_may_be_replaced() {
    let (mut outbox, now) = (Outbox::default(), Instant::now());
    outbox.push(update("a", 1, 1, false));
    sent(&mut outbox, now);
    outbox.refuse(&"a".into(), now);
    assert_eq!(sent(&mut outbox, now), []);
    outbox.push(update("a", 1, 2, true));
    assert_eq!(outbox.waiting(), 1);
    let due = outbox.next_retry().unwrap();
    assert_eq!(due, now + BACKOFF.first);
    assert_eq!(sent(&mut outbox, due), [("a".into(), 2, false)]);
    outbox.refuse(&"a".into(), due);
    assert_eq!(
        outbox.next_retry(),
        Some(due + BACKOFF.first * 2),
        "pauses grow"
    );
    outbox.lose();
    assert_eq!(
        sent(&mut outbox, now),
        [("a".into(), 2, false)],
        "a new connection waits for nothing"
    );
}

#[test]
fn a_repeat_is_not_sent_twice() {
    let (mut outbox, now) = (Outbox::default(), Instant::now());
    outbox.push(update("a", 1, 5, false));
    outbox.push(update("a", 1, 5, false));
    sent(&mut outbox, now);
    outbox.confirm(&"a".into());
    outbox.push(update("a", 1, 5, false));
    assert!(outbox.is_empty());
}

#[test]
fn ends_are_bounded_and_the_loss_is_counted() {
    let mut outbox = Outbox::default();
    for n in 0..ENDED as u64 + 10 {
        outbox.push(update(&format!("w{n}"), 1, n, true));
    }
    assert_eq!((outbox.waiting(), outbox.dropped()), (ENDED, 10));
    assert_eq!(outbox.lanes.len(), ENDED);
    let now = Instant::now();
    while let Some(out) = outbox.take(now) {
        outbox.confirm(&out.lane);
    }
    assert!(outbox.is_empty() && outbox.lanes.is_empty() && outbox.ends.is_empty());
    for n in 0..3 * ENDED as u64 {
        outbox.push(update("again", n, n, true));
        let out = outbox.take(now).unwrap();
        outbox.confirm(&out.lane);
    }
    assert!(outbox.ends.is_empty() && outbox.dropped() == 10);
}

#[derive(Debug, Clone)]
enum Step {
    Push(usize, bool),
    Take,
    Confirm(usize),
    Refuse(usize),
    Lose,
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3usize, prop::bool::weighted(0.2)).prop_map(|(w, last)| Step::Push(w, last)),
        4 => Just(Step::Take),
        4 => (0..3usize).prop_map(Step::Confirm),
        1 => (0..3usize).prop_map(Step::Refuse),
        1 => Just(Step::Lose),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    /// A broker that confirms at once, late or never, and a reader that drops repeats.
    #[test]
    fn no_history_loses_an_end_or_goes_back(steps in prop::collection::vec(step(), 0..200)) {
        let (mut outbox, mut now) = (Outbox::default(), Instant::now());
        let (mut version, mut pods) = (0, [0u64; 3]);
        let mut stored: HashMap<String, Vec<u64>> = HashMap::new();
        let (mut ends, mut last) = (Vec::new(), HashMap::new());
        let name = |w: usize| format!("w{w}");
        let mut store = |out: Outgoing<Toy>| {
            let history = stored.entry(out.lane.to_string()).or_default();
            let version = out.update.version;
            if !history.contains(&version) {
                assert!(history.last().is_none_or(|before| *before < version), "{history:?} then {version}");
                history.push(version);
            }
        };
        for step in steps {
            match step {
                Step::Push(w, is_last) => {
                    version += 1;
                    outbox.push(update(&name(w), pods[w], version, is_last));
                    last.insert(name(w), version);
                    if is_last {
                        pods[w] += 1;
                        ends.push((name(w), version));
                    }
                }
                Step::Take => if let Some(out) = outbox.take(now) { store(out) },
                Step::Confirm(w) => drop(outbox.confirm(&name(w).into())),
                Step::Refuse(w) => outbox.refuse(&name(w).into(), now),
                Step::Lose => outbox.lose(),
                Step::Wait => now += BACKOFF.longest,
            }
            let waits: usize = outbox.lanes.values().map(|lane| lane.waiting.len()).sum();
            prop_assert_eq!(waits, outbox.waiting());
        }
        outbox.lose();
        while let Some(out) = outbox.take(now) {
            let lane = out.lane.clone();
            store(out);
            outbox.confirm(&lane);
        }
        prop_assert!(outbox.is_empty() && outbox.ends.is_empty());
        for (name, version) in ends.into_iter().chain(last) {
            prop_assert!(stored[&name].contains(&version), "{} of {} is lost", version, name);
        }
    }
}
