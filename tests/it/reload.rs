//! The configuration of a running daemon changes: a valid one is used, an invalid one is reported and changes nothing.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;
use tonic::transport::{Channel, Endpoint};
use wsman::proto::wsman::DescribeClusterRequest;
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;

use super::processes::{write_config, wsman};
use super::support::cluster;
use super::support::world::TIMEOUT;

/// A daemon whose log can be read.
struct Logged {
    child: Child,
    log: mpsc::Receiver<String>,
}

impl Logged {
    fn start(mut command: Command) -> (Self, String) {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let addr = line.strip_prefix("wsman listens on ").expect(&line);
        let addr = addr.split(' ').next().unwrap().to_owned();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        (Self { child, log }, addr)
    }

    /// Reads until a line has all of these words.
    fn until_logged(&mut self, words: &[&str]) {
        let mut logged = Vec::new();
        while let Ok(line) = self.log.recv_timeout(TIMEOUT) {
            if words.iter().all(|word| line.contains(word)) {
                return;
            }
            logged.push(line);
        }
        panic!("the daemon does not log {words:?} but {logged:#?}");
    }

    fn hangup(&self) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-HUP", &id]).status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Points the link to another folder, as Kubernetes does with a mounted ConfigMap.
fn publish(folder: &Path, version: &str, config: &str) {
    let versioned = folder.join(version);
    std::fs::create_dir(&versioned).unwrap();
    std::fs::write(versioned.join("config.json"), config).unwrap();
    let next = folder.join("next");
    symlink(&versioned, &next).unwrap();
    std::fs::rename(next, folder.join("current")).unwrap();
}

async fn classes(client: &mut WorkspaceManagerClient<Channel>) -> Vec<String> {
    let described = client.describe_cluster(DescribeClusterRequest::default());
    let classes = described.await.unwrap().into_inner().workspace_classes;
    classes.into_iter().map(|class| class.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_is_swapped_when_it_is_right_and_kept_when_it_is_not() {
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let example = std::fs::read_to_string(write_config(folder.path(), "default", 0)).unwrap();
    publish(folder.path(), "first", &example);
    let mut command = wsman();
    command.arg("run").arg("--json-log").arg("--config");
    command.arg(folder.path().join("current/config.json"));
    command.arg("--kubeconfig").arg(&cluster.kubeconfig);
    let (mut daemon, addr) = Logged::start(command);
    let channel = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let mut client = WorkspaceManagerClient::new(channel.connect().await.unwrap());
    assert_eq!(classes(&mut client).await, ["default", "large"]);

    publish(folder.path(), "syntax", "{ \"manager\":");
    daemon.hangup();
    daemon.until_logged(&["ERROR", "going on with the configuration from before"]);
    let mut wrong: Value = serde_json::from_str(&example).unwrap();
    wrong["manager"]["timeouts"]["startup"] = "-1s".into();
    wrong["manager"]["hostURL"] = "".into();
    publish(folder.path(), "wrong", &wrong.to_string());
    daemon.hangup();
    daemon.until_logged(&["ERROR", "manager.timeouts.startup", "manager.hostURL"]);
    assert_eq!(classes(&mut client).await, ["default", "large"]);

    // Without a signal, within seconds; and what needs a restart is named.
    let mut right: Value = serde_json::from_str(&example).unwrap();
    right["manager"]["workspaceClass"]["small"] =
        right["manager"]["workspaceClass"]["large"].clone();
    right["manager"]["namespace"] = "elsewhere".into();
    right["rpcServer"]["addr"] = "127.0.0.1:1".into();
    publish(folder.path(), "right", &right.to_string());
    let renewed = async { while classes(&mut client).await.len() < 3 {} };
    tokio::time::timeout(TIMEOUT, renewed)
        .await
        .expect("the new class is there");
    daemon.until_logged(&["the configuration changed and is in use"]);
    daemon.until_logged(&["WARN", "manager.namespace, rpcServer"]);
    daemon.hangup();
    daemon.until_logged(&["the configuration is as it was"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_pod_template_is_read_again() {
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("template.yaml");
    std::fs::write(&template, "kind: Pod\napiVersion: v1\n").unwrap();
    let config = write_config(folder.path(), "default", 0);
    let text = std::fs::read_to_string(&config).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    value["manager"]["workspaceClass"]["large"]["templates"]["defaultPath"] =
        template.to_str().unwrap().into();
    std::fs::write(&config, value.to_string()).unwrap();
    let mut command = wsman();
    command
        .arg("run")
        .arg("--json-log")
        .arg("--config")
        .arg(config);
    command.arg("--kubeconfig").arg(&cluster.kubeconfig);
    let (mut daemon, _) = Logged::start(command);
    std::fs::write(&template, "kind: Service\napiVersion: [\n").unwrap();
    daemon.hangup();
    daemon.until_logged(&["ERROR", "templates.defaultPath"]);
    std::fs::write(&template, "kind: Pod\nmetadata: {labels: {tier: big}}\n").unwrap();
    daemon.hangup();
    daemon.until_logged(&["the configuration changed and is in use"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_from_standard_input_stays_as_it_is() {
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), "default", 0);
    let mut value: Value =
        serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    value["pprof"]["addr"] = "127.0.0.1:6060".into();
    std::fs::write(&config, value.to_string()).unwrap();
    let mut command = wsman();
    command.args(["run", "--json-log", "--config", "-"]);
    command.arg("--kubeconfig").arg(&cluster.kubeconfig);
    command.stdin(std::fs::File::open(&config).unwrap());
    let (mut daemon, _) = Logged::start(command);
    daemon.until_logged(&["WARN", "standard input: pprof.addr: has no effect"]);
    daemon.until_logged(&["INFO", "changes need a restart"]);
    daemon.hangup();
    daemon.until_logged(&["INFO", "cannot be read again"]);
}
