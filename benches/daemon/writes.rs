//! What starting and running workspaces costs, beside the same writes sent straight to the API server.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchParams};
use kube::core::WatchEvent;
use wsman::action::Dependant;
use wsman::config::Manager;
use wsman::proto::wsman::*;
use wsman::workspaces::plan::Plan;

use super::process::{Daemon, Kubelet, manager, planned, ready, started};
use super::{envtest, figure, metric, percentile, row, timed};

/// StartWorkspace beside the writes that it makes, in turns and each as often first, because a cluster gets slower as it
/// fills.
pub(crate) async fn starts(cluster: &envtest::RealCluster, callers: usize, count: usize) {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in ["a", "b"] {
        if round == "b" {
            ours.extend(started_by_us(cluster, callers, count, round).await);
        }
        floor.extend(written_straight(cluster, callers, count, round).await);
        if round == "a" {
            ours.extend(started_by_us(cluster, callers, count, round).await);
        }
    }
    ours.sort();
    floor.sort();
    for (name, share) in [("p50", 50), ("p99", 99)] {
        let text = format!("StartWorkspace, {callers} callers, {name}");
        row(
            &text,
            Some(percentile(&ours, share)),
            Some(percentile(&floor, share)),
        );
    }
}

pub(crate) async fn started_by_us(
    cluster: &envtest::RealCluster,
    callers: usize,
    count: usize,
    round: &str,
) -> Vec<Duration> {
    let namespace = envtest::namespace(&cluster.client(), "bench-starts").await;
    let daemon = Daemon::start(Some(&cluster.kubeconfig_path()), &namespace).await;
    let mut client = daemon.client().await;
    ready(&mut client).await;
    let requests: Vec<_> = (0..count)
        .map(|n| started(&format!("ours-{round}-{n}")))
        .collect();
    let starting = timed(callers, requests, |request| {
        let mut client = client.clone();
        async move { drop(client.start_workspace(request).await.unwrap()) }
    });
    starting.await
}

pub(crate) async fn written_straight(
    cluster: &envtest::RealCluster,
    callers: usize,
    count: usize,
    round: &str,
) -> Vec<Duration> {
    let namespace = envtest::namespace(&cluster.client(), "bench-floor").await;
    let manager = Arc::new(manager(&namespace));
    let api = cluster.client();
    // Who keeps an index has to watch: the floor does, too.
    let watching = ["pods", "services", "events"]
        .map(|kind| tokio::spawn(drain(api.clone(), namespace.clone(), kind)));
    let plans: Vec<Plan> = (0..count)
        .map(|n| planned(&manager, &format!("floor-{round}-{n}")))
        .collect();
    let times = timed(callers, plans, |plan| {
        write(api.clone(), namespace.clone(), plan)
    })
    .await;
    watching.iter().for_each(tokio::task::JoinHandle::abort);
    times
}

/// Watches and does nothing with what it reads.
pub(crate) async fn drain(client: kube::Client, namespace: String, kind: &'static str) {
    // A busy server ends watches that fall behind.
    loop {
        let request = kube::core::Request::new(format!("/api/v1/namespaces/{namespace}/{kind}"));
        let request = request.watch(&WatchParams::default(), "0").unwrap();
        let lines = client.request_stream(request).await.unwrap();
        let mut lines = futures::AsyncBufReadExt::lines(lines);
        while let Some(Ok(_)) = lines.next().await {}
    }
}

/// Sends the writes of a plan straight to the API server, owner references included: they are work for the cluster.
pub(crate) async fn write(client: kube::Client, namespace: String, plan: Plan) {
    let post = PostParams::default();
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let pod = pods.create(&post, &plan.pod).await.unwrap();
    let owners = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.name_any(),
        uid: pod.uid().unwrap(),
        ..OwnerReference::default()
    }]);
    for dependant in plan.dependants {
        match dependant {
            Dependant::Pvc(_) => unreachable!("the example asks for no volume"),
            Dependant::Secret(mut secret) => {
                secret.metadata.owner_references = owners.clone();
                let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
                secrets.create(&post, &secret).await.unwrap();
            }
            Dependant::Service(mut service) => {
                service.metadata.owner_references = owners.clone();
                let services = Api::<Service>::namespaced(client.clone(), &namespace);
                services.create(&post, &service).await.unwrap();
            }
        }
    }
}

pub(crate) async fn all_ready(pods: &Api<Pod>, mut version: String, count: usize) {
    let mut ready = HashSet::new();
    while ready.len() < count {
        let events = pods.watch(&WatchParams::default(), &version).await.unwrap();
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else {
                continue;
            };
            version = pod.metadata.resource_version.clone().unwrap();
            if is_ready(&pod) {
                ready.insert(pod.metadata.name);
            }
            if ready.len() == count {
                return;
            }
        }
    }
}

