//! Starts that start nothing.

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::json;
use tonic::Code;
use wsman::proto::wsman::sessions::v1::*;

use crate::sessions::gang::*;
use crate::support::cluster::{self, Cluster};

const TWO: [(&str, &str, &str); 2] = [("driver", "driver", "w"), ("server", "server", "w")];

on_both_clusters! {
    c11_54_a_dry_run_creates_nothing_and_tells_the_position
}

fn dry(cluster: &Cluster, id: &str, dry_run: DryRun) -> StartSessionRequest {
    StartSessionRequest {
        dry_run: dry_run.into(),
        ..request(cluster, id, &TWO)
    }
}

async fn c11_54_a_dry_run_creates_nothing_and_tells_the_position(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let name = pool(cluster, "w");
    eventually("two free machines", async || {
        gang.pool(&name).await.is_some_and(|pool| pool.free == 2)
    })
    .await;
    let position = |session: &Session| {
        let queue = status(session).queue.clone().unwrap();
        (queue.position, queue.blocking_pool)
    };
    for dry_run in [DryRun::Client, DryRun::Server] {
        let answer = gang.begin(dry(cluster, "a", dry_run)).await.unwrap();
        assert_eq!(
            (phase(&answer), position(&answer)),
            (Phase::Queued, (1, String::new()))
        );
        assert_eq!(answer.spec.unwrap().decider, "driver", "defaults are shown");
        assert!(pods(cluster, "a").await.is_empty(), "{dry_run:?}");
        assert_eq!(code(&gang.get("a").await), Code::NotFound);
    }
    // Behind others.
    gang.begin(request(cluster, "runs", &TWO)).await.unwrap();
    gang.until_phase("runs", Phase::Running).await;
    gang.begin(request(cluster, "waits", &TWO)).await.unwrap();
    for dry_run in [DryRun::Client, DryRun::Server] {
        let answer = gang.begin(dry(cluster, "a", dry_run)).await.unwrap();
        assert_eq!(position(&answer), (2, pool(cluster, "w")));
        let queue = status(&answer).queue.clone().unwrap();
        assert_eq!((queue.sessions_ahead, queue.machines_ahead), (1, 2));
    }
    // The id, the pool and its size.
    for dry_run in [DryRun::Client, DryRun::Server] {
        let same = gang.begin(dry(cluster, "runs", dry_run)).await.unwrap();
        assert_eq!(phase(&same), Phase::Running);
        let mut other = dry(cluster, "runs", dry_run);
        other.spec.as_mut().unwrap().priority = 1;
        assert_eq!(code(&gang.begin(other).await), Code::AlreadyExists);
        let mut unknown = dry(cluster, "a", dry_run);
        unknown.spec.as_mut().unwrap().components[0].pool = "unknown".to_owned();
        assert_eq!(code(&gang.begin(unknown).await), Code::NotFound);
        let mut wide = dry(cluster, "a", dry_run);
        let spec = wide.spec.as_mut().unwrap();
        let mut third = spec.components[1].clone();
        third.name = "third".to_owned();
        spec.components.push(third);
        assert_eq!(code(&gang.begin(wide).await), Code::FailedPrecondition);
    }
    gang.world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_server_knows_what_it_refuses() {
    let cluster = cluster::embedded().await;
    machines(&cluster, "w", 2).await;
    let gang = Gang::start(&cluster).await;
    // Another program's pod has the name of a component.
    let foreign = json!({
        "metadata": {"name": "a.server"},
        "spec": {"containers": [{"name": "c", "image": "example.com/c:1"}]},
    });
    let foreign: Pod = serde_json::from_value(foreign).unwrap();
    let all = cluster.api::<Pod>().await;
    all.create(&PostParams::default(), &foreign).await.unwrap();
    gang.begin(dry(&cluster, "a", DryRun::Client))
        .await
        .unwrap();
    let refused = gang
        .begin(dry(&cluster, "a", DryRun::Server))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("pod a.server is there already"),
        "{refused}"
    );
    gang.world.drain().await.unwrap();
}
