//! Measures the daemon, as a process of its own, against a real API server. Each figure stands beside its floor: the
//! same writes sent straight to the API server, or the same pods without wsman, in the same run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "a benchmark that cannot go on ends"
)]

#[path = "../tests/it/support/envtest.rs"]
mod envtest;

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams, WatchParams};
use kube::core::WatchEvent;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use wsman::action::Dependant;
use wsman::config::{self, Manager};
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;
use wsman::sim::kubelet;
use wsman::workspaces::plan::{self, Plan, Tokens};
use wsman::workspaces::request;

type Client = WorkspaceManagerClient<Channel>;

/// Runs the parts whose names contain one of the arguments, or all.
#[tokio::main]
async fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let wanted =
        |part: &str| asked.is_empty() || asked.iter().any(|word| part.contains(word.as_str()));
    println!("{:<58}{:>12}{:>12}", "", "wsman", "floor");
    if wanted("cold-start") {
        cold_start().await;
    }
    let Some(cluster) = envtest::real().await else {
        println!("no real API server (KUBEBUILDER_ASSETS): nothing else is measured");
        return;
    };
    if wanted("starts-1") {
        starts(cluster, 1, 200).await;
    }
    if wanted("starts-64") {
        starts(cluster, 64, 640).await;
    }
    if wanted("two-hundred") {
        two_hundred(cluster).await;
    }
    if wanted("memory") {
        memory(cluster).await;
    }
}

/// From the start of the process to its first answered call, on the embedded cluster.
async fn cold_start() {
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let daemon = Daemon::start(None, "default").await;
        let mut client = daemon.client().await;
        ready(&mut client).await;
        times.push(begun.elapsed());
    }
    times.sort();
    row(
        "process start to the first answer, embedded: median",
        Some(times[2]),
        None,
    );
}

