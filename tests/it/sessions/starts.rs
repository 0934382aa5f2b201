//! What starts, and what is refused.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tonic::Code;
use wsman::proto::wsman::sessions::v1::*;
use wsman_sim::apiserver::faults::Fault;

use super::gang::*;
use crate::support::cluster::{self, Cluster};

on_both_clusters! {
    c11_3_a_component_without_a_role_is_refused
    c11_4_env_secrets_and_peers_are_in_the_pods
    c11_6_pools_follow_their_nodes
    c11_7_components_without_a_pool_get_that_of_their_role
    c11_8_impossible_requests_are_refused
    c11_28_images_outside_the_prefixes_are_refused
}

async fn c11_3_a_component_without_a_role_is_refused(cluster: &Cluster) {
    machines(cluster, "w", 1).await;
    let gang = Gang::start(cluster).await;
    let answer = gang
        .begin(request(cluster, "norole", &[("a", "", "w")]))
        .await;
    assert_eq!(code(&answer), Code::InvalidArgument);
    let text = answer.unwrap_err().message().to_owned();
    assert!(text.contains("spec.components[0].role"), "{text}");
    assert_eq!(pods(cluster, "norole").await.len(), 0);
    assert_eq!(gang.pool(&pool(cluster, "w")).await.unwrap().queued, 0);
    gang.world.drain().await.unwrap();
}

async fn c11_4_env_secrets_and_peers_are_in_the_pods(cluster: &Cluster) {
    machines(cluster, "w", 3).await;
    let gang = Gang::start(cluster).await;
    let three = [
        ("c", "client", "w"),
        ("driver", "driver", "w"),
        ("s", "server", "w"),
    ];
    let mut of = request(cluster, "env", &three);
    let spec = of.spec.as_mut().unwrap();
    spec.peers = Some(Peers {
        variable: "QPS_WORKERS".to_owned(),
        port: 10_000,
        role_order: vec!["server".to_owned(), "client".to_owned()],
        ..Peers::default()
    });
    spec.components[1].env = [("SCENARIO".to_owned(), "a $(b)".to_owned())].into();
    spec.components[1].secrets = vec![SecretMount {
        secret: "key".to_owned(),
        path: "/var/key".to_owned(),
    }];
    gang.begin(of).await.unwrap();
    let pod: Pod = cluster.api().await.get("env").await.unwrap();
    let main = &pod.spec.as_ref().unwrap().containers[0];
    let env = |name: &str| {
        let found = main.env.iter().flatten().find(|env| env.name == name);
        found.and_then(|env| env.value.clone())
    };
    let host = |name: &str| format!("{name}.env.{}.svc:10000", cluster.namespace);
    assert_eq!(
        env("QPS_WORKERS"),
        Some(format!("{},{}", host("s"), host("c")))
    );
    assert_eq!(env("SCENARIO").as_deref(), Some("a $$(b)"));
    let mounts = main.volume_mounts.as_ref().unwrap();
    assert!(mounts.iter().any(|mount| mount.mount_path == "/var/key"));
    gang.world.drain().await.unwrap();
}

async fn c11_6_pools_follow_their_nodes(cluster: &Cluster) {
    let names = machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let name = pool(cluster, "w");
    let counts = async || {
        let pool = gang.pool(&name).await.unwrap_or_default();
        (pool.capacity, pool.in_use, pool.free)
    };
    eventually("both machines", async || counts().await == (2, 0, 2)).await;
    let nodes = cluster.nodes().await;
    machine(cluster, &nodes, &format!("{name}-more"), "w").await;
    eventually("a third machine", async || counts().await == (3, 0, 3)).await;
    let cordon = Patch::Merge(json!({ "spec": { "unschedulable": true } }));
    nodes
        .patch(&names[0], &PatchParams::default(), &cordon)
        .await
        .unwrap();
    eventually("one less", async || counts().await == (2, 0, 2)).await;
    gang.begin(request(cluster, "one", &[("driver", "driver", "w")]))
        .await
        .unwrap();
    gang.until_phase("one", Phase::Running).await;
    assert_eq!(counts().await, (2, 1, 1));
    gang.world.drain().await.unwrap();
}

