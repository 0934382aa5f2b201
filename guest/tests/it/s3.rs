//! The store as S3: two real servers, the wrong keys, and connections that are cut.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use object_store::RetryConfig;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wsman_guest::archive::Limits;
use wsman_guest::data::upload;
use wsman_store::Store;
use wsman_store::settings::StoreSettings;

use crate::support::{Pod, lacks, terminate};

/// A server with a bucket.
pub(crate) struct S3 {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    _dir: tempfile::TempDir,
    process: Option<Child>,
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Every server that can be had, so that no store is judged by the manners of one.
pub(crate) fn servers(test: &str) -> Vec<S3> {
    let program = Path::new(env!("CARGO_BIN_EXE_wsman-guest"));
    let gateway = program.ancestors().nth(2).unwrap().join("tools/versitygw");
    let mut servers = vec![s3s()];
    if gateway.exists() || !lacks(test, "versitygw", "versitygw in target/tools") {
        servers.push(versitygw(&gateway));
    }
    servers
}

/// s3s-fs, in this process; it ends with it.
fn s3s() -> S3 {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("bucket")).unwrap();
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).unwrap());
    service.set_auth(SimpleAuth::from_single("key", "secret"));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    });
    S3 {
        name: "s3s-fs",
        port,
        _dir: dir,
        process: None,
    }
}

