//! The official clients, unmodified: see `scripts/clients`.

use std::process::Command;

use crate::support::cluster;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn official_clients_get_their_answers() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let folder = tempfile::tempdir().unwrap();
    let descriptors = folder.path().join("descriptors.bin");
    std::fs::write(&descriptors, wsman::proto::DESCRIPTORS).unwrap();
    let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/clients"));
    script.arg(world.addr.to_string()).arg(&descriptors);
    let done = tokio::task::spawn_blocking(move || script.output().unwrap())
        .await
        .unwrap();
    let stdout = String::from_utf8_lossy(&done.stdout);
    eprint!("{stdout}");
    assert!(
        done.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    // A script that runs nothing would not fail either.
    for client in ["curl", "grpcurl", "python", "node"] {
        let lines = || {
            stdout
                .lines()
                .filter(|line| line.contains(&format!(" {client}")))
        };
        assert!(
            lines().any(|line| line.starts_with("ok ") || line.starts_with("skipped ")),
            "{client}: {stdout}"
        );
    }
    world.drain().await.unwrap();
}
