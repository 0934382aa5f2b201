//! F-S1: readers that never read. They cost little, and others nothing; their error is tested in `http::stalled`.

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tonic::transport::Endpoint;
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;

use super::record::Client;
use crate::processes::Daemon;
use crate::support::cluster;
use crate::support::world::{TIMEOUT, request};

/// More than a log keeps unmerged.
const UPDATES: usize = 1200;
const STUCK: usize = 1000;
const LIVE: usize = 100;
const WORKSPACES: usize = 4;

/// Changes the annotations of all workspaces, often enough to fill the buffers between a daemon and its readers.
async fn flood(pods: &Api<Pod>, round: &str) {
    let filling = "x".repeat(1000);
    for n in 0..UPDATES {
        let annotations = json!({
            "gitpod.io/annotation.number": format!("{round} {n}"),
            "gitpod.io/annotation.filling": filling,
        });
        let patch = json!({ "metadata": { "annotations": annotations } });
        let pod = format!("ws-w{}", n % WORKSPACES);
        pods.patch(&pod, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }
}

/// Reads until every workspace is at its last number, and checks the order on the way.
async fn last_of_all(stream: &mut tonic::Streaming<SubscribeResponse>, round: &str) {
    let mut last: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let wanted = |id: &str| {
        let at: usize = id[1..].parse().unwrap();
        format!("{round} {}", UPDATES - WORKSPACES + at)
    };
    while last.len() < WORKSPACES || last.iter().any(|(id, (_, number))| *number != wanted(id)) {
        let next = tokio::time::timeout(TIMEOUT, stream.message()).await;
        let status = next.unwrap().unwrap().unwrap().status.unwrap();
        let annotations = status.metadata.unwrap().annotations;
        let number = annotations.get("number").cloned().unwrap_or_default();
        let before = last.insert(status.id, (status.status_version, number));
        assert!(before.is_none_or(|(version, _)| version < status.status_version));
    }
}

async fn open(
    addr: &str,
    window: u32,
    count: usize,
) -> (Client, Vec<tonic::Streaming<SubscribeResponse>>) {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let endpoint = endpoint
        .initial_stream_window_size(window)
        .initial_connection_window_size(64 << 20);
    let client = WorkspaceManagerClient::new(endpoint.connect().await.unwrap());
    let mut streams = Vec::new();
    for _ in 0..count {
        let stream = client.clone().subscribe(SubscribeRequest::default()).await;
        streams.push(stream.unwrap().into_inner());
    }
    (client, streams)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fs1_a_thousand_readers_that_never_read_cost_little_and_delay_no_other() {
    let cluster = cluster::embedded().await;
    let daemon = Daemon::start(&cluster, 0);
    let mut client = daemon.client().await;
    for n in 0..WORKSPACES {
        client
            .start_workspace(request(&format!("w{n}")))
            .await
            .unwrap();
    }
    let pods = cluster.api::<Pod>().await;
    let (_live, mut live) = open(&daemon.addr, 1 << 20, LIVE).await;
    let followed = async |live: &mut Vec<_>, round| {
        let all = join_all(live.iter_mut().map(|stream| last_of_all(stream, round)));
        futures::join!(flood(&pods, round), all);
    };
    // Once without them, so that memory has its usual size.
    followed(&mut live, "before").await;
    let before = daemon.memory();
    let mut stuck = Vec::new();
    for _ in 0..4 {
        // Less than one update fits: everything else would wait in the daemon.
        stuck.push(open(&daemon.addr, 512, STUCK / 4).await);
    }
    followed(&mut live, "beside").await;
    let cost = daemon.memory().saturating_sub(before);
    println!("{STUCK} readers that never read cost {} KiB", cost >> 10);
    assert!(cost < 50 << 20, "{} KiB", cost >> 10);
    // One of them reads in time: it skips, and gets the last state of everything.
    let (_, streams) = &mut stuck[0];
    last_of_all(&mut streams[0], "beside").await;
}
