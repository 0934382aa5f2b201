//! A cluster that outlives its daemons, a store in a directory, and hands on the guest's processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use wsman::proto::contentservice::workspace_initializer::Spec;
use wsman::proto::contentservice::*;
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;
use wsman_sim::kubelet::ProcessRuntime;

use super::s3::{self, S3};
use super::tree::{self, Tree};
use crate::content::repository;
use crate::processes::{Daemon, write_config, wsman};
use crate::support::cluster::{self, Cluster};
use crate::support::world::{TIMEOUT, Updates, World, request};

pub(super) const SAVER: &str = "content-save";
/// No backup by itself, within a test.
pub(super) const SELDOM: &str = "1h";
/// A backup as soon as something changes.
pub(super) const OFTEN: &str = "1s";
/// A save of these takes so long that it can be stopped meanwhile.
pub(super) const LARGE: usize = 24;

pub(super) struct Desk {
    pub(super) cluster: Cluster,
    folder: tempfile::TempDir,
    interval: &'static str,
    /// How many workspaces were started with saved content.
    restored: AtomicUsize,
    /// The guest of new workspaces.
    pub(super) guest: PathBuf,
    /// The server of the store, if it is none in a directory.
    pub(super) s3: Option<S3>,
}

impl Desk {
    /// Backups of running workspaces are made at the interval.
    pub(super) async fn open(interval: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = cluster::with_processes(ProcessRuntime {
            directory: folder.path().join("kubelet"),
            allow_root: rustix::process::getuid().is_root(),
            ..ProcessRuntime::default()
        });
        let guest = Path::new(env!("CARGO_BIN_EXE_wsman")).with_file_name("wsman-guest");
        assert!(guest.exists(), "build it: cargo build");
        Self {
            cluster: cluster.await,
            folder,
            interval,
            restored: AtomicUsize::new(0),
            guest,
            s3: None,
        }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What is saved is below this directory, also where a server has it.
    pub(super) fn store(&self) -> PathBuf {
        self.folder().join("store")
    }

    /// Serves that directory as a bucket to what starts from now on.
    pub(super) async fn serve_store(&mut self) -> Arc<AtomicBool> {
        let s3 = S3::serve(&self.store()).await;
        let full = s3.full.clone();
        self.s3 = Some(s3);
        full
    }

    pub(super) fn configure(&self, config: &mut Value) {
        config["guest"] = json!({ "contentImage": "guest", "command": self.guest });
        config["content"]["storage"] = match &self.s3 {
            None => json!({ "kind": "local", "local": { "path": self.store() } }),
            Some(s3) => json!({ "kind": "minio", "minio": s3.settings() }),
        };
        config["manager"]["workspaceClass"]["default"]["backupInterval"] = self.interval.into();
        for limit in ["initialization", "startup"] {
            config["manager"]["timeouts"][limit] = "100h".into();
        }
    }

    /// A daemon that can be killed.
    pub(super) fn daemon(&self) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let path = write_config(folder.path(), &self.cluster.namespace, 0);
        let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        self.configure(&mut config);
        std::fs::write(&path, config.to_string()).unwrap();
        let mut command = wsman();
        command.arg("run").arg("--config").arg(&path);
        command.arg("--kubeconfig").arg(&self.cluster.kubeconfig);
        command.stderr(Stdio::null());
        Daemon::spawn(command, folder)
    }

    /// A daemon in this process.
    pub(super) async fn world(&self) -> World {
        let client = self.cluster.client().await;
        let change = |config: &mut Value| self.configure(config);
        World::start_with(client, &self.cluster.namespace, change).await
    }

    // === Workspaces ===

    async fn home(&self, id: &str) -> PathBuf {
        let pods = self.cluster.api::<Pod>().await;
        let pod = pods.get(&format!("ws-{id}")).await.unwrap();
        let pods = self.folder().join("kubelet/pods");
        pods.join(pod.metadata.uid.unwrap())
    }

    /// The directory of a workspace.
    pub(super) async fn workspace(&self, id: &str) -> PathBuf {
        self.home(id).await.join("volumes/vol-this-workspace")
    }

    /// Writes a directory into a workspace, and returns what is there then.
    pub(super) async fn work(&self, id: &str, name: &str, megabytes: usize) -> Tree {
        let root = self.workspace(id).await;
        tree::write(&root, name, megabytes);
        Tree::read(&root)
    }