async fn c11_7_components_without_a_pool_get_that_of_their_role(cluster: &Cluster) {
    machines(cluster, "d", 1).await;
    let pools = json!({ "defaultPools": { "driver": pool(cluster, "d") } });
    let gang = Gang::start_with(cluster, pools).await;
    let mut of = request(cluster, "default", &[("driver", "driver", "d")]);
    of.spec.as_mut().unwrap().components[0].pool.clear();
    gang.begin(of).await.unwrap();
    let running = gang.until_phase("default", Phase::Running).await;
    assert_eq!(status(&running).components[0].pool, pool(cluster, "d"));
    let mut of = request(
        cluster,
        "nodefault",
        &[("driver", "driver", "d"), ("s", "server", "d")],
    );
    of.spec.as_mut().unwrap().components[1].pool.clear();
    let answer = gang.begin(of).await;
    assert_eq!(code(&answer), Code::InvalidArgument);
    assert!(
        answer
            .unwrap_err()
            .message()
            .contains("spec.components[1].pool")
    );
    gang.world.drain().await.unwrap();
}

async fn c11_8_impossible_requests_are_refused(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let name = pool(cluster, "w");
    eventually("the machines", async || {
        gang.pool(&name)
            .await
            .is_some_and(|pool| pool.capacity == 2)
    })
    .await;
    let unknown = gang
        .begin(request(
            cluster,
            "unknown",
            &[("driver", "driver", "nowhere")],
        ))
        .await;
    assert_eq!(code(&unknown), Code::NotFound);
    let text = unknown.unwrap_err().message().to_owned();
    assert!(
        text.contains(&pool(cluster, "nowhere")) && text.contains(&name),
        "{text}"
    );
    let three = [
        ("driver", "driver", "w"),
        ("a", "server", "w"),
        ("b", "server", "w"),
    ];
    let large = gang.begin(request(cluster, "large", &three)).await;
    assert_eq!(code(&large), Code::FailedPrecondition);
    let text = large.unwrap_err().message().to_owned();
    assert!(
        text.contains("has 2 machines") && text.contains("3 are requested"),
        "{text}"
    );
    for id in ["unknown", "large"] {
        assert_eq!(pods(cluster, id).await.len(), 0);
        assert_eq!(code(&gang.get(id).await), Code::NotFound);
    }
    gang.world.drain().await.unwrap();
}

async fn c11_28_images_outside_the_prefixes_are_refused(cluster: &Cluster) {
    machines(cluster, "w", 1).await;
    let prefixes = json!({ "imagePrefixes": ["registry.example.com/bench/"] });
    let gang = Gang::start_with(cluster, prefixes).await;
    let of = request(cluster, "image", &[("driver", "driver", "w")]);
    let answer = gang.begin(of.clone()).await;
    assert_eq!(code(&answer), Code::InvalidArgument);
    assert_eq!(pods(cluster, "image").await.len(), 0);
    let mut allowed = of;
    allowed.spec.as_mut().unwrap().components[0].image =
        "registry.example.com/bench/a:1".to_owned();
    gang.begin(allowed).await.unwrap();
    gang.world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c11_2_an_interrupted_start_is_completed() {
    let cluster = cluster::embedded().await;
    machines(&cluster, "w", 3).await;
    let gang = Gang::start(&cluster).await;
    let three = [
        ("driver", "driver", "w"),
        ("a", "server", "w"),
        ("b", "server", "w"),
    ];
    let of = request(&cluster, "cut", &three);
    // The anchor is created, and nothing else.
    let faults = cluster.server.as_ref().unwrap().faults();
    let refusal = || Fault::Status {
        code: 403,
        reason: "Forbidden".to_owned(),
        message: "not now".to_owned(),
        retry_after: None,
    };
    for skip in 1..=3 {
        faults.add_to_write("wsman/", skip, refusal());
    }
    gang.begin(of.clone()).await.unwrap_err();
    faults.clear();
    // Nobody repeats the call: the leader makes the rest.
    gang.world.clock.advance(std::time::Duration::from_secs(16));
    gang.until_phase("cut", Phase::Running).await;
    assert_eq!(pods(&cluster, "cut").await.len(), 3);
    gang.begin(of.clone()).await.unwrap();
    assert_eq!(pods(&cluster, "cut").await.len(), 3);
    let mut other = of;
    other.spec.as_mut().unwrap().components[1].image = "example.com/other:1".to_owned();
    assert_eq!(code(&gang.begin(other).await), Code::AlreadyExists);
    assert_eq!(pods(&cluster, "cut").await.len(), 3);
    gang.world.drain().await.unwrap();
}