/// StartWorkspace beside the writes that it makes, in turns and each as often first, because a cluster gets slower as it
/// fills.
async fn starts(cluster: &envtest::RealCluster, callers: usize, count: usize) {
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

async fn started_by_us(
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

async fn written_straight(
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
async fn drain(client: kube::Client, namespace: String, kind: &'static str) {
    // A busy server ends watches that fall behind.
    loop {
        let request = kube::core::Request::new(format!("/api/v1/namespaces/{namespace}/{kind}"));
        let request = request.watch(&WatchParams::default(), "0").unwrap();
        let lines = client.request_stream(request).await.unwrap();
        let mut lines = futures::AsyncBufReadExt::lines(lines);
        while let Some(Ok(_)) = lines.next().await {}
    }
}

/// Two hundred starts until all run, beside two hundred bare pods until all are ready.
async fn two_hundred(cluster: &envtest::RealCluster) {
    let namespace = envtest::namespace(&cluster.client(), "bench-bare").await;
    let _kubelet = Kubelet::start(cluster, &namespace).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), &namespace);
    let manager = Arc::new(manager(&namespace));
    let plans: Vec<Plan> = (0..200)
        .map(|n| planned(&manager, &format!("bare-{n}")))
        .collect();
    let version = pods
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let begun = Instant::now();
    let (api, at) = (cluster.client(), namespace.clone());
    let writing = timed(64, plans, |plan| write(api.clone(), at.clone(), plan));
    tokio::join!(writing, all_ready(&pods, version, 200));
    let floor = begun.elapsed();

    let namespace = envtest::namespace(&cluster.client(), "bench-running").await;
    let _kubelet = Kubelet::start(cluster, &namespace).await;
    let daemon = Daemon::start(Some(&cluster.kubeconfig_path()), &namespace).await;
    let mut client = daemon.client().await;
    ready(&mut client).await;
    let mut updates = client
        .subscribe(SubscribeRequest::default())
        .await
        .unwrap()
        .into_inner();
    let begun = Instant::now();
    let requests: Vec<_> = (0..200).map(|n| started(&format!("run-{n}"))).collect();
    let starting = timed(64, requests, |request| {
        let mut client = client.clone();
        async move { drop(client.start_workspace(request).await.unwrap()) }
    });
    let running = async {
        let mut running = HashSet::new();
        while running.len() < 200 {
            let status = updates.message().await.unwrap().unwrap().status.unwrap();
            if status.phase() == WorkspacePhase::Running {
                running.insert(status.id);
            }
        }
    };
    tokio::join!(starting, running);
    row(
        "200 workspaces from Start to RUNNING (bare pods: Ready)",
        Some(begun.elapsed()),
        Some(floor),
    );
}

/// Resident memory, idle and with a thousand workspaces.
async fn memory(cluster: &envtest::RealCluster) {
    let namespace = envtest::namespace(&cluster.client(), "bench-memory").await;
    let daemon = Daemon::start(Some(&cluster.kubeconfig_path()), &namespace).await;
    let mut client = daemon.client().await;
    ready(&mut client).await;
    println!(
        "{:<58}{:>9.1} MB",
        "resident memory, idle",
        daemon.resident()
    );
    let requests: Vec<_> = (0..1000).map(|n| started(&format!("held-{n}"))).collect();
    timed(16, requests, |request| {
        let mut client = client.clone();
        async move { drop(client.start_workspace(request).await.unwrap()) }
    })
    .await;
    println!(
        "{:<58}{:>9.1} MB",
        "resident memory, 1,000 workspaces just started",
        daemon.resident()
    );
    drop(daemon);
    let daemon = Daemon::start(Some(&cluster.kubeconfig_path()), &namespace).await;
    ready(&mut daemon.client().await).await;
    println!(
        "{:<58}{:>9.1} MB",
        "resident memory, 1,000 workspaces after a restart",
        daemon.resident()
    );
}

/// Runs jobs, `parallel` at a time, and returns how long each took, sorted.
async fn timed<T, F: Future<Output = ()>>(
    parallel: usize,
    jobs: Vec<T>,
    run: impl Fn(T) -> F,
) -> Vec<Duration> {
    let one = async |job| {
        let begun = Instant::now();
        run(job).await;
        begun.elapsed()
    };
    let mut jobs = jobs.into_iter();
    let mut under_way: FuturesUnordered<_> = jobs.by_ref().take(parallel).map(&one).collect();
    let mut times = Vec::new();
    while let Some(time) = under_way.next().await {
        times.push(time);
        under_way.extend(jobs.next().map(&one));
    }
    times.sort();
    times
}

fn percentile(sorted: &[Duration], share: usize) -> Duration {
    sorted[(sorted.len() * share / 100).min(sorted.len() - 1)]
}

fn row(name: &str, ours: Option<Duration>, floor: Option<Duration>) {
    let cell = |time: Option<Duration>| {
        time.map_or("-".to_owned(), |t| {
            format!("{:.2} ms", t.as_secs_f64() * 1e3)
        })
    };
    println!("{name:<58}{:>12}{:>12}", cell(ours), cell(floor));
}

/// Sends the writes of a plan straight to the API server, owner references included: they are work for the cluster.
async fn write(client: kube::Client, namespace: String, plan: Plan) {
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
            Dependant::Claim(_) => unreachable!("the example asks for no volume"),
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

async fn all_ready(pods: &Api<Pod>, mut version: String, count: usize) {
    let mut ready = HashSet::new();
    while ready.len() < count {
        let events = pods.watch(&WatchParams::default(), &version).await.unwrap();
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else {
                continue;
            };
            version = pod.metadata.resource_version.clone().unwrap();
            let conditions = pod
                .status
                .and_then(|status| status.conditions)
                .unwrap_or_default();
            if conditions
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True")
            {
                ready.insert(pod.metadata.name);
            }
            if ready.len() == count {
                return;
            }
        }
    }
}

fn config_text(namespace: &str, addr: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/example-config.json"))
        .unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["manager"]["namespace"] = namespace.into();
    value["rpcServer"]["addr"] = addr.into();
    value.as_object_mut().unwrap().remove("health");
    value.as_object_mut().unwrap().remove("prometheus");
    value
}

fn manager(namespace: &str) -> Manager {
    let config = config::parse(&config_text(namespace, "127.0.0.1:0").to_string()).unwrap();
    config.resolve(&BTreeMap::new()).unwrap().manager
}

fn planned(manager: &Manager, id: &str) -> Plan {
    let request = request::parse(started(id), manager).unwrap();
    plan::plan(
        &request,
        manager,
        &Tokens {
            cli_api: "c".repeat(32),
            owner: "o".repeat(32),
        },
    )
    .unwrap()
}

fn started(id: &str) -> StartWorkspaceRequest {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/testdata/example-wsspec.json"
    ))
    .unwrap();
    let mut request: StartWorkspaceRequest = serde_json::from_str(&text).unwrap();
    request.id = id.to_owned();
    request.service_prefix = format!("p-{id}");
    request
}

async fn ready(client: &mut Client) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while client
        .get_workspaces(GetWorkspacesRequest::default())
        .await
        .is_err()
    {
        assert!(
            Instant::now() < deadline,
            "the daemon does not become ready"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A daemon process.
struct Daemon {
    child: Child,
    addr: String,
    _folder: tempfile::TempDir,
}

impl Daemon {
    async fn start(kubeconfig: Option<&Path>, namespace: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config: PathBuf = folder.path().join("config.json");
        std::fs::write(&config, config_text(namespace, "127.0.0.1:0").to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsman"));
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(kubeconfig) = kubeconfig {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let addr = line.split_whitespace().nth(3).unwrap().to_owned();
        Self {
            child,
            addr,
            _folder: folder,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(format!("http://{}", self.addr))
            .await
            .unwrap()
    }

    /// Megabytes.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<f64>()
            .unwrap()
            / 1024.0
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A simulated kubelet in this process.
struct Kubelet(CancellationToken);

impl Kubelet {
    async fn start(cluster: &envtest::RealCluster, namespace: &str) -> Self {
        let stop = CancellationToken::new();
        let options = kubelet::Options {
            namespace: Some(namespace.to_owned()),
            node_prefix: namespace.to_owned(),
            ..kubelet::Options::default()
        };
        tokio::spawn(kubelet::run(cluster.client(), options, stop.clone()));
        Self(stop)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
