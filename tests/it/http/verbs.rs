//! `wsman client -H http://...`: every verb does over HTTP what it does over gRPC, with and without TLS.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use wsman::config::{ClientAuth, Tls};
use wsman::proto::wsman::WorkspacePhase;
use wsman::server::listen;

use crate::support::cluster;
use crate::support::world::{World, request};

fn command(address: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsman"));
    command.arg("client").args(["-H", address]).args(args);
    command.env_remove("WSMAN_HOST").stdin(Stdio::null());
    command
}

pub(crate) async fn run(address: &str, args: &[&str]) -> Output {
    let mut command = command(address, args);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// Ends with the test, however that ends.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verbs_do_the_same_by_either_protocol() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("start.json");
    std::fs::write(&file, serde_json::to_string(&request("a")).unwrap()).unwrap();
    let file = file.to_str().unwrap();
    let (grpc, rpc, bare) = (
        format!("grpc://{}", world.addr),
        format!("http://{}/rpc", world.addr),
        format!("http://{}", world.addr),
    );
    let mut watch = Watch(
        command(&rpc, &["watch", "-o", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let started = run(&rpc, &["start", "-f", file, "--wait", "-o", "json"]).await;
    assert_eq!(started.status.code(), Some(0), "{}", stderr(&started));
    for args in [
        &["list", "-o", "json"][..],
        &["describe", "a", "-o", "json"],
        &["describe", "none"],
        &["cluster", "-o", "json"],
        &["mark-active", "a"],
        &["mark-active", "none"],
        &["set-timeout", "none", "1h"],
        &["port", "expose", "none", "8080"],
        &["admission", "none", "everyone"],
        &["ssh-keys", "none", "--none"],
        &["snapshot", "none"],
        &["backup", "none"],
    ] {
        let wanted = run(&grpc, args).await;
        for address in [&rpc, &bare] {
            let output = run(address, args).await;
            assert_eq!(
                output.status,
                wanted.status,
                "{args:?}: {}",
                stderr(&output)
            );
            assert_eq!(output.stdout, wanted.stdout, "{args:?}");
            assert_eq!(
                stderr(&output).replace(address.as_str(), &grpc),
                stderr(&wanted),
                "{args:?}"
            );
        }
    }
    let stopped = run(&rpc, &["stop", "a", "--wait"]).await;
    assert_eq!(stopped.status.code(), Some(0), "{}", stderr(&stopped));
    let lines = BufReader::new(watch.0.stdout.take().unwrap()).lines();
    let last = tokio::task::spawn_blocking(move || {
        lines
            .map(Result::unwrap)
            .find(|line| line.contains(WorkspacePhase::Stopped.as_str_name()))
    });
    assert!(last.await.unwrap().is_some());
    drop(watch);
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_to_connect_are_printed_plainly() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    for (address, code, words) in [
        (
            "http://127.0.0.1:1/rpc".to_owned(),
            6,
            "cannot reach the server: Connection refused",
        ),
        (
            format!("http://{}/elsewhere", world.addr),
            1,
            "there is no RPC at /elsewhere/GetWorkspaces",
        ),
        (
            format!("https://{}/rpc", world.addr),
            2,
            "https:// needs --ca",
        ),
        ("http:///rpc".to_owned(), 2, "invalid address"),
        (
            "http://user@127.0.0.1:1/rpc".to_owned(),
            2,
            "invalid address",
        ),
        (
            "http://127.0.0.1:1/rpc?x=1".to_owned(),
            2,
            "invalid address",
        ),
        ("ftp://127.0.0.1:1".to_owned(), 2, "unknown scheme"),
    ] {
        let output = run(&address, &["list"]).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{address}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(words),
            "{address}: {}",
            stderr(&output)
        );
    }
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_protects_json_too() {
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let make = || generate_simple_self_signed(vec!["ws-manager".to_owned()]).unwrap();
    let CertifiedKey { cert, signing_key } = make();
    let (certificate, key) = (
        write("tls.crt", cert.pem()),
        write("tls.key", signing_key.serialize_pem()),
    );
    let other = write("other.crt", make().cert.pem());
    let files = Tls {
        ca: String::new(),
        cert: certificate.clone(),
        key,
    };
    let tls = listen::tls(&files, ClientAuth::None).unwrap();
    let world = World::start_secure(&cluster, tls).await;
    let address = format!("https://{}/rpc", world.addr);
    for (args, code) in [
        (vec!["--ca", &certificate, "cluster"], 0),
        (vec!["--ca", &other, "cluster"], 6),
        (
            vec!["--ca", &certificate, "--server-name", "other", "cluster"],
            6,
        ),
        (vec!["cluster"], 2),
    ] {
        let output = run(&address, &args).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            stderr(&output)
        );
    }
    // Without TLS there is no server.
    let output = run(&format!("http://{}/rpc", world.addr), &["cluster"]).await;
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    world.drain().await.unwrap();
}
