//! The store as S3: a real server in this process, with the wrong keys, and cut off.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
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

use crate::support::{Pod, terminate};

/// Serves the buckets in `dir`; it ends with the process.
fn s3(dir: &Path) -> u16 {
    fs::create_dir(dir.join("bucket")).unwrap();
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir).unwrap());
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
    port
}

fn settings(port: u16, secret: &str) -> Value {
    json!({ "s3": { "bucket": "bucket", "region": "us-east-1", "allow_http": true, "path_style": true,
        "endpoint": format!("http://127.0.0.1:{port}"), "access_key_id": "key", "secret_access_key": secret } })
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut bytes)
        .unwrap();
    bytes
}

fn save(store: &Value, content: &[u8]) -> Value {
    let pod = Pod::new(json!({}))
        .set("store", store.clone())
        .set("save", json!({ "final_timeout": "60s" }));
    fs::write(pod.root().join("file"), content).unwrap();
    let mut child = pod.command("save").spawn().unwrap();
    crate::save::wait_for_save(&mut child);
    terminate(&child);
    pod.outcome(&child.wait_with_output().unwrap())
}

#[test]
fn backups_go_to_s3_in_parts_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let port = s3(dir.path());
    let content = noise(20 << 20);
    let outcome = save(&settings(port, "secret"), &content);
    assert_eq!(
        outcome["backup"]["name"], "owner/workspace/0000000001-backup.json@bucket",
        "{outcome}"
    );
    let outcome = save(&settings(port, "secret"), b"small");
    assert_eq!(outcome["backup"]["sequence"], 2, "{outcome}");

    let first =
        json!({ "snapshot": { "snapshot": "owner/workspace/0000000001-backup.json@bucket" } });
    let pod = Pod::new(first).set("store", settings(port, "secret"));
    pod.init_ok();
    assert!(fs::read(pod.root().join("file")).unwrap() == content);
    let pod = Pod::new(json!({ "backup": {} })).set("store", settings(port, "secret"));
    pod.init_ok();
    assert_eq!(pod.read("file"), "small");
}

#[test]
fn wrong_keys_are_a_plain_message() {
    let dir = tempfile::tempdir().unwrap();
    let port = s3(dir.path());
    let outcome = save(&settings(port, "wrong"), b"x");
    let message = outcome["message"].as_str().unwrap();
    assert!(
        message.ends_with("in the store: access is denied"),
        "{message}"
    );
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

#[tokio::test]
async fn a_cut_upload_leaves_the_last_backup_as_it_was() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let port = s3(dir.path());
    tokio::task::spawn_blocking(move || save(&settings(port, "secret"), b"before"))
        .await
        .unwrap();
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("file"), noise(30 << 20)).unwrap();
    for budget in [100, 5 << 20, 20 << 20] {
        let cut: StoreSettings =
            serde_json::from_value(settings(cutter(port, budget), "secret")).unwrap();
        let retry = RetryConfig {
            max_retries: 1,
            retry_timeout: Duration::from_secs(5),
            ..RetryConfig::default()
        };
        let store = Store::open_with(&cut, retry).unwrap();
        let stop = CancellationToken::new();
        let of = ("owner", "workspace");
        let error = upload(&store, tree.path(), of, Limits::default(), &stop)
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot write owner/workspace/data/"),
            "{error}"
        );
    }
    let pod = Pod::new(json!({ "backup": {} })).set("store", settings(port, "secret"));
    let outcome = pod.init_ok();
    assert_eq!(
        outcome["restored"]["name"],
        "owner/workspace/0000000001-backup.json@bucket"
    );
    assert_eq!(pod.read("file"), "before");
}
