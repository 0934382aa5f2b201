//! The program as people run it: its own process, its own cluster beside it, killed and started again.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;

use super::support::cluster::{self, Cluster};
use super::support::world::{TIMEOUT, request};

/// A `wsman run` beside a cluster.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) addr: String,
    stdout: BufReader<std::process::ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts it and waits until it prints its address.
    pub(crate) fn start(cluster: &Cluster, port: u16) -> Self {
        Self::start_with(&cluster.namespace, &cluster.kubeconfig, port, Stdio::null())
    }

    /// Starts it with a kubeconfig and a path for its log.
    pub(crate) fn start_with(namespace: &str, kubeconfig: &Path, port: u16, log: Stdio) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = write_config(folder.path(), namespace, port);
        let mut command = wsman();
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .arg("--kubeconfig")
            .arg(kubeconfig);
        command.stderr(log);
        Self::spawn(command, folder)
    }

    pub(crate) fn spawn(mut command: Command, folder: tempfile::TempDir) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let addr = line
            .strip_prefix("wsman listens on ")
            .expect(&line)
            .split(' ')
            .next()
            .unwrap()
            .to_owned();
        Self {
            child,
            addr,
            stdout,
            _folder: folder,
        }
    }

    /// A client, once the daemon is ready.
    pub(crate) async fn client(&self) -> WorkspaceManagerClient<tonic::transport::Channel> {
        let endpoint =
            tonic::transport::Endpoint::from_shared(format!("http://{}", self.addr)).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
        let mut watch = health
            .watch(tonic_health::pb::HealthCheckRequest::default())
            .await
            .unwrap()
            .into_inner();
        let serving = async { while watch.message().await.unwrap().unwrap().status != 1 {} };
        tokio::time::timeout(TIMEOUT, serving)
            .await
            .expect("the daemon becomes ready");
        WorkspaceManagerClient::new(channel)
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Its resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let words = line.unwrap().split_whitespace();
        words
            .take(1)
            .map(|kib| kib.parse::<u64>().unwrap())
            .sum::<u64>()
            << 10
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        while tokio::time::Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::task::yield_now().await;
        }
        panic!("the daemon does not end");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn wsman() -> Command {
    Command::new(env!("CARGO_BIN_EXE_wsman"))
}

pub(crate) fn write_config(folder: &Path, namespace: &str, port: u16) -> PathBuf {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/example-config.json"))
        .unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["manager"]["namespace"] = namespace.into();
    value["rpcServer"]["addr"] = format!("127.0.0.1:{port}").into();
    for key in ["health", "prometheus"] {
        value.as_object_mut().unwrap().remove(key);
    }
    let path = folder.join("config.json");
    std::fs::write(&path, value.to_string()).unwrap();
    path
}

async fn phase(
    client: &mut WorkspaceManagerClient<tonic::transport::Channel>,
    id: &str,
) -> Option<WorkspacePhase> {
    let described = client
        .describe_workspace(DescribeWorkspaceRequest { id: id.to_owned() })
        .await;
    described
        .ok()
        .map(|answer| answer.into_inner().status.unwrap().phase())
}

/// Follows a workspace until it is in a phase; a daemon that is killed meanwhile ends the stream.
pub(crate) async fn until(
    client: &mut WorkspaceManagerClient<tonic::transport::Channel>,
    id: &str,
    wanted: WorkspacePhase,
) {
    let mut updates = client
        .subscribe(SubscribeRequest::default())
        .await
        .unwrap()
        .into_inner();
    if phase(client, id).await == Some(wanted) {
        return;
    }
    let seen = async {
        loop {
            let status = updates
                .message()
                .await
                .unwrap()
                .expect("the stream goes on")
                .status
                .unwrap();
            if status.id == id && status.phase() == wanted {
                return;
            }
        }
    };
    tokio::time::timeout(TIMEOUT, seen)
        .await
        .unwrap_or_else(|_| panic!("{id} is never {wanted:?}"));
}

