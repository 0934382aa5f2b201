//! `wsman client bus-tail` and `wsman run` with a bus as processes: what they print, and what they never print.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use super::*;
use crate::support::{cluster, rabbit};

fn wsman() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsman"));
    command.env_remove("WSMAN_AMQP_URL");
    command
}

async fn run(mut command: Command) -> Output {
    let running = tokio::task::spawn_blocking(move || command.output());
    tokio::time::timeout(TIMEOUT, running)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_prints_what_arrives() {
    let Some(node) = rabbit::shared("tail").await else {
        return;
    };
    let url = node.vhost("tail", "planted-password").await;
    // Its exchange does not exist yet: it reports that, or waits for it.
    let mut early = wsman();
    early
        .args(["client", "bus-tail", "--count", "1", "--no-reconnect"])
        .env("WSMAN_AMQP_URL", &url);
    let output = run(early).await;
    let output_text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output_text}");
    assert!(output_text.contains("no exchange 'wsman'"), "{output_text}");

    let mut waiting = wsman()
        .args(["client", "bus-tail", "--count", "1", "-o", "name"])
        .env("WSMAN_AMQP_URL", &url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut note = String::new();
    let mut stderr = BufReader::new(waiting.stderr.take().unwrap());
    stderr.read_line(&mut note).unwrap();
    assert_eq!(note, "there is no exchange wsman yet; waiting for it\n");

    let mut rig = Rig::connected(&url).await;
    let waiting = tokio::task::spawn_blocking(move || waiting.wait_with_output().unwrap());
    while !waiting.is_finished() {
        rig.update("w0", WorkspacePhase::Running);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let output = waiting.await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "w0\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &url).unwrap();
    for format in ["json", "table"] {
        let mut tail = wsman();
        tail.args([
            "client",
            "-o",
            format,
            "bus-tail",
            "--count",
            "1",
            "--routing-key",
            "jane.*.updates",
            "--url-file",
        ]);
        tail.arg(file.path());
        let tailing = tokio::spawn(run(tail));
        // It does not get what was published before its binding.
        while !tailing.is_finished() {
            rig.update("w0", WorkspacePhase::Running);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let output = tailing.await.unwrap();
        let output_text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        if format == "json" {
            let record: serde_json::Value = serde_json::from_str(&output_text).unwrap();
            assert_eq!(record["routing_key"], "jane.m-w0.updates");
            assert_eq!(record["status"]["phase"], "RUNNING");
            assert_eq!(record["headers"]["instanceId"], "w0");
            assert!(
                record["message_id"]
                    .as_str()
                    .unwrap()
                    .starts_with("uid-w0@")
            );
        } else {
            assert!(
                output_text.contains("w0")
                    && output_text.contains("RUNNING")
                    && output_text.contains("jane.m-w0.updates"),
                "{output_text}"
            );
        }
    }
    rig.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_without_a_broker_fails_without_printing_its_password() {
    for (url, code) in [
        ("amqp://jane:planted@127.0.0.1:1", 6),
        ("jane:planted@127.0.0.1", 1),
    ] {
        let mut tail = wsman();
        tail.args(["client", "bus-tail", "--url", url]);
        let output = run(tail).await;
        let output_text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{output_text}");
        assert!(!output_text.contains("planted"), "{output_text}");
    }
    let mut tail = wsman();
    tail.args(["client", "bus-tail"]);
    assert_eq!(run(tail).await.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_password_and_no_token_is_logged() {
    let Some(node) = rabbit::shared("log").await else {
        return;
    };
    let url = node.vhost("log", "planted-password").await;
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let (file, log) = (folder.path().join("url"), folder.path().join("log"));
    // A wrong password first, then the right one.
    std::fs::write(&file, url.replace("planted-password", "planted-wrong")).unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/example-config.json");
    let mut config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(example).unwrap()).unwrap();
    config["rpcServer"]["addr"] = "127.0.0.1:0".into();
    config["messagebus"] = serde_json::json!({ "urlFile": file });
    for key in ["health", "prometheus"] {
        config.as_object_mut().unwrap().remove(key);
    }
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let mut daemon = wsman()
        .args(["run", "--config"])
        .arg(&path)
        .arg("--kubeconfig")
        .arg(&cluster.kubeconfig)
        .env(
            "RUST_LOG",
            "info,wsman=trace,lapin=trace,amq_protocol_tcp=trace,amq_protocol=trace",
        )
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(daemon.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let addr = line.split_whitespace().nth(3).unwrap();
    let read = || std::fs::read_to_string(&log).unwrap();
    let wait = async |word: &str| {
        let waiting = async {
            while !read().contains(word) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, waiting)
            .await
            .unwrap_or_else(|_| panic!("{word}: {}", read()));
    };
    wait("ACCESS_REFUSED").await;
    std::fs::write(&file, &url).unwrap();
    wait("connected to the message bus").await;
    // No queue takes its messages: they are returned, with the token in them.
    let mut client = {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
        wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient::new(
            channel.connect_lazy(),
        )
    };
    let started = client
        .start_workspace(crate::support::world::request("secretive"))
        .await
        .unwrap();
    wait("no queue takes this message").await;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let log = read();
    for secret in ["planted", &started.into_inner().owner_token] {
        assert_eq!(log.lines().find(|line| line.contains(secret)), None);
    }
}
