//! A broker that is away, dies, hangs or is full. These tests break the node that they share, one at a time.

use super::*;
use crate::support::rabbit;

const WORKSPACES: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq1_down_at_the_start() {
    let Some(node) = rabbit::breakable("fq1").await else {
        return;
    };
    let url = node.vhost("fq1", "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    node.kill();
    let mut rig = Rig::start(&url);
    rig.flow(WORKSPACES, 50).await;
    rig.end(WORKSPACES);
    let state = rig
        .reached("it reads without a broker", |state| {
            state.waiting == WORKSPACES && state.fault.is_some()
        })
        .await;
    assert!(!state.is_connected && state.is_publisher, "{state:?}");
    node.start().await;
    queue.until("all ends", all_stopped(WORKSPACES)).await;
    queue.check();
    let state = rig.drained().await;
    assert_eq!(
        (state.waiting, state.unconfirmed, state.fault),
        (0, 0, None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq2_killed_and_stopped_in_full_flow() {
    let Some(node) = rabbit::breakable("fq2").await else {
        return;
    };
    let url = node.vhost("fq2", "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let mut rig = Rig::connected(&url).await;
    for round in 0..2 {
        let confirmed = rig.state.borrow().confirmed;
        // So many at once that some are always in flight.
        rig.flow(WORKSPACES, 20).await;
        rig.reached("in full flow", |state| {
            state.confirmed > confirmed && state.unconfirmed > 0
        })
        .await;
        match round {
            0 => node.kill(),
            _ => node.terminate(),
        }
        rig.flow(WORKSPACES, 20).await;
        rig.reached("its end is noticed", |state| !state.is_connected)
            .await;
        node.start().await;
        rig.reached("it is back", |state| state.is_connected).await;
    }
    rig.end(WORKSPACES);
    queue.until("all ends", all_stopped(WORKSPACES)).await;
    let state = rig.drained().await;
    queue.drain().await;
    let repeats = queue.check();
    assert!(
        state.republished > 0 && repeats as u64 <= state.republished,
        "{repeats}: {state:?}"
    );
    assert_eq!((state.waiting, state.unconfirmed), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq3_half_open() {
    let Some(node) = rabbit::breakable("fq3").await else {
        return;
    };
    let url = node.vhost("fq3", "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let impatient = MessageBus {
        confirm_timeout: GoDuration::from_secs(2),
        ..bus(Broker::Url(url))
    };
    let timing = Timing {
        connect: Duration::from_secs(2),
        ..HASTY
    };
    let mut rig = Rig::with(impatient, timing);
    rig.reached("connected", |state| state.is_connected).await;
    rig.flow(WORKSPACES, 5).await;
    rig.reached("in flow", |state| state.confirmed > 0).await;
    node.signal("-STOP");
    rig.flow(WORKSPACES, 5).await;
    let late = |state: &State| {
        state
            .fault
            .as_ref()
            .is_some_and(|why| why.contains("no confirm within 2s"))
    };
    rig.reached("a confirm is late", late).await;
    let faults = rig.state.borrow().faults;
    let hangs = |state: &State| {
        let why = state.fault.as_deref().unwrap_or_default();
        state.faults >= faults + 2 && why.contains("does not answer")
    };
    rig.reached("new attempts hang, and end", hangs).await;
    rig.end(WORKSPACES);
    node.signal("-CONT");
    queue.until("all ends", all_stopped(WORKSPACES)).await;
    queue.check();
    rig.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq4_blocked_by_an_alarm() {
    let Some(node) = rabbit::breakable("fq4").await else {
        return;
    };
    let url = node.vhost("fq4", "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let impatient = MessageBus {
        confirm_timeout: GoDuration::from_secs(2),
        ..bus(Broker::Url(url))
    };
    let mut rig = Rig::with(impatient, HASTY);
    rig.reached("connected", |state| state.is_connected).await;
    rig.flow(WORKSPACES, 1).await;
    rig.reached("in flow", |state| state.confirmed > 0).await;
    node.alarm(true).await;
    rig.flow(WORKSPACES, 1).await;
    let state = rig
        .reached("the alarm is noticed", |state| state.blocked.is_some())
        .await;
    assert!(state.is_connected, "{state:?}");
    let connects = state.connects;
    // The hub is still read, and waiting updates are merged.
    rig.flow(WORKSPACES, 100).await;
    rig.end(WORKSPACES);
    rig.reached("the rest waits", |state| state.waiting == WORKSPACES)
        .await;
    // Longer than a confirm may take: a blocked broker is not a silent one.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let state = rig.state.borrow().clone();
    assert!(
        state.blocked.is_some() && state.connects == connects,
        "{state:?}"
    );
    node.alarm(false).await;
    queue.until("all ends", all_stopped(WORKSPACES)).await;
    assert_eq!(queue.check(), 0, "nothing was repeated");
    let state = rig.drained().await;
    assert_eq!(state.connects, connects);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq14_a_shutdown_waits_for_a_hung_broker_no_longer_than_it_may() {
    let Some(node) = rabbit::breakable("fq14").await else {
        return;
    };
    let url = node.vhost("fq14", "secret").await;
    let timing = Timing {
        flush: Duration::from_secs(1),
        ..HASTY
    };
    let mut rig = Rig::with(bus(Broker::Url(url)), timing);
    rig.reached("connected", |state| state.is_connected).await;
    node.signal("-STOP");
    rig.flow(WORKSPACES, 1).await;
    rig.reached("under way", |state| state.unconfirmed == WORKSPACES)
        .await;
    let begun = std::time::Instant::now();
    let state = rig.drained().await;
    node.signal("-CONT");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(state.unconfirmed, WORKSPACES, "what is left is reported");
}