    /// Starts a workspace and waits until it runs.
    pub(super) async fn run(&self, client: &Client, id: &str, content: Spec) {
        let mut request = tonic::Request::new(asking(id, content));
        let running = "running".parse().unwrap();
        request.metadata_mut().insert("wsman-wait", running);
        client.clone().start_workspace(request).await.unwrap();
    }

    /// Starts another workspace with saved content: the last backup, or what has the name.
    pub(super) async fn restores(&self, client: &Client, name: Option<&str>, wanted: &Tree) {
        let content = match name {
            None => Spec::Backup(FromBackupInitializer::default()),
            Some(name) => Spec::Snapshot(SnapshotInitializer {
                snapshot: name.to_owned(),
                from_volume_snapshot: false,
            }),
        };
        let id = format!("again-{}", self.restored.fetch_add(1, Ordering::Relaxed));
        self.run(client, &id, content).await;
        let found = Tree::read(&self.workspace(&id).await);
        let differences = wanted.differences(&found);
        assert!(differences.is_empty(), "{differences:?}");
    }

    // === The guest's processes ===

    /// Signals what runs in a container, once it does.
    pub(super) async fn signal(&self, id: &str, container: &str, signal: Signal) {
        let home = self.home(id).await;
        let folder = home.join("containers").join(container).join("processes");
        let leaders = || -> Vec<i32> {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name());
            names
                .filter_map(|name| name.to_str()?.parse().ok())
                .collect()
        };
        eventually(container, || !leaders().is_empty()).await;
        for leader in leaders() {
            // One that has just ended needs no signal.
            let _ = kill_process_group(Pid::from_raw(leader).unwrap(), signal);
        }
    }

    /// Whether somebody asked the saver for a backup.
    pub(super) async fn is_asked(&self, id: &str) {
        let home = self.home(id).await;
        let requests = home.join("volumes/vol-content-state/requests");
        let any = || std::fs::read_dir(&requests).is_ok_and(|mut all| all.next().is_some());
        eventually("a request", any).await;
    }

    // === The store ===

    /// Manifests by their names, the oldest first.
    pub(super) fn manifests(&self) -> Vec<(String, Value)> {
        let folder = self.store().join("jane/demo");
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "json") {
                let name = path.file_name().unwrap().to_str().unwrap();
                let text = std::fs::read(&path).unwrap();
                let manifest = serde_json::from_slice(&text).unwrap();
                let bucket = self.s3.as_ref().map_or("local", |_| s3::BUCKET);
                all.push((format!("jane/demo/{name}@{bucket}"), manifest));
            }
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Last backups of an instance.
    pub(super) fn last_backups(&self, id: &str) -> usize {
        let manifests = self.manifests();
        let of = |manifest: &Value| manifest["final"] == true && manifest["instance"] == id;
        manifests.iter().filter(|(_, one)| of(one)).count()
    }

    /// Waits until data is on its way into the store, without a manifest yet, and stops the saver there.
    pub(super) async fn stop_upload(&self, id: &str) {
        let folder = self.store().join("jane/demo/data");
        let under_way = || {
            let manifests = self.manifests();
            let has_manifest = |file: &str| {
                let mut keys = manifests.iter().filter_map(|(_, one)| one["data"].as_str());
                keys.any(|key| file.starts_with(key.rsplit('/').next().unwrap()))
            };
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let mut names = entries.map(|entry| entry.file_name().into_string().unwrap());
            names.any(|name| !has_manifest(&name))
        };
        eventually("an upload", under_way).await;
        self.signal(id, SAVER, Signal::STOP).await;
        assert!(under_way(), "the upload is over already");
    }

    // === Ends ===

    /// The workspace ended as if nothing had happened: with one last backup, from which it begins again.
    pub(super) async fn ended_well(&self, client: &Client, last: &WorkspaceStatus, work: &Tree) {
        assert_eq!(last.phase(), WorkspacePhase::Stopped);
        let conditions = last.conditions.as_ref().unwrap();
        assert_eq!(conditions.failed, "");
        assert_eq!(conditions.final_backup_complete(), YES);
        self.cluster.gone::<Pod>(&format!("ws-{}", last.id)).await;
        assert_eq!(self.last_backups(&last.id), 1);
        self.restores(client, None, work).await;
    }
}

