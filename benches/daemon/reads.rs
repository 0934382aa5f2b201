//! Many workspaces: how soon a daemon serves them, what they cost in memory, and how fast it answers about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams};
use prost::Message;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use wsman::proto::wsman::*;
use wsman::workspaces::plan::Plan;

use super::process::{Daemon, manager, planned, ready};
use super::writes::write;
use super::{Client, envtest, figure, metric, row, timed};

/// Duration of each measurement of a rate.
const SPAN: Duration = Duration::from_secs(3);
/// Concurrent callers, each on its own connection.
const CALLERS: usize = 16;
/// Workspaces that report activity.
const LIVELY: usize = 200;

/// Measures everything about `count` existing workspaces.
pub(crate) async fn crowd(cluster: &envtest::RealCluster, count: usize) {
    let empty = envtest::namespace(&cluster.client(), "bench-empty").await;
    let idle = Daemon::start(Some(&cluster.kubeconfig_path()), &empty).await;
    ready(&mut idle.client().await).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = idle.resident();
    figure("resident memory, idle", &format!("{idle:.1} MB"), "-");

    let namespace = envtest::namespace(&cluster.client(), "bench-crowd").await;
    let manager = Arc::new(manager(&namespace));
    let plans: Vec<Plan> = (0..count)
        .map(|n| planned(&manager, &format!("crowd-{n}")))
        .collect();
    let (api, at) = (cluster.client(), namespace.clone());
    timed(64, plans, |plan| write(api.clone(), at.clone(), plan)).await;

    let begun = Instant::now();
    tokio::join!(
        listed::<Pod>(cluster, &namespace),
        listed::<Service>(cluster, &namespace)
    );
    let floor = begun.elapsed();
    let begun = Instant::now();
    let daemon = Daemon::start(Some(&cluster.kubeconfig_path()), &namespace).await;
    let mut client = daemon.client().await;
    ready(&mut client).await;
    let name = format!("{count} pods: exec to served (floor: kube lists them)");
    row(&name, Some(begun.elapsed()), Some(floor));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let resident = daemon.resident();
    let each = (resident - idle) * 1024.0 / count as f64;
    let name = format!("resident memory, {count} workspaces: all, each");
    figure(
        &name,
        &format!("{resident:.1} MB"),
        &format!("{each:.2} KB"),
    );

    let (mut times, mut decoding) = (Vec::new(), Vec::new());
    for _ in 0..21 {
        let begun = Instant::now();
        let answer = client.get_workspaces(GetWorkspacesRequest::default()).await;
        times.push(begun.elapsed());
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.status.len(), count);
        let bytes = answer.encode_to_vec();
        let begun = Instant::now();
        GetWorkspacesResponse::decode(&*bytes).unwrap();
        decoding.push(begun.elapsed());
    }
    times.sort();
    decoding.sort();
    let name = format!("GetWorkspaces of {count}, median (floor: decoding it)");
    row(&name, Some(times[10]), Some(decoding[10]));

    rates(cluster, &daemon, count).await;
}

async fn rates(cluster: &envtest::RealCluster, daemon: &Daemon, count: usize) {
    let mut connections = Vec::new();
    for _ in 0..CALLERS {
        connections.push(daemon.channel().await);
    }
    let floor = rate(&connections, |channel, _| async move {
        let request = HealthCheckRequest::default();
        HealthClient::new(channel).check(request).await.unwrap();
    })
    .await;
    let cell = |rate: f64| format!("{rate:.0}/s");
    let describing = rate(&connections, move |channel, turn| async move {
        let id = format!("crowd-{}", turn % count);
        let request = DescribeWorkspaceRequest { id };
        Client::new(channel)
            .describe_workspace(request)
            .await
            .unwrap();
    })
    .await;
    let name = format!("DescribeWorkspace, {CALLERS} callers (floor: health check)");
    figure(&name, &cell(describing), &cell(floor));

    let mut client = daemon.client().await;
    for n in 0..LIVELY {
        client.mark_active(beat(n)).await.unwrap();
    }
    let writes = [
        "verb=\"POST\"",
        "verb=\"PUT\"",
        "verb=\"PATCH\"",
        "verb=\"DELETE\"",
    ];
    let before = metric(&cluster.client(), "apiserver_request_total", &writes).await;
    let marking = rate(&connections, |channel, turn| async move {
        let request = beat(turn % LIVELY);
        Client::new(channel).mark_active(request).await.unwrap();
    })
    .await;
    let name = format!("MarkActive, {CALLERS} callers (floor: health check)");
    figure(&name, &cell(marking), &cell(floor));
    let writes = metric(&cluster.client(), "apiserver_request_total", &writes).await - before;
    let name = format!("writes to the API server in these {} s", SPAN.as_secs());
    figure(&name, &format!("{writes:.0}"), "0");
}

fn beat(n: usize) -> MarkActiveRequest {
    MarkActiveRequest {
        id: format!("crowd-{n}"),
        ..Default::default()
    }
}

/// Lets a caller on each connection repeat its call for [`SPAN`] and returns the calls per second.
async fn rate<F: Future<Output = ()> + Send>(
    connections: &[Channel],
    call: impl Fn(Channel, usize) -> F + Copy + Send + 'static,
) -> f64 {
    let done = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let callers: Vec<_> = connections
        .iter()
        .map(|channel| {
            let (channel, done) = (channel.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                while begun.elapsed() < SPAN {
                    call(channel.clone(), done.fetch_add(1, Ordering::Relaxed)).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

/// Lists as kube does, page by page.
async fn listed<K>(cluster: &envtest::RealCluster, namespace: &str)
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client(), namespace);
    let mut params = ListParams::default().limit(500);
    loop {
        let page = api.list(&params).await.unwrap();
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return,
        }
    }
}
