//! What is committed is found, and what is kept keeps its data.

use object_store::memory::InMemory;

use super::*;

fn memory() -> Store {
    Store::over(Arc::new(InMemory::new()), "memory")
}

/// Puts data into the store and returns its key.
async fn put(store: &Store, number: usize) -> String {
    let data = format!("o/w/data/{number}.tar.zst");
    let content = number.to_string().into_bytes();
    let path = key(&data).unwrap();
    store.inner.put(&path, content.into()).await.unwrap();
    data
}

fn manifest(kind: Kind, data: &str) -> Manifest {
    Manifest {
        version: 1,
        sequence: 0,
        kind,
        is_final: false,
        owner: "o".into(),
        workspace: "w".into(),
        instance: "i".into(),
        data: data.to_owned(),
        format: "tar+zstd".into(),
        size: 1,
        sha256: "0".repeat(64),
        files: 1,
        bytes: 1,
        created: "2026-01-01T00:00:00Z".into(),
        request: None,
        early: false,
        git: None,
    }
}

#[tokio::test]
async fn sequences_count_up_and_conflicts_take_the_next() {
    let store = memory();
    let data = put(&store, 0).await;
    let one = store.commit(manifest(Kind::Backup, &data)).await.unwrap();
    let two = store.commit(manifest(Kind::Snapshot, &data)).await.unwrap();
    assert_eq!((one.sequence, two.sequence), (1, 2));
    let different = Manifest {
        instance: "other".into(),
        ..manifest(Kind::Backup, &data)
    };
    let (three, four) = tokio::join!(
        store.commit(manifest(Kind::Backup, &data)),
        store.commit(different)
    );
    let mut sequences = [three.unwrap().sequence, four.unwrap().sequence];
    sequences.sort_unstable();
    assert_eq!(sequences, [3, 4]);
    let (name, latest) = store.latest("o", "w").await.unwrap().unwrap();
    assert_eq!(
        (name.as_str(), latest.sequence),
        ("0000000004-backup.json", 4)
    );
}

#[tokio::test]
async fn retention_keeps_the_last_backups_every_snapshot_and_shared_data() {
    let store = memory();
    let mut keys = Vec::new();
    for (number, kind) in [Kind::Backup, Kind::Snapshot, Kind::Backup, Kind::Backup]
        .into_iter()
        .enumerate()
    {
        let data = put(&store, number).await;
        store.commit(manifest(kind, &data)).await.unwrap();
        keys.push(data);
    }
    // A second manifest over the data of the third.
    store
        .commit(manifest(Kind::Backup, &keys[2]))
        .await
        .unwrap();
    store.prune("o", "w", 1).await.unwrap();
    let names: Vec<_> = store
        .list("o", "w")
        .await
        .unwrap()
        .into_iter()
        .map(|listed| listed.name)
        .collect();
    assert_eq!(
        names,
        ["0000000002-snapshot.json", "0000000005-backup.json"]
    );
    for (data, there) in keys.iter().zip([false, true, true, false]) {
        let found = store.inner.head(&key(data).unwrap()).await.is_ok();
        assert_eq!(found, there, "{}", data);
    }
}

#[tokio::test]
async fn a_name_that_was_given_early_finds_what_was_saved_under_it() {
    let store = memory();
    let name = BackupName::of_request("o", "w", Kind::Snapshot, "a-1", "memory");
    let data = put(&store, 0).await;
    store.commit(manifest(Kind::Snapshot, &data)).await.unwrap();
    assert_eq!(store.resolve(&name).await.unwrap(), None);
    let answering = Manifest {
        request: Some("a-1".into()),
        early: true,
        ..manifest(Kind::Snapshot, &data)
    };
    store.commit(answering).await.unwrap();
    let file = store.resolve(&name).await.unwrap().unwrap();
    assert_eq!(file, "0000000002-snapshot-a-1.json");
    let found = store.manifest("o", "w", &file).await.unwrap();
    assert_eq!(found.request.as_deref(), Some("a-1"));
    let by_file = BackupName {
        manifest: file.clone(),
        ..name
    };
    assert_eq!(store.resolve(&by_file).await.unwrap(), Some(file));
}

#[test]
fn reasons_are_plain() {
    let generic = |text: &str| Error::Generic {
        store: "S3",
        source: text.into(),
    };
    for (error, plain) in [
        (
            generic("403 Forbidden: <Code>RequestTimeTooSkewed</Code>"),
            "the clock of this node differs too much from that of the store",
        ),
        (
            generic("<Code>NoSuchBucket</Code>"),
            "the bucket does not exist",
        ),
        (
            Error::Generic {
                store: "LocalFileSystem",
                source: Box::new(io::Error::from(io::ErrorKind::StorageFull)),
            },
            "it is full",
        ),
        (
            Error::PermissionDenied {
                path: "p".into(),
                source: "x".into(),
            },
            "access is denied",
        ),
    ] {
        assert_eq!(reason(&error), plain);
    }
}