/// The API server's CPU for whole lives, from Start until the pod is gone, beside that of bare pods: made, run by the same
/// kubelet, deleted. Once bare means nothing but the pod, once with the Secret and the Services that a workspace has.
pub(crate) async fn lifetime(cluster: &envtest::RealCluster, count: usize) {
    let namespace = envtest::namespace(&cluster.client(), "bench-lives").await;
    let kubelet = Kubelet::start(cluster, &namespace).await;
    let daemon = Daemon::start(Some(&cluster.kubeconfig_path()), &namespace).await;
    let mut client = daemon.client().await;
    ready(&mut client).await;
    let mut updates = client
        .subscribe(SubscribeRequest::default())
        .await
        .unwrap()
        .into_inner();
    let before = cpu(cluster).await;
    let requests: Vec<_> = (0..count).map(|n| started(&format!("life-{n}"))).collect();
    let starting = timed(16, requests, |request| {
        let mut client = client.clone();
        async move { drop(client.start_workspace(request).await.unwrap()) }
    });
    let mut stopper = client.clone();
    let stopping = async {
        let mut gone = 0;
        let mut asked = HashSet::new();
        while gone < count {
            let status = updates.message().await.unwrap().unwrap().status.unwrap();
            match status.phase() {
                WorkspacePhase::Running if asked.insert(status.id.clone()) => {
                    let request = StopWorkspaceRequest {
                        id: status.id,
                        ..Default::default()
                    };
                    stopper.stop_workspace(request).await.unwrap();
                }
                WorkspacePhase::Stopped => gone += 1,
                _ => {}
            }
        }
    };
    tokio::join!(starting, stopping);
    let ours = (cpu(cluster).await - before) / count as f64;
    drop((daemon, kubelet));

    let alone = bare_lives(cluster, count, false).await;
    let all = bare_lives(cluster, count, true).await;
    let cell = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
    figure(
        "API server's CPU per life (floor: a bare pod)",
        &cell(ours),
        &cell(alone),
    );
    figure(
        "API server's CPU per life (floor: pod, Secret, Services)",
        &cell(ours),
        &cell(all),
    );
}

/// Plans of pods without our finalizer; without `dependants` there is nothing but the pod.
pub(crate) fn bare_plans(
    manager: &Arc<Manager>,
    name: &str,
    count: usize,
    dependants: bool,
) -> Vec<Plan> {
    let plan = |n| {
        let mut plan = planned(manager, &format!("{name}-{n}"));
        plan.pod.metadata.finalizers = None;
        if !dependants {
            plan.dependants.clear();
        }
        plan
    };
    (0..count).map(plan).collect()
}

async fn bare_lives(cluster: &envtest::RealCluster, count: usize, dependants: bool) -> f64 {
    let namespace = envtest::namespace(&cluster.client(), "bench-bare-lives").await;
    let _kubelet = Kubelet::start(cluster, &namespace).await;
    let manager = Arc::new(manager(&namespace));
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &namespace);
    let version = pods.list(&ListParams::default()).await.unwrap();
    let version = version.metadata.resource_version.unwrap();
    let plans = bare_plans(&manager, "bare", count, dependants);
    let before = cpu(cluster).await;
    let (api, at) = (cluster.client(), namespace.clone());
    let writing = timed(16, plans, |plan| write(api.clone(), at.clone(), plan));
    tokio::join!(writing, deleted_when_ready(&pods, version, count));
    (cpu(cluster).await - before) / count as f64
}

/// Deletes every pod once it is ready, until all are gone.
async fn deleted_when_ready(pods: &Api<Pod>, mut version: String, count: usize) {
    let (mut asked, mut gone) = (HashSet::new(), 0);
    while gone < count {
        let events = pods.watch(&WatchParams::default(), &version).await.unwrap();
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    version = pod.resource_version().unwrap();
                    if is_ready(&pod) && asked.insert(pod.name_any()) {
                        let grace = DeleteParams::default().grace_period(30);
                        pods.delete(&pod.name_any(), &grace).await.unwrap();
                    }
                }
                WatchEvent::Deleted(pod) => {
                    version = pod.resource_version().unwrap();
                    gone += 1;
                }
                _ => {}
            }
            if gone == count {
                return;
            }
        }
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
    })
}

async fn cpu(cluster: &envtest::RealCluster) -> f64 {
    metric(&cluster.client(), "process_cpu_seconds_total", &[]).await
}