/// versitygw over a directory, with what it knows of objects beside it.
fn versitygw(program: &Path) -> S3 {
    let dir = tempfile::tempdir().unwrap();
    for name in ["buckets/bucket", "about"] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    // A socket, because a port that is free now may be another's when it starts.
    let socket = dir.path().join("socket");
    let mut process = Command::new(program)
        .args(["--quiet", "--access", "key", "--secret", "secret", "--port"])
        .arg(&socket)
        .arg("posix")
        .arg("--sidecar")
        .arg(dir.path().join("about"))
        .arg(dir.path().join("buckets"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while UnixStream::connect(&socket).is_err() {
        assert!(process.try_wait().unwrap().is_none(), "versitygw ended");
        std::thread::yield_now();
    }
    let port = in_front_of(socket);
    S3 {
        name: "versitygw",
        port,
        _dir: dir,
        process: Some(process),
    }
}

/// A port whose connections lead to a socket.
fn in_front_of(socket: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = UnixStream::connect(&socket) else {
                return;
            };
            let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = io::copy(&mut from, &mut into);
                let _ = into.shutdown(Shutdown::Write);
            });
            let (mut from, mut into) = (server, client);
            std::thread::spawn(move || {
                let _ = io::copy(&mut from, &mut into);
                let _ = into.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

pub(crate) fn settings(port: u16, secret: &str) -> Value {
    json!({ "s3": { "bucket": "bucket", "region": "us-east-1", "allow_http": true, "path_style": true,
        "endpoint": format!("http://127.0.0.1:{port}"), "access_key_id": "key", "secret_access_key": secret } })
}

/// Opens a store that gives up after one retry.
pub(crate) fn impatient(port: u16) -> Store {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings: StoreSettings = serde_json::from_value(settings(port, "secret")).unwrap();
    let retry = RetryConfig {
        max_retries: 1,
        retry_timeout: Duration::from_secs(5),
        ..RetryConfig::default()
    };
    Store::open_with(&settings, retry).unwrap()
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut bytes)
        .unwrap();
    bytes
}

/// Saves a file with the real binary, whose last backup may take `within`.
pub(crate) fn save_within(store: &Value, content: &[u8], within: &str) -> Value {
    let pod = Pod::new(json!({}))
        .set("store", store.clone())
        .set("save", json!({ "final_timeout": within }));
    fs::write(pod.root().join("file"), content).unwrap();
    let mut child = pod.command("save").spawn().unwrap();
    crate::save::wait_for_save(&mut child);
    terminate(&child);
    pod.outcome(&child.wait_with_output().unwrap())
}

pub(crate) fn save(store: &Value, content: &[u8]) -> Value {
    save_within(store, content, "60s")
}

/// The newest content of the store.
pub(crate) fn restored(port: u16) -> (String, Vec<u8>) {
    let pod = Pod::new(json!({ "backup": {} })).set("store", settings(port, "secret"));
    let outcome = pod.init_ok();
    let name = outcome["restored"]["name"].as_str().unwrap().to_owned();
    (name, fs::read(pod.root().join("file")).unwrap())
}

#[test]
fn backups_go_to_s3_in_parts_and_come_back() {
    for s3 in servers("backups_go_to_s3_in_parts_and_come_back") {
        let store = settings(s3.port, "secret");
        let content = noise(20 << 20);
        let outcome = save(&store, &content);
        assert_eq!(
            outcome["backup"]["name"], "owner/workspace/0000000001-backup.json@bucket",
            "{}: {outcome}",
            s3.name
        );
        let outcome = save(&store, b"small");
        assert_eq!(outcome["backup"]["sequence"], 2, "{}: {outcome}", s3.name);

        let first =
            json!({ "snapshot": { "snapshot": "owner/workspace/0000000001-backup.json@bucket" } });
        let pod = Pod::new(first).set("store", store);
        pod.init_ok();
        assert!(
            fs::read(pod.root().join("file")).unwrap() == content,
            "{}",
            s3.name
        );
        assert_eq!(restored(s3.port).1, b"small", "{}", s3.name);
    }
}

#[test]
fn old_backups_go_and_the_last_three_stay() {
    for s3 in servers("old_backups_go_and_the_last_three_stay") {
        let store = settings(s3.port, "secret");
        for number in 1..=5 {
            let outcome = save(&store, format!("{number}").as_bytes());
            assert_eq!(
                outcome["backup"]["sequence"], number,
                "{}: {outcome}",
                s3.name
            );
        }
        assert_eq!(restored(s3.port).1, b"5", "{}", s3.name);
        for (number, there) in [(2, false), (3, true)] {
            let name = format!("owner/workspace/000000000{number}-backup.json@bucket");
            let pod =
                Pod::new(json!({ "snapshot": { "snapshot": name } })).set("store", store.clone());
            let outcome = pod.init();
            assert_eq!(outcome["ok"], there, "{}: {outcome}", s3.name);
            if !there {
                let message = outcome["message"].as_str().unwrap();
                assert!(
                    message.ends_with("in the store: it is not there"),
                    "{}: {message}",
                    s3.name
                );
            }
        }
    }
}

#[test]
fn wrong_keys_and_buckets_are_plain_messages() {
    for s3 in servers("wrong_keys_and_buckets_are_plain_messages") {
        let mut nowhere = settings(s3.port, "secret");
        nowhere["s3"]["bucket"] = json!("nowhere");
        let wrong = settings(s3.port, "wrong");
        for (store, why) in [
            (wrong, "in the store: access is denied"),
            (nowhere, "in the store: the bucket does not exist"),
        ] {
            // This one makes the buckets that it is asked for.
            if s3.name == "s3s-fs" && why.ends_with("not exist") {
                continue;
            }
            let outcome = save(&store, b"x");
            let message = outcome["message"].as_str().unwrap_or_default();
            assert!(message.ends_with(why), "{}: {outcome}", s3.name);
        }
    }
}

/// Passes bytes on until `budget` of them went to the server, then cuts every connection.
fn cutter(to: u16, budget: i64) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let left = Arc::new(AtomicI64::new(budget));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let pairs = [
                (
                    client.try_clone().unwrap(),
                    server.try_clone().unwrap(),
                    true,
                ),
                (server, client, false),
            ];
            for (mut from, mut into, counted) in pairs {
                let left = left.clone();
                std::thread::spawn(move || {
                    let mut buffer = [0; 65536];
                    while let Ok(read @ 1..) = from.read(&mut buffer) {
                        let cost = if counted { read as i64 } else { 0 };
                        if left.fetch_sub(cost, Ordering::SeqCst) < cost
                            || into.write_all(&buffer[..read]).is_err()
                        {
                            break;
                        }
                    }
                    let _ = from.shutdown(Shutdown::Both);
                    let _ = into.shutdown(Shutdown::Both);
                });
            }
        }
    });
    port
}

#[test]
fn a_cut_upload_leaves_the_last_backup_as_it_was() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for s3 in servers("a_cut_upload_leaves_the_last_backup_as_it_was") {
        save(&settings(s3.port, "secret"), b"before");
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("file"), noise(20 << 20)).unwrap();
        for budget in [100, 12 << 20] {
            let store = impatient(cutter(s3.port, budget));
            let stop = CancellationToken::new();
            let of = ("owner", "workspace");
            let uploading = upload(&store, tree.path(), of, Limits::default(), &stop);
            let error = runtime.block_on(uploading).unwrap_err().to_string();
            let begins = "cannot write owner/workspace/data/";
            assert!(error.starts_with(begins), "{}: {error}", s3.name);
        }
        let (name, content) = restored(s3.port);
        assert_eq!(
            name, "owner/workspace/0000000001-backup.json@bucket",
            "{}",
            s3.name
        );
        assert_eq!(content, b"before", "{}", s3.name);
    }
}
