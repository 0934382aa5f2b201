//! A broker that rejects connections or messages. Each test has its own vhost.

use lapin::ExchangeKind;
use lapin::options::{BasicGetOptions, ExchangeDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::*;
use crate::support::queue::{channel, declare_exchange};
use crate::support::rabbit;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq5_the_window_is_kept() {
    let Some(node) = rabbit::shared("fq5").await else {
        return;
    };
    let url = node.vhost("fq5", "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let narrow = MessageBus {
        window: 4,
        ..bus(Broker::Url(url))
    };
    let mut rig = Rig::with(narrow, HASTY);
    rig.flow(50, 40).await;
    rig.end(50);
    let mut most = 0;
    rig.reached("all is confirmed", |state| {
        most = most.max(state.unconfirmed);
        state.waiting == 0 && state.unconfirmed == 0 && state.confirmed >= 50
    })
    .await;
    assert!((1..=4).contains(&most), "{most}");
    queue.drain().await;
    assert!(all_stopped(50)(&queue.history));
    assert_eq!(queue.check(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq6_an_exchange_that_is_deleted_in_flow_is_declared_again() {
    let Some(node) = rabbit::shared("fq6a").await else {
        return;
    };
    let url = node.vhost("fq6a", "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let mut rig = Rig::connected(&url).await;
    rig.flow(50, 5).await;
    let (_connection, channel) = channel(&url).await;
    let deleted = channel.exchange_delete("wsman".into(), ExchangeDeleteOptions::default());
    deleted.await.unwrap();
    rig.flow(50, 5).await;
    rig.reached("it connects again", |state| {
        state.connects > 1 && state.is_connected
    })
    .await;
    // A queue that was bound to it is no longer bound; after a new binding it gets what follows.
    queue.bind(&channel, "*.*.updates").await;
    rig.end(50);
    queue.until("all ends", all_stopped(50)).await;
    queue.check();
    rig.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq6_an_exchange_of_another_type_is_reported_and_awaited() {
    let Some(node) = rabbit::shared("fq6b").await else {
        return;
    };
    let url = node.vhost("fq6b", "secret").await;
    let (_connection, channel) = channel(&url).await;
    declare_exchange(&channel, ExchangeKind::Fanout).await;
    let mut rig = Rig::start(&url);
    rig.update("w0", WorkspacePhase::Stopped);
    let has = |word: &'static str| {
        move |state: &State| state.fault.as_ref().is_some_and(|why| why.contains(word))
    };
    let state = rig.reached("it is reported", has("PRECONDITION")).await;
    assert!(!state.is_connected && state.confirmed == 0, "{state:?}");
    let deleted = channel.exchange_delete("wsman".into(), ExchangeDeleteOptions::default());
    deleted.await.unwrap();
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    rig.reached("it is confirmed", |state| state.confirmed == 1)
        .await;
    queue.drain().await;
    // It may have arrived before the queue was bound.
    assert_eq!(queue.history.len() as u64 + rig.state.borrow().returned, 1);
    rig.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq6_a_permission_that_is_taken_stops_nothing_for_good() {
    let Some(node) = rabbit::shared("fq6c").await else {
        return;
    };
    let url = node.vhost("fq6c", "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let mut rig = Rig::connected(&url).await;
    // It may neither declare nor write.
    node.ctl(&["set_permissions", "-p", "fq6c", "fq6c", "", "", ".*"])
        .await;
    rig.update("w0", WorkspacePhase::Running);
    let refused = |state: &State| {
        state
            .fault
            .as_ref()
            .is_some_and(|why| why.contains("ACCESS_REFUSED"))
    };
    rig.reached("it is refused", refused).await;
    rig.update("w0", WorkspacePhase::Stopped);
    // It may write to the exchange that is there, but still not declare one.
    node.ctl(&["set_permissions", "-p", "fq6c", "fq6c", "", ".*", ".*"])
        .await;
    queue.until("the end", all_stopped(1)).await;
    queue.check();
    let state = rig.drained().await;
    assert_eq!(state.fault, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq7_messages_that_reach_no_queue_are_counted() {
    let Some(node) = rabbit::shared("fq7").await else {
        return;
    };
    let url = node.vhost("fq7", "secret").await;
    let mut queue = Queue::bound(&url, "q", "jane.*.updates").await;
    let mut rig = Rig::connected(&url).await;
    for n in 0..1000 {
        let owner = if n % 3 == 0 { "nobody" } else { "jane" };
        rig.update_of(owner, &format!("w{n}"), WorkspacePhase::Stopped, "");
    }
    let state = rig
        .reached("all are confirmed", |state| state.confirmed == 1000)
        .await;
    assert_eq!(state.returned, 334);
    queue.drain().await;
    assert_eq!(queue.history.len(), 666);
    // A new or a removed binding changes only what follows.
    let (_connection, channel) = channel(&url).await;
    let none = FieldTable::default();
    let unbound = channel.queue_unbind("q".into(), "wsman".into(), "jane.*.updates".into(), none);
    unbound.await.unwrap();
    rig.update("late", WorkspacePhase::Stopped);
    rig.reached("it is confirmed", |state| state.confirmed == 1001)
        .await;
    assert_eq!(rig.drained().await.returned, 335);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq8_rejected_messages_are_retried() {
    let Some(node) = rabbit::shared("fq8").await else {
        return;
    };
    let url = node.vhost("fq8", "secret").await;
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert(
        "x-overflow".into(),
        AMQPValue::LongString("reject-publish".into()),
    );
    let mut queue = Queue::with(&url, "q", "*.*.updates", full).await;
    let mut rig = Rig::connected(&url).await;
    rig.update("w0", WorkspacePhase::Stopped);
    rig.reached("the first is taken", |state| state.confirmed == 1)
        .await;
    rig.update("w1", WorkspacePhase::Stopped);
    let state = rig
        .reached("the second is refused", |state| state.refused > 0)
        .await;
    assert_eq!(
        (state.confirmed, state.waiting + state.unconfirmed),
        (1, 1),
        "{state:?}"
    );
    queue.until("both ends", all_stopped(2)).await;
    assert_eq!(queue.check(), 0);
    let state = rig
        .reached("both are confirmed", |state| state.confirmed == 2)
        .await;
    assert_eq!(state.connects, 1, "the others were not disturbed");
    rig.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq9_a_status_that_is_too_large_becomes_a_reference() {
    let Some(node) = rabbit::shared("fq9").await else {
        return;
    };
    let url = node.vhost("fq9", "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let mut rig = Rig::connected(&url).await;
    rig.update_of("jane", "w0", WorkspacePhase::Running, &"x".repeat(17 << 20));
    rig.update("w1", WorkspacePhase::Running);
    let state = rig
        .reached("both are confirmed", |state| state.confirmed == 2)
        .await;
    assert_eq!((state.reduced, state.connects), (1, 1));
    queue.drain().await;
    let large = queue.history.iter().find(|m| m.instance == "w0").unwrap();
    assert_eq!(
        (large.phase.as_str(), &large.body["phase"]),
        ("RUNNING", &"RUNNING".into())
    );
    assert!(
        large.body["message"]
            .as_str()
            .unwrap()
            .contains("DescribeWorkspace")
    );
    rig.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq10_rotated_credentials_are_read_from_the_file() {
    let Some(node) = rabbit::shared("fq10").await else {
        return;
    };
    let url = node.vhost("fq10", "secret").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, format!("{url}\n")).unwrap();
    let mut rig = Rig::with(bus(Broker::UrlFile(file.display().to_string())), HASTY);
    rig.reached("connected", |state| state.is_connected).await;
    node.ctl(&["change_password", "fq10", "other"]).await;
    let close = r#"[rabbit_networking:close_connection(P, "test") || P <- rabbit_networking:connections(), proplists:get_value(user, rabbit_reader:info(P, [user])) =:= <<"fq10">>]."#;
    node.ctl(&["eval", close]).await;
    let refused = |state: &State| {
        state
            .fault
            .as_ref()
            .is_some_and(|why| why.contains("ACCESS_REFUSED"))
    };
    let state = rig.reached("the old ones are refused", refused).await;
    assert!(!format!("{state:?}").contains("secret"), "{state:?}");
    let url = url.replace("secret", "other");
    std::fs::write(&file, &url).unwrap();
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    rig.update("w0", WorkspacePhase::Stopped);
    queue.until("the end", all_stopped(1)).await;
    rig.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq10_tls_trusts_the_given_authority_alone() {
    let Some(node) = rabbit::shared("fq10tls").await else {
        return;
    };
    let url = node.vhost("fq10tls", "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let secure = |ca: String| MessageBus {
        tls: Some(Tls {
            ca,
            ..Tls::default()
        }),
        ..bus(Broker::Url(node.secure(&url)))
    };
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.crt");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&other, made.cert.pem()).unwrap();
    let mut wrong = Rig::with(secure(other.display().to_string()), HASTY);
    wrong.update("w0", WorkspacePhase::Running);
    let distrusted = |state: &State| {
        state
            .fault
            .as_ref()
            .is_some_and(|why| why.contains("certificate"))
    };
    let state = wrong
        .reached("another authority is not trusted", distrusted)
        .await;
    assert_eq!(state.connects, 0);
    wrong.drain.cancel();
    let mut rig = Rig::with(secure(node.authority()), HASTY);
    rig.update("w0", WorkspacePhase::Stopped);
    queue.until("the end", all_stopped(1)).await;
    rig.reached("it is confirmed", |state| state.confirmed == 1)
        .await;
    rig.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq11_order_holds_per_workspace() {
    let Some(node) = rabbit::shared("fq11").await else {
        return;
    };
    let url = node.vhost("fq11", "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let mut rig = Rig::connected(&url).await;
    for _ in 0..100 {
        let confirmed = rig.state.borrow().confirmed;
        rig.flow(20, 1).await;
        rig.reached("some are confirmed", |state| state.confirmed > confirmed)
            .await;
    }
    rig.end(20);
    queue.until("all ends", all_stopped(20)).await;
    assert_eq!(queue.check(), 0);
    assert!(queue.history.len() > 100, "{}", queue.history.len());
    let (_connection, channel) = channel(&url).await;
    let left = channel
        .basic_get("q".into(), BasicGetOptions::default())
        .await
        .unwrap();
    assert!(left.is_none(), "nothing after STOPPED");
    rig.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq13_only_the_leader_publishes_and_a_new_one_uses_the_same_ids() {
    let Some(node) = rabbit::shared("fq13").await else {
        return;
    };
    let url = node.vhost("fq13", "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let mut rig = Rig::connected(&url).await;
    rig.update("w0", WorkspacePhase::Stopped);
    let first = queue.until_phase("w0", "STOPPED").await;
    rig.lease_state.send_replace(LeaseState::Idle);
    let state = rig.reached("it lets go", |state| !state.is_publisher).await;
    assert!(!state.is_connected);
    rig.update("w1", WorkspacePhase::Running);
    rig.update("w1", WorkspacePhase::Stopped);
    rig.lease_state.send_replace(HOLDS);
    queue.until_phase("w1", "STOPPED").await;
    rig.reached("all are confirmed", |state| state.confirmed == 3)
        .await;
    queue.drain().await;
    assert_eq!(queue.check(), 1, "the end that it published before");
    assert_eq!(queue.history.iter().filter(|m| m.id == first.id).count(), 2);
    rig.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fq14_a_shutdown_under_load_sends_what_was_taken_in() {
    let Some(node) = rabbit::shared("fq14load").await else {
        return;
    };
    let url = node.vhost("fq14load", "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.updates").await;
    let mut rig = Rig::connected(&url).await;
    rig.flow(500, 4).await;
    rig.end(500);
    let state = rig.drained().await;
    assert_eq!((state.waiting, state.unconfirmed), (0, 0));
    queue.drain().await;
    assert!(all_stopped(500)(&queue.history));
    assert_eq!(queue.check(), 0);
}
