//! Sessions under faults: killed daemons, two of them, closed watches, others in the namespace.

use std::time::Duration;

use serde_json::json;
use wsman::proto::wsman::sessions::v1::*;

use super::gang::*;
use crate::support::cluster::Cluster;

on_both_clusters! {
    c11_24_two_subscribers_both_see_the_end
    c11_25_a_forced_list_changes_nothing
    c11_26_a_drain_touches_no_pod
    c11_27_kills_at_any_moment_change_no_outcome
    two_daemons_that_are_killed_in_turn_book_no_machine_twice
    c11_58_two_installations_do_not_touch_each_other
}

const TWO: [(&str, &str, &str); 2] = [("driver", "driver", "w"), ("worker", "server", "w")];

async fn c11_24_two_subscribers_both_see_the_end(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let (mut one, mut two) = (gang.watch().await, gang.watch().await);
    let of = script(
        request(cluster, "both", &TWO),
        "driver",
        &[("exit-after", "100ms")],
    );
    gang.begin(of).await.unwrap();
    for seen in [&mut one, &mut two] {
        seen.until_phase("both", Phase::Succeeded).await;
        let versions: Vec<_> = seen
            .updates
            .iter()
            .map(|update| status(update).version)
            .collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        let done = seen
            .updates
            .iter()
            .filter(|update| status(update).done)
            .count();
        assert_eq!(done, 1);
    }
    // One that comes later gets it with its snapshot.
    gang.watch()
        .await
        .until_phase("both", Phase::Succeeded)
        .await;
    gang.world.drain().await.unwrap();
}

async fn c11_25_a_forced_list_changes_nothing(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let mut seen = gang.watch().await;
    let of = script(
        request(cluster, "listed", &TWO),
        "driver",
        &[("exit-after", "1500ms")],
    );
    gang.begin(of).await.unwrap();
    seen.until_phase("listed", Phase::Running).await;
    cluster.forget_history().await;
    if let Some(server) = &cluster.server {
        server.faults().end_watches();
    }
    seen.until_phase("listed", Phase::Succeeded).await;
    let order = [
        Phase::Queued,
        Phase::Provisioning,
        Phase::Running,
        Phase::Succeeded,
    ];
    assert_eq!(seen.phases("listed"), order);
    gang.world.drain().await.unwrap();
}

async fn c11_26_a_drain_touches_no_pod(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    gang.begin(request(cluster, "drained", &TWO)).await.unwrap();
    gang.until_phase("drained", Phase::Running).await;
    let before = pods(cluster, "drained").await;
    gang.world.drain().await.unwrap();
    assert_eq!(pods(cluster, "drained").await, before);
}

async fn c11_27_kills_at_any_moment_change_no_outcome(cluster: &Cluster) {
    machines(cluster, "w", 4).await;
    let mut gang = Gang::start(cluster).await;
    let ids: Vec<String> = (0..8).map(|n| format!("killed-{n}")).collect();
    for (n, id) in ids.iter().enumerate() {
        let code = if n % 3 == 0 { "1" } else { "0" };
        let exit = [("exit-after", "150ms"), ("exit-code", code)];
        gang.begin(script(request(cluster, id, &TWO), "driver", &exit))
            .await
            .unwrap();
    }
    for kill in 0..5_u64 {
        tokio::time::sleep(Duration::from_millis(40 * kill)).await;
        gang.world.kill().await;
        gang = Gang::start(cluster).await;
    }
    let mut seen = gang.watch().await;
    for (n, id) in ids.iter().enumerate() {
        let ended = seen.until(id, |session| status(session).done).await;
        let wanted = if n % 3 == 0 {
            Phase::Failed
        } else {
            Phase::Succeeded
        };
        assert_eq!(phase(&ended), wanted, "{ended:?}");
    }
    gang.world.drain().await.unwrap();
}

async fn two_daemons_that_are_killed_in_turn_book_no_machine_twice(cluster: &Cluster) {
    machines(cluster, "w", 4).await;
    let mut leader = Gang::start(cluster).await;
    let ids: Vec<String> = (0..10).map(|n| format!("pair-{n}")).collect();
    for id in &ids {
        let exit = [("exit-after", "200ms"), ("stop-after", "100ms")];
        let of = script(request(cluster, id, &TWO), "driver", &exit);
        leader.begin(of).await.unwrap();
    }
    let driving = async move {
        for _ in 0..3 {
            // It follows, until the leader is gone.
            let next = Gang::start(cluster).await;
            let killed = std::mem::replace(&mut leader, next);
            killed.world.kill().await;
            leader.world.outlive_the_dead().await;
        }
        let mut seen = leader.watch().await;
        for id in &ids {
            let ended = seen.until(id, |session| status(session).done).await;
            assert_eq!(phase(&ended), Phase::Succeeded, "{ended:?}");
        }
        leader.world.drain().await.unwrap();
    };
    tokio::select! {
        () = no_machine_holds_two(cluster) => {}
        () = driving => {}
    }
}

async fn c11_58_two_installations_do_not_touch_each_other(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let one = Gang::start(cluster).await;
    one.begin(request(cluster, "mine", &TWO)).await.unwrap();
    one.until_phase("mine", Phase::Running).await;
    one.world.drain().await.unwrap();
    let other = Gang::start_with(cluster, json!({ "installation": "other" })).await;
    other.stop("mine").await.unwrap_err();
    other.world.clock.advance(Duration::from_secs(100_000));
    let of = script(
        request(cluster, "theirs", &[("driver", "driver", "w")]),
        "driver",
        &[],
    );
    other.begin(of).await.unwrap();
    other.get("theirs").await.unwrap();
    assert_eq!(pods(cluster, "mine").await.len(), 2);
    other.world.drain().await.unwrap();
}
