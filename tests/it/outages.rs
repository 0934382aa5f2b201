//! What the log and the callers of a daemon see when its API server is away, and how soon the lifecycle continues after
//! a `kill -9`.

use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use tonic::Code;
use tonic::transport::Channel;
use wsman::lease::{DURATION, NAME};
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;

use super::processes::{self, Daemon};
use super::support::cluster::Cluster;
use super::support::proxy::Proxy;
use super::support::world::request;

on_both_clusters! {
    an_outage_is_two_lines_and_callers_learn_the_cause
    after_a_kill_the_lifecycle_goes_on_at_once
    a_second_replica_on_the_host_takes_over_only_from_the_dead
}

fn lines(log: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(log).unwrap();
    let lines = text.lines().map(serde_json::from_str);
    lines.map(|line| line.expect(&text)).collect()
}

async fn an_outage_is_two_lines_and_callers_learn_the_cause(cluster: &Cluster) {
    let proxy = Proxy::before(cluster).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let daemon = Daemon::start_with(&cluster.namespace, &proxy.kubeconfig, 0, file.into());
    let mut client = daemon.client().await;
    client.start_workspace(request("before")).await.unwrap();
    processes::until(&mut client, "before", WorkspacePhase::Running).await;
    let before = lines(&log).len();
    proxy.cut().await;
    for id in ["one", "two"] {
        let mut start = tonic::Request::new(request(id));
        start.set_timeout(Duration::from_secs(2));
        let failed = client.start_workspace(start).await.unwrap_err();
        assert_eq!(failed.code(), Code::Unavailable, "{failed}");
        let message = failed.message();
        assert!(
            message.contains("no answer from the API server http"),
            "{message}"
        );
        assert!(message.contains("127.0.0.1:"), "{message}");
    }
    proxy.mend().await;
    client.start_workspace(request("after")).await.unwrap();
    processes::until(&mut client, "after", WorkspacePhase::Running).await;
    drop(client);
    daemon.kill();
    let lines = lines(&log).split_off(before);
    let of = |message: &str| {
        let found = lines.iter().filter(|line| line["message"] == message);
        found.collect::<Vec<_>>()
    };
    let (down, up) = (
        of("the API server does not answer"),
        of("the API server answers again"),
    );
    assert_eq!((down.len(), up.len()), (1, 1), "{lines:#?}");
    for line in [down[0], up[0]] {
        let server = line["server"].as_str().unwrap();
        assert!(server.contains("://127.0.0.1:"), "{line}");
    }
    assert!(!down[0]["cause"].as_str().unwrap().is_empty());
    assert!(up[0]["after"].is_string());
    let loud = lines.iter().filter(|line| line["level"] != "INFO");
    assert_eq!(loud.count(), 1, "{lines:#?}");
}

async fn after_a_kill_the_lifecycle_goes_on_at_once(cluster: &Cluster) {
    let mut daemon = Daemon::start(cluster, 0);
    for round in 0..4 {
        let id = format!("round-{round}");
        let begun = Instant::now();
        let mut client = daemon.client().await;
        client.start_workspace(request(&id)).await.unwrap();
        processes::until(&mut client, &id, WorkspacePhase::Running).await;
        stopped(&mut client, cluster, &id).await;
        let took = begun.elapsed();
        assert!(took < DURATION / 2, "round {round}: {took:?}");
        drop(client);
        daemon.kill();
        daemon = Daemon::start(cluster, 0);
    }
    daemon.client().await;
    let lease = cluster.api::<Lease>().await.get(NAME).await.unwrap();
    let transitions = lease.spec.unwrap().lease_transitions;
    assert!(transitions >= Some(3), "{transitions:?}");
}

async fn a_second_replica_on_the_host_takes_over_only_from_the_dead(cluster: &Cluster) {
    let first = Daemon::start(cluster, 0);
    let mut client = first.client().await;
    client.start_workspace(request("first")).await.unwrap();
    processes::until(&mut client, "first", WorkspacePhase::Running).await;
    let leases = cluster.api::<Lease>().await;
    let holder = async || leases.get(NAME).await.unwrap().spec.unwrap();
    let holds = holder().await.holder_identity;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let second = Daemon::start_with(&cluster.namespace, &cluster.kubeconfig, 0, file.into());
    let mut others = second.client().await;
    others.start_workspace(request("second")).await.unwrap();
    processes::until(&mut others, "second", WorkspacePhase::Running).await;
    assert_eq!(holder().await.holder_identity, holds, "the holder is alive");
    // Its log has the leader and the time to wait.
    let waits = |line: &serde_json::Value| {
        line["holder"] == holds.as_deref().unwrap_or_default() && line["wait"].is_string()
    };
    assert!(lines(&log).iter().any(waits), "{:#?}", lines(&log));
    drop(client);
    first.kill();
    let begun = Instant::now();
    others.start_workspace(request("third")).await.unwrap();
    processes::until(&mut others, "third", WorkspacePhase::Running).await;
    stopped(&mut others, cluster, "third").await;
    let took = begun.elapsed();
    assert!(took < DURATION / 2, "{took:?}");
    assert_eq!(holder().await.lease_transitions, Some(1));
}

/// Stops a workspace until its pod is gone: only the leader removes the finalizer.
async fn stopped(client: &mut WorkspaceManagerClient<Channel>, cluster: &Cluster, id: &str) {
    let stop = StopWorkspaceRequest {
        id: id.to_owned(),
        ..Default::default()
    };
    client.stop_workspace(stop).await.unwrap();
    cluster.gone::<Pod>(&format!("ws-{id}")).await;
}
