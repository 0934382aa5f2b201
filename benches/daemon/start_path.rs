//! The start path: StartWorkspace and the way to RUNNING, beside bare pods that the same kubelet runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use wsman::proto::wsman::*;

use super::process::{Daemon, Kubelet, manager, ready, started};
use super::writes::{all_ready, bare_plans, write};
use super::{envtest, figure, percentile, row, timed};

/// How long each call took, and all until the last pod was up.
struct Run {
    calls: Vec<Duration>,
    all: Duration,
}

/// Prints the median of a call and how many come up in a second, at so many callers. Each side runs twice, in turns,
/// because a cluster gets slower as it fills.
pub(crate) async fn measure(cluster: &envtest::RealCluster, callers: usize, count: usize) {
    let first = bare(cluster, callers, count, "a", false).await;
    let ours = [
        workspaces(cluster, callers, count, "a").await,
        workspaces(cluster, callers, count, "b").await,
    ];
    let floor = [first, bare(cluster, callers, count, "b", false).await];
    let whole = [bare(cluster, callers, count, "c", true).await];
    let median = |runs: &[Run]| {
        let mut calls: Vec<_> = runs.iter().flat_map(|run| run.calls.clone()).collect();
        calls.sort();
        percentile(&calls, 50)
    };
    row(
        &format!("Start, {callers} callers, p50 (floor: POST of a bare pod)"),
        Some(median(&ours)),
        Some(median(&floor)),
    );
    let rate = |runs: &[Run]| {
        let all: Duration = runs.iter().map(|run| run.all).sum();
        format!("{:.1}/s", (runs.len() * count) as f64 / all.as_secs_f64())
    };
    for (name, floor) in [
        ("bare, Ready", &floor[..]),
        ("pod, Secret, Services", &whole[..]),
    ] {
        let name = format!("RUNNING per second, {callers} callers (floor: {name})");
        figure(&name, &rate(&ours), &rate(floor));
    }
}

async fn workspaces(
    cluster: &envtest::RealCluster,
    callers: usize,
    count: usize,
    round: &str,
) -> Run {
    let namespace = envtest::namespace(&cluster.client(), "bench-path").await;
    let _kubelet = Kubelet::start(cluster, &namespace).await;
    let daemon = Daemon::start(Some(&cluster.kubeconfig_path()), &namespace).await;
    let mut client = daemon.client().await;
    ready(&mut client).await;
    let updates = client.subscribe(SubscribeRequest::default()).await;
    let mut updates = updates.unwrap().into_inner();
    let requests: Vec<_> = (0..count)
        .map(|n| started(&format!("path-{round}-{n}")))
        .collect();
    // A connection may have 200 calls in flight.
    let clients = [client.clone(), daemon.client().await];
    let requests: Vec<_> = requests.into_iter().enumerate().collect();
    let begun = Instant::now();
    let starting = timed(callers, requests, |(n, request)| {
        let mut client = clients[n % clients.len()].clone();
        async move { drop(client.start_workspace(request).await.unwrap()) }
    });
    let running = async {
        let mut running = HashSet::new();
        while running.len() < count {
            let status = updates.message().await.unwrap().unwrap().status.unwrap();
            if status.phase() == WorkspacePhase::Running {
                running.insert(status.id);
            }
        }
    };
    let (calls, ()) = tokio::join!(starting, running);
    Run {
        calls,
        all: begun.elapsed(),
    }
}

/// Pods that are written straight to the API server, with what a workspace has beside its pod or without.
async fn bare(
    cluster: &envtest::RealCluster,
    callers: usize,
    count: usize,
    round: &str,
    dependants: bool,
) -> Run {
    let namespace = envtest::namespace(&cluster.client(), "bench-bare-path").await;
    let _kubelet = Kubelet::start(cluster, &namespace).await;
    let manager = Arc::new(manager(&namespace));
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &namespace);
    let version = pods.list(&ListParams::default()).await.unwrap();
    let version = version.metadata.resource_version.unwrap();
    let plans = bare_plans(&manager, &format!("bare-{round}"), count, dependants);
    let begun = Instant::now();
    let (api, at) = (cluster.client(), namespace.clone());
    let writing = timed(callers, plans, |plan| write(api.clone(), at.clone(), plan));
    let (calls, ()) = tokio::join!(writing, all_ready(&pods, version, count));
    Run {
        calls,
        all: begun.elapsed(),
    }
}
