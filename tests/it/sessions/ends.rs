//! How sessions end, and what stays of them.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use wsman::proto::wsman::sessions::v1::*;

use super::gang::*;
use crate::support::cluster::Cluster;

on_both_clusters! {
    c11_14_the_driver_starts_once_all_workers_are_ready
    c11_18_an_image_that_cannot_be_pulled_ends_the_session_also_after_a_restart
    c11_19_the_deadline_counts_from_the_run
    c11_20_nothing_runs_after_the_end
    c11_21_what_ended_stays_for_its_time
    c11_29_a_stop_cancels_in_every_phase
    a_worker_deleted_by_hand_fails_its_session
    an_anchor_deleted_by_hand_ends_its_session
    a_node_that_is_gone_fails_its_session
}

const TWO: [(&str, &str, &str); 2] = [("driver", "driver", "w"), ("worker", "server", "w")];

async fn c11_14_the_driver_starts_once_all_workers_are_ready(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let mut seen = gang.watch().await;
    let of = script(
        request(cluster, "order", &TWO),
        "worker",
        &[("ready-after", "1500ms")],
    );
    gang.begin(of).await.unwrap();
    seen.until_phase("order", Phase::Running).await;
    for update in seen.updates.iter().filter(|update| update.id == "order") {
        let components = &status(update).components;
        if components[0].started.is_some() {
            assert_eq!(components[1].health(), Health::Ready, "{update:?}");
        }
    }
    gang.world.drain().await.unwrap();
}

async fn c11_18_an_image_that_cannot_be_pulled_ends_the_session_also_after_a_restart(
    cluster: &Cluster,
) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let of = script(
        request(cluster, "pull", &TWO),
        "worker",
        &[("image-pull-error", "no such image")],
    );
    gang.begin(of).await.unwrap();
    gang.until("pull", |session| {
        let worker = &status(session).components[1];
        matches!(worker.reason.as_str(), "ErrImagePull" | "ImagePullBackOff")
    })
    .await;
    gang.world.kill().await;
    let gang = Gang::start(cluster).await;
    let still = gang.get("pull").await.unwrap();
    assert_eq!(phase(&still), Phase::Provisioning);
    gang.world.clock.advance(Duration::from_secs(301));
    let failed = gang.until_phase("pull", Phase::Failed).await;
    assert!(status(&failed).reason.contains("Pull"), "{failed:?}");
    gang.world.drain().await.unwrap();
}

