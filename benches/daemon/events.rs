//! Events for the daemon: pods on an API server that are patched, and a raw watch with timestamps.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::{AsyncBufReadExt, StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::envtest;
use super::process::started;

/// An API server without nodes, in its own process: the real one, otherwise the embedded one.
pub(crate) struct ApiServer {
    kubeconfig: PathBuf,
    /// Of the embedded one.
    process: Option<(Child, tempfile::TempDir)>,
}

impl ApiServer {
    pub(crate) async fn start() -> Self {
        match envtest::real().await {
            Some(cluster) => Self {
                kubeconfig: cluster.kubeconfig_path(),
                process: None,
            },
            None => Self::embedded().await,
        }
    }

    pub(crate) async fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let child = Command::new(env!("CARGO_BIN_EXE_wsman"))
            .args(["simulate", "--serve", "--nodes=0", "--no-scheduler"])
            .arg("--kubeconfig-out")
            .arg(&kubeconfig)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            kubeconfig,
            process: Some((child, folder)),
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !answers(server.kubeconfig()).await {
            assert!(Instant::now() < deadline, "the API server does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) async fn client(&self) -> Client {
        client(&self.kubeconfig).await.unwrap()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.process {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn client(kubeconfig: &Path) -> Result<Client, kube::Error> {
    let options = KubeConfigOptions::default();
    let unusable = |error: kube::config::KubeconfigError| kube::Error::Service(error.into());
    let read = Kubeconfig::read_from(kubeconfig).map_err(unusable)?;
    let config = kube::Config::from_custom_kubeconfig(read, &options).await;
    Client::try_from(config.map_err(unusable)?)
}

async fn answers(kubeconfig: &Path) -> bool {
    match client(kubeconfig).await {
        Ok(client) => client.apiserver_version().await.is_ok(),
        Err(_) => false,
    }
}

/// Workspaces whose status changes with every patch.
pub(crate) struct Source {
    pods: Api<Pod>,
    names: Vec<String>,
    turn: usize,
}

impl Source {
    /// Starts `count` workspaces through the daemon. Without a node they stay pending.
    pub(crate) async fn start(
        mut daemon: super::Client,
        server: &ApiServer,
        namespace: &str,
        count: usize,
    ) -> Self {
        let ids: Vec<_> = (0..count).map(|n| format!("fanout-{n}")).collect();
        for id in &ids {
            daemon.start_workspace(started(id)).await.unwrap();
        }
        Self {
            pods: Api::namespaced(server.client().await, namespace),
            names: ids.iter().map(|id| format!("ws-{id}")).collect(),
            turn: 0,
        }
    }

    /// Changes the next workspace, and returns the time of the request and the resulting version.
    pub(crate) async fn change(&mut self) -> (Instant, u64) {
        self.turn += 1;
        let name = &self.names[self.turn % self.names.len()];
        let asked = Instant::now();
        (asked, patch(&self.pods, name, self.turn).await)
    }

    /// Changes all workspaces `times` times, as fast as the API server permits with so many callers, and returns
    /// their last versions.
    pub(crate) async fn flood(&mut self, times: usize, callers: usize) -> Vec<u64> {
        let (pods, turn) = (&self.pods, self.turn);
        let patches = (0..times * self.names.len()).map(|n| {
            let name = &self.names[n % self.names.len()];
            patch(pods, name, turn + n + 1)
        });
        let done = stream::iter(patches).buffer_unordered(callers);
        self.turn += done.count().await;
        let list = self.pods.list(&ListParams::default()).await.unwrap();
        list.iter().map(version).collect()
    }
}

async fn patch(pods: &Api<Pod>, name: &str, turn: usize) -> u64 {
    let timeout = format!("{}m", 60 + turn);
    let patch = json!({"metadata": {"annotations": {"gitpod/customTimeout": timeout}}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    version(&pods.patch(name, &params, &patch).await.unwrap())
}

fn version(pod: &Pod) -> u64 {
    pod.resource_version().unwrap().parse().unwrap()
}

/// A raw watch of the pods on its own thread: the latency of any client of the API server.
pub(crate) struct RawWatch {
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

#[derive(Deserialize)]
struct Line {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

impl RawWatch {
    pub(crate) fn start(server: &ApiServer, namespace: &str) -> Self {
        let (lines, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let (kubeconfig, received) = (server.kubeconfig.clone(), Arc::clone(&lines));
        let watch = async move {
            let client = client(&kubeconfig).await.unwrap();
            let request = kube::core::Request::new(path);
            let request = request.watch(&WatchParams::default(), "0").unwrap();
            let mut lines = client.request_stream(request).await.unwrap().lines();
            while let Some(Ok(line)) = lines.next().await {
                received.lock().unwrap().push((Instant::now(), line));
            }
            panic!("the raw watch ended");
        };
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(watch));
        });
        Self {
            lines,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits for a version, and takes the time of each.
    pub(crate) async fn take(&self, until: u64) -> HashMap<u64, Instant> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let last = |lines: &[(Instant, String)]| lines.last().map_or(0, |(_, line)| read(line));
        while last(&self.lines.lock().unwrap()) < until {
            assert!(Instant::now() < deadline, "the raw watch missed {until}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        lines.iter().map(|(at, line)| (read(line), *at)).collect()
    }
}

fn read(line: &str) -> u64 {
    let line: Line = serde_json::from_str(line).unwrap();
    line.object.metadata.resource_version.parse().unwrap()
}

impl Drop for RawWatch {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.thread.take().unwrap().join();
    }
}
