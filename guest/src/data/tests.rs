//! What is written comes back whole; what fails leaves nothing.

use std::fs;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use tokio_util::sync::CancellationToken;
use wsman_store::manifest::Kind;

use super::*;
use crate::archive::Limits;

fn memory() -> Store {
    Store::over(Arc::new(InMemory::new()), "memory")
}

fn manifest(kind: Kind, uploaded: &Uploaded) -> Manifest {
    Manifest {
        version: 1,
        sequence: 0,
        kind,
        is_final: false,
        owner: "o".into(),
        workspace: "w".into(),
        instance: "i".into(),
        data: uploaded.key.clone(),
        format: FORMAT.into(),
        size: uploaded.size,
        sha256: uploaded.sha256.clone(),
        files: uploaded.written.counted.files,
        bytes: uploaded.written.counted.bytes,
        created: "2026-01-01T00:00:00Z".into(),
        request: None,
        early: false,
        git: None,
    }
}

async fn upload(store: &Store, root: &FsPath) -> Result<Uploaded, DataError> {
    let stop = CancellationToken::new();
    super::upload(store, root, ("o", "w"), Limits::default(), &stop).await
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

#[tokio::test]
async fn a_tree_of_several_parts_comes_back() {
    let tree = tempfile::tempdir().unwrap();
    let content = noise(20 << 20);
    fs::write(tree.path().join("big"), &content).unwrap();
    fs::create_dir(tree.path().join("empty")).unwrap();
    let store = memory();
    let uploaded = upload(&store, tree.path()).await.unwrap();
    assert!(uploaded.size > 2 * (8 << 20));
    let manifest = store
        .commit(manifest(Kind::Backup, &uploaded))
        .await
        .unwrap();
    let into = tempfile::tempdir().unwrap();
    let counted = download(&store, &manifest, into.path(), Limits::default())
        .await
        .unwrap();
    assert_eq!(counted.files, 1);
    assert!(fs::read(into.path().join("big")).unwrap() == content);
    assert!(into.path().join("empty").is_dir());
}

#[tokio::test]
async fn data_that_differs_from_its_manifest_is_refused() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("f"), "x").unwrap();
    let store = memory();
    let uploaded = upload(&store, tree.path()).await.unwrap();
    let good = manifest(Kind::Backup, &uploaded);
    let wrong = [
        (
            Manifest {
                size: good.size + 1,
                ..good.clone()
            },
            "bytes instead of",
        ),
        (
            Manifest {
                sha256: "0".repeat(64),
                ..good.clone()
            },
            "sha256",
        ),
        (
            Manifest {
                format: "zip".into(),
                ..good.clone()
            },
            "\"zip\"",
        ),
        (
            Manifest {
                data: "o/w/data/gone.tar.zst".into(),
                ..good
            },
            "it is not there",
        ),
    ];
    for (manifest, why) in wrong {
        let into = tempfile::tempdir().unwrap();
        let error = download(&store, &manifest, into.path(), Limits::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_stopped_upload_leaves_nothing() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("big"), noise(20 << 20)).unwrap();
    let slow = ThrottleConfig {
        wait_put_per_call: Duration::from_secs(3600),
        ..ThrottleConfig::default()
    };
    let store = Store::over(Arc::new(ThrottledStore::new(InMemory::new(), slow)), "slow");
    let stop = CancellationToken::new();
    let stopping = async {
        tokio::task::yield_now().await;
        stop.cancel();
    };
    let (result, ()) = tokio::join!(
        super::upload(&store, tree.path(), ("o", "w"), Limits::default(), &stop),
        stopping
    );
    assert_eq!(result.unwrap_err().to_string(), "stopped");
    assert!(store.latest("o", "w").await.unwrap().is_none());
}

#[tokio::test]
async fn a_tree_past_the_limit_is_never_a_backup() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("f"), "eleven bytes").unwrap();
    let store = memory();
    let stop = CancellationToken::new();
    let limits = Limits {
        max_bytes: 10,
        max_files: 10,
    };
    let error = super::upload(&store, tree.path(), ("o", "w"), limits, &stop)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the tree holds more than 10 bytes");
    let left: Vec<_> = store.inner.list(None).try_collect().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