async fn c11_19_the_deadline_counts_from_the_run(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let mut of = request(cluster, "late", &TWO);
    of.spec.as_mut().unwrap().deadline = Some(Duration::from_secs(2).into());
    gang.begin(of).await.unwrap();
    gang.until_phase("late", Phase::Running).await;
    cluster
        .until_pod("late", |pod| {
            let deadline = pod
                .spec
                .as_ref()
                .and_then(|spec| spec.active_deadline_seconds);
            deadline.is_some_and(|seconds| seconds < 60)
        })
        .await;
    // Its node ends it, with nobody there.
    gang.world.kill().await;
    cluster
        .until_pod("late", |pod| {
            pod.status
                .as_ref()
                .and_then(|status| status.reason.as_deref())
                == Some("DeadlineExceeded")
        })
        .await;
    let gang = Gang::start(cluster).await;
    let failed = gang.until_phase("late", Phase::Failed).await;
    assert_eq!(status(&failed).reason, "DeadlineExceeded");
    gang.world.drain().await.unwrap();
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

async fn c11_20_nothing_runs_after_the_end(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let of = script(
        request(cluster, "clean", &TWO),
        "driver",
        &[("exit-after", "200ms")],
    );
    gang.begin(of).await.unwrap();
    cluster.until_pod("clean", is_over).await;
    // The daemon dies in the middle of it.
    gang.world.kill().await;
    let gang = Gang::start(cluster).await;
    cluster.until_pod("clean.worker", is_over).await;
    let name = pool(cluster, "w");
    eventually("free machines", async || {
        gang.pool(&name).await.is_some_and(|pool| pool.free == 2)
    })
    .await;
    let ended = gang.get("clean").await.unwrap();
    assert_eq!(phase(&ended), Phase::Succeeded);
    assert_eq!(status(&ended).components[1].reason, "SessionEnded");
    gang.world.drain().await.unwrap();
}

async fn c11_21_what_ended_stays_for_its_time(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let script_of = [("exit-after", "100ms"), ("termination-message", "42 qps")];
    let of = script(request(cluster, "kept", &TWO), "driver", &script_of);
    gang.begin(of).await.unwrap();
    let ended = gang.until_phase("kept", Phase::Succeeded).await;
    assert_eq!(status(&ended).result, "42 qps");
    cluster.until_pod("kept.worker", is_over).await;
    gang.world.clock.advance(Duration::from_secs(3_000));
    gang.world.kill().await;
    let gang = Gang::start(cluster).await;
    let after = gang.get("kept").await.unwrap();
    assert_eq!(moments(&after), moments(&ended));
    assert_eq!(status(&after).result, "42 qps");
    assert_eq!(status(&after).exit_code, Some(0));
    gang.world.clock.advance(Duration::from_secs(7_200));
    for pod in ["kept.worker", "kept"] {
        cluster.gone::<Pod>(pod).await;
    }
    gang.world.drain().await.unwrap();
}

async fn c11_29_a_stop_cancels_in_every_phase(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    gang.begin(request(cluster, "runs", &TWO)).await.unwrap();
    gang.until_phase("runs", Phase::Running).await;
    // One waits behind it, and is stopped there.
    gang.begin(request(cluster, "waits", &TWO)).await.unwrap();
    gang.stop("waits").await.unwrap();
    let cancelled = gang.until_phase("waits", Phase::Cancelled).await;
    assert!(
        status(&cancelled).message.contains("enough"),
        "{cancelled:?}"
    );
    gang.stop("runs").await.unwrap();
    gang.until_phase("runs", Phase::Cancelled).await;
    // One is stopped while its worker is not ready.
    let of = script(
        request(cluster, "provisions", &TWO),
        "worker",
        &[("never-ready", "true")],
    );
    gang.begin(of).await.unwrap();
    gang.until("provisions", |session| {
        !status(session).components[1].node.is_empty()
    })
    .await;
    gang.stop("provisions").await.unwrap();
    let cancelled = gang.until_phase("provisions", Phase::Cancelled).await;
    // Again it is the same.
    let again = gang.stop("provisions").await.unwrap();
    assert_eq!(phase(&again), Phase::Cancelled);
    assert_eq!(moments(&again), moments(&cancelled));
    gang.world.drain().await.unwrap();
}

async fn a_worker_deleted_by_hand_fails_its_session(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    gang.begin(request(cluster, "lost", &TWO)).await.unwrap();
    gang.until_phase("lost", Phase::Running).await;
    let pods = cluster.api::<Pod>().await;
    pods.delete("lost.worker", &DeleteParams::default())
        .await
        .unwrap();
    let failed = gang.until_phase("lost", Phase::Failed).await;
    assert_eq!(status(&failed).reason, "Lost");
    assert!(status(&failed).message.contains("worker"), "{failed:?}");
    cluster.until_pod("lost", is_over).await;
    gang.world.drain().await.unwrap();
}

async fn a_node_that_is_gone_fails_its_session(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    gang.begin(request(cluster, "gone", &TWO)).await.unwrap();
    let running = gang.until_phase("gone", Phase::Running).await;
    let node = &status(&running).components[1].node;
    let nodes = cluster.nodes().await;
    nodes.delete(node, &DeleteParams::default()).await.unwrap();
    let failed = gang.until_phase("gone", Phase::Failed).await;
    assert_eq!(status(&failed).reason, "NodeLost");
    assert!(status(&failed).message.contains(node), "{failed:?}");
    cluster.until_pod("gone", is_over).await;
    gang.world.drain().await.unwrap();
}

async fn an_anchor_deleted_by_hand_ends_its_session(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let mut seen = gang.watch().await;
    gang.begin(request(cluster, "anchor", &TWO)).await.unwrap();
    seen.until_phase("anchor", Phase::Running).await;
    let pods = cluster.api::<Pod>().await;
    pods.delete("anchor", &DeleteParams::default())
        .await
        .unwrap();
    let failed = seen.until_phase("anchor", Phase::Failed).await;
    assert_eq!(status(&failed).reason, "Deleted");
    for pod in ["anchor", "anchor.worker"] {
        cluster.gone::<Pod>(pod).await;
    }
    gang.world.drain().await.unwrap();
}