/// What a failure says where an earlier backup is there.
pub(super) const AGE: &str = "its content is from a backup ";

pub(super) const YES: WorkspaceConditionBool = WorkspaceConditionBool::True;

pub(super) type Client = WorkspaceManagerClient<Channel>;

pub(super) fn asking(id: &str, content: Spec) -> StartWorkspaceRequest {
    let mut request = request(id);
    request.metadata.get_or_insert_default().meta_id = "demo".to_owned();
    request.spec.get_or_insert_default().initializer = Some(WorkspaceInitializer {
        spec: Some(content),
    });
    request
}

pub(super) fn empty() -> Spec {
    Spec::Empty(EmptyInitializer {})
}

pub(super) async fn stop(client: &Client, id: &str) {
    let request = StopWorkspaceRequest {
        id: id.to_owned(),
        ..StopWorkspaceRequest::default()
    };
    client.clone().stop_workspace(request).await.unwrap();
}

pub(super) async fn describe(client: &Client, id: &str) -> WorkspaceStatus {
    let request = DescribeWorkspaceRequest { id: id.to_owned() };
    let answer = client.clone().describe_workspace(request).await.unwrap();
    answer.into_inner().status.unwrap()
}

pub(super) async fn snapshot(client: &Client, id: &str) -> Result<String, tonic::Status> {
    let request = TakeSnapshotRequest {
        id: id.to_owned(),
        return_immediately: false,
    };
    let answer = client.clone().take_snapshot(request).await?;
    Ok(answer.into_inner().url)
}

pub(super) async fn backup(client: &Client, id: &str) -> String {
    let request = BackupWorkspaceRequest { id: id.to_owned() };
    let answer = client.clone().backup_workspace(request).await.unwrap();
    answer.into_inner().url
}

/// Reads what is there for a workspace that has ended: nothing may follow its STOPPED.
pub(super) async fn silent(client: &Client, updates: &mut Updates) {
    let request = request("bystander");
    client.clone().start_workspace(request).await.unwrap();
    updates.until("bystander", WorkspacePhase::Running).await;
}

/// Waits for what shows in a file or a process.
pub(super) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let wait = async {
        while !holds() {
            ticks.tick().await;
        }
    };
    let waited = tokio::time::timeout(TIMEOUT, wait).await;
    waited.unwrap_or_else(|_| panic!("{what}: not in time"));
}

/// A git server that answers nobody until it is released.
pub(super) struct Held {
    pub(super) content: Spec,
    asked: watch::Receiver<bool>,
    release: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Held {
    /// Serves a repository with one file.
    pub(super) async fn serve(folder: &Path) -> Self {
        repository(folder);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ask, asked) = watch::channel(false);
        let (release, mut released) = watch::channel(false);
        let folder = folder.to_owned();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                ask.send_replace(true);
                if released.wait_for(|released| *released).await.is_err() {
                    return;
                }
                let stream = stream.into_std().unwrap();
                stream.set_nonblocking(false).unwrap();
                let mut daemon = Command::new("git");
                daemon.args(["daemon", "--inetd", "--export-all"]);
                daemon.arg(format!("--base-path={}", folder.display()));
                daemon.stdin(Stdio::from(std::os::fd::OwnedFd::from(
                    stream.try_clone().unwrap(),
                )));
                daemon.stdout(Stdio::from(std::os::fd::OwnedFd::from(stream)));
                daemon.stderr(Stdio::null());
                let mut daemon = tokio::process::Command::from(daemon);
                daemon.kill_on_drop(true).status().await.unwrap();
            }
        });
        let content = Spec::Git(GitInitializer {
            remote_uri: format!("git://{address}/origin.git"),
            checkout_location: "app".to_owned(),
            config: Some(GitConfig::default()),
            ..GitInitializer::default()
        });
        Self {
            content,
            asked,
            release,
            server,
        }
    }

    /// Waits until somebody clones.
    pub(super) async fn asked(&mut self) {
        let asked = tokio::time::timeout(TIMEOUT, self.asked.wait_for(|asked| *asked)).await;
        asked.expect("somebody clones").unwrap();
    }

    pub(super) fn release(&self) {
        self.release.send_replace(true);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.server.abort();
    }
}
