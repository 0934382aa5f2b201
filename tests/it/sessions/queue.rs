//! Sessions that wait for machines.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use wsman::proto::wsman::sessions::v1::*;

use super::gang::*;
use crate::support::cluster::Cluster;

on_both_clusters! {
    c11_5_no_machine_holds_two_members
    c11_9_all_or_none_of_a_session_begins
    c11_10_equal_sessions_run_in_the_order_of_their_start_also_after_a_restart
    c11_11_small_sessions_pass_a_large_one_until_it_has_waited_for_long
    c11_12_never_more_than_the_limit_are_admitted
    c11_13_the_next_session_waits_until_the_machines_are_free
}

const TWO: [(&str, &str, &str); 2] = [("driver", "driver", "w"), ("worker", "server", "w")];
const ONE: [(&str, &str, &str); 1] = [("driver", "driver", "w")];

async fn c11_5_no_machine_holds_two_members(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let mut seen = gang.watch().await;
    let ids = ["a", "b", "c"];
    for id in ids {
        let of = script(
            request(cluster, id, &ONE),
            "driver",
            &[("exit-after", "300ms")],
        );
        gang.begin(of).await.unwrap();
    }
    let ending = async {
        for id in ids {
            seen.until_phase(id, Phase::Succeeded).await;
        }
    };
    tokio::select! {
        () = no_machine_holds_two(cluster) => {}
        () = ending => {}
    }
    gang.world.drain().await.unwrap();
}

async fn c11_9_all_or_none_of_a_session_begins(cluster: &Cluster) {
    machines(cluster, "w", 3).await;
    let gang = Gang::start(cluster).await;
    gang.begin(request(cluster, "first", &ONE)).await.unwrap();
    gang.until_phase("first", Phase::Running).await;
    let three = [
        ("driver", "driver", "w"),
        ("a", "server", "w"),
        ("b", "server", "w"),
    ];
    gang.begin(request(cluster, "whole", &three)).await.unwrap();
    gang.world.clock.advance(Duration::from_secs(60));
    // Somebody else who fits goes on, so the pass has come.
    gang.begin(request(cluster, "small", &ONE)).await.unwrap();
    gang.until_phase("small", Phase::Running).await;
    let waits = gang.get("whole").await.unwrap();
    assert_eq!(phase(&waits), Phase::Queued);
    let queue = status(&waits).queue.clone().unwrap();
    assert_eq!(queue.blocking_pool, pool(cluster, "w"));
    for pod in pods(cluster, "whole").await {
        assert!(!is_ungated(&pod), "{pod:?}");
    }
    gang.stop("first").await.unwrap();
    gang.stop("small").await.unwrap();
    gang.until_phase("whole", Phase::Running).await;
    gang.world.drain().await.unwrap();
}

async fn c11_10_equal_sessions_run_in_the_order_of_their_start_also_after_a_restart(
    cluster: &Cluster,
) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let ids = ["third", "second", "first"];
    gang.begin(request(cluster, "runs", &TWO)).await.unwrap();
    gang.until_phase("runs", Phase::Running).await;
    for id in ids {
        gang.world.clock.advance(Duration::from_secs(1));
        let of = script(
            request(cluster, id, &TWO),
            "driver",
            &[("exit-after", "200ms")],
        );
        gang.begin(of).await.unwrap();
    }
    let last = gang.get("first").await.unwrap();
    let queue = status(&last).queue.clone().unwrap();
    assert_eq!(
        (queue.position, queue.sessions_ahead, queue.machines_ahead),
        (3, 2, 4)
    );
    assert_eq!(queue.blocking_pool, pool(cluster, "w"));
    gang.world.kill().await;
    let gang = Gang::start(cluster).await;
    let again = gang.get("first").await.unwrap();
    assert_eq!(status(&again).queue.clone().unwrap(), queue);
    let mut seen = gang.watch().await;
    gang.stop("runs").await.unwrap();
    let mut admitted = Vec::new();
    for id in ids {
        let ended = seen.until_phase(id, Phase::Succeeded).await;
        admitted.push(moments(&ended)[1]);
    }
    assert!(admitted.is_sorted(), "{admitted:?}");
    gang.world.drain().await.unwrap();
}