/// Kills the daemon with -9 as soon as a workspace is in a phase; the next one continues as if nothing happened.
async fn killed_in_every_state(cluster: &Cluster) {
    let mut daemon = Daemon::start(cluster, 0);
    let mut token = String::new();
    for state in [
        WorkspacePhase::Pending,
        WorkspacePhase::Creating,
        WorkspacePhase::Initializing,
        WorkspacePhase::Running,
    ] {
        let id = format!("killed-{}", state.as_str_name().to_lowercase());
        let mut client = daemon.client().await;
        let mut updates = client
            .subscribe(SubscribeRequest::default())
            .await
            .unwrap()
            .into_inner();
        let answer = client
            .start_workspace(request(&id))
            .await
            .unwrap()
            .into_inner();
        token.clone_from(&answer.owner_token);
        let seen = async {
            loop {
                let status = updates.message().await.unwrap().unwrap().status.unwrap();
                // A state may be merged into the next; then it is killed there.
                if status.id == id
                    && (status.phase() == state || status.phase() == WorkspacePhase::Running)
                {
                    return;
                }
            }
        };
        tokio::time::timeout(TIMEOUT, seen).await.unwrap();
        daemon.kill();
        daemon = Daemon::start(cluster, 0);
        let mut client = daemon.client().await;
        until(&mut client, &id, WorkspacePhase::Running).await;
        assert_eq!(
            client
                .start_workspace(request(&id))
                .await
                .unwrap()
                .into_inner(),
            answer,
            "no difference shows"
        );
    }
    // While stopping: the finalizer keeps the pod until its end is published.
    let id = "killed-running";
    let mut client = daemon.client().await;
    let stop = StopWorkspaceRequest {
        id: id.to_owned(),
        ..Default::default()
    };
    client.stop_workspace(stop).await.unwrap();
    daemon.kill();
    let daemon = Daemon::start(cluster, 0);
    let mut client = daemon.client().await;
    if phase(&mut client, id).await.is_some() {
        let mut updates = client
            .subscribe(SubscribeRequest::default())
            .await
            .unwrap()
            .into_inner();
        let gone = async {
            while phase(&mut client, id).await.is_some() {
                let status = updates.message().await.unwrap().unwrap().status.unwrap();
                if status.id == id && status.phase() == WorkspacePhase::Stopped {
                    return;
                }
            }
        };
        tokio::time::timeout(TIMEOUT, gone).await.unwrap();
    }
    cluster
        .gone::<k8s_openapi::api::core::v1::Pod>(&format!("ws-{id}"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_any_state_changes_nothing_on_the_embedded_cluster() {
    killed_in_every_state(&cluster::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_any_state_changes_nothing_on_a_real_api_server() {
    if let Some(cluster) = cluster::real("a_kill_in_any_state").await {
        killed_in_every_state(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_signal_drains_with_open_streams_and_a_second_ends_at_once() {
    let cluster = cluster::embedded().await;
    let mut daemon = Daemon::start(&cluster, 0);
    let mut client = daemon.client().await;
    let mut updates = client
        .subscribe(SubscribeRequest::default())
        .await
        .unwrap()
        .into_inner();
    daemon.signal("-TERM");
    let end = async { while let Ok(Some(_)) = updates.message().await {} };
    tokio::time::timeout(Duration::from_secs(25), end)
        .await
        .expect("the stream ends");
    drop((client, updates));
    assert_eq!(daemon.ended().await.code(), Some(0));

    let mut daemon = Daemon::start(&cluster, 0);
    let _client = daemon.client().await;
    daemon.signal("-TERM");
    daemon.signal("-INT");
    assert_eq!(daemon.ended().await.code(), Some(1));
}

#[test]
fn a_port_in_use_is_reported_and_ends_the_process() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), "default", taken.local_addr().unwrap().port());
    let output = wsman()
        .arg("run")
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("cannot listen on rpcServer.addr"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_runs_as_it_is_on_the_embedded_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), "default", 0);
    let mut command = wsman();
    command.arg("run").arg("--config").arg(&config);
    command.stderr(Stdio::null());
    let mut daemon = Daemon::spawn(command, folder);
    drop(daemon.client().await);
    let mut line = String::new();
    daemon.stdout.read_line(&mut line).unwrap();
    let kubeconfig = line
        .split_whitespace()
        .skip_while(|word| *word != "--kubeconfig")
        .nth(1)
        .unwrap()
        .to_owned();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/example-wsspec.json");
    let client = |verbs: &[&str]| {
        let output = wsman()
            .args(["client", "-H", &daemon.addr])
            .args(verbs)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{verbs:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    client(&["start", "-f", example, "--id", "tour", "--wait"]);
    let listed = client(&["list"]);
    assert!(
        listed.contains("tour") && listed.contains("RUNNING"),
        "{listed}"
    );
    assert!(
        std::fs::read_to_string(&kubeconfig)
            .unwrap()
            .contains("127.0.0.1")
    );
    client(&["stop", "tour", "--wait"]);
    daemon.signal("-TERM");
    assert_eq!(daemon.ended().await.code(), Some(0));
    let mut rest = String::new();
    daemon.stdout.read_to_string(&mut rest).unwrap();
    assert!(
        !Path::new(&kubeconfig).exists(),
        "the credentials go with the cluster"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_logged_or_left_where_others_can_read_it() {
    use base64::Engine;
    use wsman::proto::contentservice::{GitConfig, GitInitializer, workspace_initializer::Spec};
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let text = std::fs::read_to_string(write_config(folder.path(), "default", 0)).unwrap();
    // Gitpod nodes take initializers with passwords.
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["manager"]["registryFacadeHost"] = "registry.example.com".into();
    config["manager"]["workspaceHostPath"] = "/var/workspaces".into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let mut command = wsman();
    command
        .arg("run")
        .arg("-v")
        .arg("--config")
        .arg(folder.path().join("config.json"));
    command.arg("--kubeconfig").arg(&cluster.kubeconfig);
    command.stderr(std::fs::File::create(&log).unwrap());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let addr = line
        .strip_prefix("wsman listens on ")
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{addr}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = WorkspaceManagerClient::new(channel);
    let mut start = request("discreet");
    let spec = start.spec.as_mut().unwrap();
    spec.envvars.push(EnvironmentVariable {
        name: "KEY".into(),
        value: "planted-variable".into(),
        secret: None,
    });
    let auth = GitConfig {
        auth_password: "planted-password".to_owned(),
        ..Default::default()
    };
    let git = GitInitializer {
        remote_uri: "https://x/y".to_owned(),
        config: Some(auth),
        ..Default::default()
    };
    let empty = spec.initializer.clone();
    spec.initializer.as_mut().unwrap().spec = Some(Spec::Git(git));
    // There is no backend for content: the password ends here.
    let unfilled = client.start_workspace(start.clone()).await.unwrap_err();
    assert_eq!(unfilled.code(), tonic::Code::FailedPrecondition);
    assert!(!format!("{unfilled:?}").contains("planted-password"));
    start.spec.as_mut().unwrap().initializer = empty;
    let answer = client
        .start_workspace(start.clone())
        .await
        .unwrap()
        .into_inner();
    start.spec.as_mut().unwrap().workspace_image = "another:1".to_owned();
    let refused = client.start_workspace(start).await.unwrap_err();
    let stop = StopWorkspaceRequest {
        id: "discreet".to_owned(),
        ..Default::default()
    };
    let pod = cluster
        .api::<k8s_openapi::api::core::v1::Pod>()
        .await
        .get("ws-discreet")
        .await
        .unwrap();
    client.stop_workspace(stop).await.unwrap();
    cluster
        .gone::<k8s_openapi::api::core::v1::Pod>("ws-discreet")
        .await;
    child.kill().unwrap();
    child.wait().unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("discreet"), "the log is not empty");
    let initializer = &pod.metadata.annotations.as_ref().unwrap()["gitpod/contentInitializer"];
    let initializer = base64::engine::general_purpose::STANDARD
        .decode(initializer)
        .unwrap();
    let pod = format!(
        "{} {}",
        serde_json::to_string(&pod).unwrap(),
        String::from_utf8_lossy(&initializer)
    );
    for secret in ["planted-variable", "planted-password"] {
        for place in [&log, &pod, &format!("{refused:?}")] {
            assert!(!place.contains(secret), "{secret} in {place}");
        }
    }
    assert!(
        !log.contains(&answer.owner_token),
        "the owner token is a secret, too"
    );
}
