//! Who gets the next place, and what those leave behind who stop waiting.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::*;
use crate::window::{Class, FIRST, LEAST};

fn kind(class: Class) -> Kind {
    let name = format!("{class:?}");
    Kind { class, name }
}

fn full() -> (Gate, Vec<Place>) {
    let gate = Gate::default();
    let enter = || gate.enter(kind(Class::Rest)).now_or_never();
    let places = std::iter::from_fn(enter)
        .take(2 * FIRST)
        .collect::<Vec<_>>();
    assert_eq!(places.len(), FIRST);
    (gate, places)
}

/// Begins to wait.
fn wait(gate: &Gate, class: Class) -> BoxFuture<'static, Place> {
    let gate = gate.clone();
    let mut waits = async move { gate.enter(kind(class)).await }.boxed();
    assert!((&mut waits).now_or_never().is_none());
    waits
}

fn under_way(gate: &Gate) -> usize {
    gate.state().window.under_way()
}

#[tokio::test]
async fn starts_overtake_repairs_that_came_first() {
    let (gate, mut places) = full();
    let mut repairs: Vec<_> = (0..3).map(|_| wait(&gate, Class::Rest)).collect();
    let mut starts: Vec<_> = (0..3).map(|_| wait(&gate, Class::Start)).collect();
    let mut held = Vec::new();
    for start in &mut starts {
        drop(places.pop());
        held.push(start.now_or_never().expect("a start goes first"));
    }
    for repair in &mut repairs {
        assert!(repair.now_or_never().is_none());
        drop(places.pop());
        held.push(repair.now_or_never().expect("then the repair"));
    }
    assert_eq!(under_way(&gate), FIRST);
    drop((held, places));
    assert_eq!(under_way(&gate), 0);
}

#[tokio::test]
async fn one_who_stops_waiting_leaves_nothing_behind() {
    let (gate, mut places) = full();
    // Before its turn.
    drop(wait(&gate, Class::Start));
    // After it was given a place that it never took.
    let late = wait(&gate, Class::Start);
    drop(places.pop());
    drop(late);
    assert_eq!(under_way(&gate), FIRST - 1);
    // A crowd that is gone at once.
    places.extend(gate.enter(kind(Class::Rest)).now_or_never());
    let crowd: Vec<_> = (0..10_000).map(|_| wait(&gate, Class::Start)).collect();
    drop(crowd);
    let last = wait(&gate, Class::Rest);
    drop(places.pop());
    drop(last.now_or_never().expect("the only one who waits"));
    drop(places);
    assert_eq!(under_way(&gate), 0);
    assert!(gate.next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_given_up_late_counts_as_overload() {
    let (gate, places) = full();
    drop(places);
    assert_eq!(gate.state().window.limit(), FIRST);
    for _ in 0..10 {
        let place = gate.enter(kind(Class::Start)).await;
        tokio::time::advance(SILENCE).await;
        drop(place);
    }
    assert_eq!(gate.state().window.limit(), LEAST);
}