async fn c11_11_small_sessions_pass_a_large_one_until_it_has_waited_for_long(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let queues = json!({ "queues": { "strict": { "discipline": "strict" } } });
    let gang = Gang::start_with(cluster, queues).await;
    let in_queue = |id: &str, components: &[(&str, &str, &str)], queue: &str| {
        let mut of = request(cluster, id, components);
        queue.clone_into(&mut of.spec.as_mut().unwrap().queue);
        of
    };
    gang.begin(request(cluster, "runs", &ONE)).await.unwrap();
    gang.until_phase("runs", Phase::Running).await;
    gang.begin(request(cluster, "large", &TWO)).await.unwrap();
    // It is passed.
    gang.begin(request(cluster, "small", &ONE)).await.unwrap();
    gang.until_phase("small", Phase::Running).await;
    gang.stop("small").await.unwrap();
    gang.until_phase("small", Phase::Cancelled).await;
    // After ten minutes it is not.
    gang.world.clock.advance(Duration::from_secs(601));
    gang.begin(request(cluster, "late", &ONE)).await.unwrap();
    let late = gang.get("late").await.unwrap();
    assert_eq!(
        status(&late).queue.clone().unwrap().blocking_session,
        "large"
    );
    gang.stop("late").await.unwrap();
    gang.stop("large").await.unwrap();
    gang.until_phase("large", Phase::Cancelled).await;
    // In a strict queue nothing passes at all.
    gang.begin(in_queue("large-2", &TWO, "strict"))
        .await
        .unwrap();
    gang.begin(in_queue("small-2", &ONE, "strict"))
        .await
        .unwrap();
    let small = gang.get("small-2").await.unwrap();
    let queue = status(&small).queue.clone().unwrap();
    assert_eq!(
        (queue.position, queue.blocking_session.as_str()),
        (2, "large-2")
    );
    gang.stop("runs").await.unwrap();
    gang.until_phase("large-2", Phase::Running).await;
    assert_eq!(phase(&gang.get("small-2").await.unwrap()), Phase::Queued);
    gang.world.drain().await.unwrap();
}

async fn c11_12_never_more_than_the_limit_are_admitted(cluster: &Cluster) {
    machines(cluster, "w", 3).await;
    let queues = json!({ "queues": { "default": { "limit": 1 } } });
    let gang = Gang::start_with(cluster, queues).await;
    let mut seen = gang.watch().await;
    let ids = ["a", "b", "c"];
    for id in ids {
        let of = script(
            request(cluster, id, &ONE),
            "driver",
            &[("exit-after", "200ms")],
        );
        gang.begin(of).await.unwrap();
    }
    let mut spans = Vec::new();
    for id in ids {
        let ended = seen.until_phase(id, Phase::Succeeded).await;
        let [_, admitted, _, finished] = moments(&ended);
        spans.push((admitted.unwrap(), finished.unwrap()));
    }
    let admitted = |update: &Session| matches!(phase(update), Phase::Provisioning | Phase::Running);
    let mut at_once: HashMap<String, bool> = HashMap::new();
    for update in &seen.updates {
        at_once.insert(update.id.clone(), admitted(update));
        let count = at_once.values().filter(|admitted| **admitted).count();
        assert!(count <= 1, "{at_once:?}");
    }
    gang.world.drain().await.unwrap();
}

async fn c11_13_the_next_session_waits_until_the_machines_are_free(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    // The worker of the first takes its time to end.
    let mut of = script(
        request(cluster, "first", &TWO),
        "driver",
        &[("exit-after", "200ms")],
    );
    of = script(of, "worker", &[("stop-after", "1500ms")]);
    gang.begin(of).await.unwrap();
    let mut seen = gang.watch().await;
    seen.until_phase("first", Phase::Succeeded).await;
    gang.begin(script(request(cluster, "next", &TWO), "driver", &[]))
        .await
        .unwrap();
    assert_eq!(phase(&gang.get("next").await.unwrap()), Phase::Queued);
    seen.until_phase("next", Phase::Running).await;
    let worker: Pod = cluster.api().await.get("first.worker").await.unwrap();
    let phase = worker.status.unwrap().phase.unwrap();
    assert!(matches!(phase.as_str(), "Failed" | "Succeeded"), "{phase}");
    for update in seen.updates.iter().filter(|update| update.id == "next") {
        let reasons = status(update)
            .components
            .iter()
            .map(|component| component.reason.as_str());
        assert!(
            reasons.clone().all(|reason| reason != "Unschedulable"),
            "{update:?}"
        );
    }
    gang.world.drain().await.unwrap();
}
