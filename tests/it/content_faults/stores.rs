//! A store that takes nothing more: the failure is stated, and what it had before stays valid.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use wsman::proto::wsman::*;

use super::desk::*;
use crate::support::skip_without;

/// Saves, breaks the store, and works on until the end; then the store is repaired.
async fn breaks(desk: &Desk, breaks: impl FnOnce(), repairs: impl FnOnce(), reason: &str) {
    let world = desk.world().await;
    let mut updates = world.subscribe().await;
    desk.run(&world.client, "one", empty()).await;
    let work = desk.work("one", "work", 1).await;
    let name = backup(&world.client, "one").await;
    desk.work("one", "unsaved", LARGE).await;
    breaks();
    let refused = snapshot(&world.client, "one").await.unwrap_err();
    let why = refused.message();
    assert!(why.starts_with("cannot take snapshot: "), "{why}");
    assert!(why.contains(reason), "{why}");
    let status = world.describe("one").await.unwrap();
    assert_eq!(status.phase(), WorkspacePhase::Running, "it goes on");
    stop(&world.client, "one").await;
    let last = updates.until("one", WorkspacePhase::Stopped).await;
    let conditions = last.conditions.unwrap();
    let failed = conditions.failed.as_str();
    assert!(failed.starts_with("last backup failed: "), "{failed}");
    assert!(failed.contains(reason), "{failed}");
    assert!(failed.contains(AGE), "{failed}");
    assert_ne!(conditions.final_backup_complete(), YES);
    repairs();
    assert_eq!(desk.manifests().len(), 1);
    desk.restores(&world.client, None, &work).await;
    desk.restores(&world.client, Some(&name), &work).await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_a_file() {
    let desk = Desk::open(SELDOM).await;
    let (data, kept) = (desk.store().join("jane"), desk.folder().join("kept"));
    let replace = || {
        std::fs::rename(&data, &kept).unwrap();
        std::fs::write(&data, "").unwrap();
    };
    let repair = || {
        std::fs::remove_file(&data).unwrap();
        std::fs::rename(&kept, &data).unwrap();
    };
    breaks(&desk, replace, repair, "ot a directory").await;
}

/// For root no directory is read-only, but for one of a read-only file system.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_read_only() {
    let desk = Desk::open(SELDOM).await;
    if rustix::process::getuid().is_root() {
        let Some(mount) = Mount::new("a_directory_that_is_read_only", &desk.store(), "64m") else {
            return;
        };
        let (close, open) = (|| mount.again("ro"), || mount.again("rw"));
        return breaks(&desk, close, open, "Read-only file system").await;
    }
    let folders = [
        desk.store().join("jane/demo"),
        desk.store().join("jane/demo/data"),
    ];
    let set = |mode: u32| {
        for folder in &folders {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(folder, permissions).unwrap();
        }
    };
    breaks(&desk, || set(0o500), || set(0o700), "ermission denied").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_full() {
    let desk = Desk::open(SELDOM).await;
    // Room for the first backup, and not for the second.
    let Some(_mount) = Mount::new("a_directory_that_is_full", &desk.store(), "8m") else {
        return;
    };
    breaks(&desk, || {}, || {}, "it is full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_full() {
    let mut desk = Desk::open(SELDOM).await;
    let full = desk.serve_store().await;
    let set = |is_full| full.store(is_full, Ordering::SeqCst);
    breaks(&desk, || set(true), || set(false), "it is full").await;
}

/// A limit on files, as a quota would have it, needs no rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_may_not_be_that_large() {
    let mut desk = Desk::open(SELDOM).await;
    let limited = desk.folder().join("limited-guest");
    // In units of 512 bytes.
    let script = format!(
        "#!/bin/sh\ntrap '' XFSZ\nulimit -f 8192\nexec {} \"$@\"\n",
        desk.guest.display()
    );
    std::fs::write(&limited, script).unwrap();
    let executable = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&limited, executable).unwrap();
    desk.guest = limited;
    breaks(&desk, || {}, || {}, "File too large").await;
}

/// A file system in memory, which is gone with the test.
struct Mount(PathBuf);

impl Mount {
    /// None without the right to mount, which is named.
    fn new(test: &str, at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]);
        if !mount
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success())
        {
            skip_without(test, "mounts", "right to mount");
            return None;
        }
        Some(Self(at.to_owned()))
    }

    fn again(&self, how: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(&self.0);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
