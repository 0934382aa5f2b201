//! The daemon in its own process, the simulated kubelet, and the requests of both sides of a figure.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use wsman::config::{self, Manager};
use wsman::proto::wsman::*;
use wsman::workspaces::plan::{self, Plan, Tokens};
use wsman::workspaces::request;
use wsman_sim::kubelet;

use super::{Client, envtest};

pub(crate) fn config_text(namespace: &str, addr: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/example-config.json"))
        .unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["manager"]["namespace"] = namespace.into();
    value["rpcServer"]["addr"] = addr.into();
    value.as_object_mut().unwrap().remove("health");
    value.as_object_mut().unwrap().remove("prometheus");
    value
}

pub(crate) fn manager(namespace: &str) -> Manager {
    let config = config::parse(&config_text(namespace, "127.0.0.1:0").to_string()).unwrap();
    config
        .check(&BTreeMap::new(), jiff::Timestamp::now())
        .0
        .manager
}

pub(crate) fn planned(manager: &Manager, id: &str) -> Plan {
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

pub(crate) fn started(id: &str) -> StartWorkspaceRequest {
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

pub(crate) async fn ready(client: &mut Client) {
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
pub(crate) struct Daemon {
    child: Child,
    addr: String,
    _folder: tempfile::TempDir,
}

impl Daemon {
    pub(crate) async fn start(kubeconfig: Option<&Path>, namespace: &str) -> Self {
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

    pub(crate) fn addr(&self) -> &str {
        &self.addr
    }

    pub(crate) async fn channel(&self) -> Channel {
        let channel = Channel::from_shared(format!("http://{}", self.addr)).unwrap();
        channel.connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::new(self.channel().await)
    }

    /// Its CPU time, to a hundredth of a second.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name of the process may contain anything but ends with the last parenthesis.
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        let ticks = fields.skip(11).take(2).map(|n| n.parse::<u64>().unwrap());
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// Megabytes.
    pub(crate) fn resident(&self) -> f64 {
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
pub(crate) struct Kubelet(CancellationToken);

impl Kubelet {
    pub(crate) async fn start(cluster: &envtest::RealCluster, namespace: &str) -> Self {
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
