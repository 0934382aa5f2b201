//! What others put into stores and repositories: each is refused with a reason, and leaves nothing behind.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::git::{add_submodule, clone};
use crate::invariant::{save_here, workspace};
use crate::server::Server;
use crate::support::{Pod, git, repository};

/// A tar stream of entries: path, kind, target, content.
fn tar(entries: &[(&str, EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (path, kind, link, data) in entries {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o777);
        header.set_size(data.len() as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        tar.append(&header, *data).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Puts an archive into a store with a manifest that fits.
fn forge(store: &Path, tar: &[u8], window_log: u32) {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.write_all(tar).unwrap();
    let data = encoder.finish().unwrap();
    let home = store.join("owner/workspace");
    fs::create_dir_all(home.join("data")).unwrap();
    fs::write(home.join("data/forged.tar.zst"), &data).unwrap();
    let manifest = json!({
        "version": 1, "sequence": 1, "kind": "backup", "final": true, "owner": "owner", "workspace": "workspace",
        "instance": "i", "data": "owner/workspace/data/forged.tar.zst", "format": "tar+zstd", "size": data.len(),
        "sha256": format!("{:x}", Sha256::digest(&data)), "files": 1, "bytes": 1, "created": "2026-01-01T00:00:00Z",
    });
    fs::write(home.join("0000000001-backup.json"), manifest.to_string()).unwrap();
}

#[test]
fn archives_that_leave_the_workspace_or_hold_devices_are_refused() {
    use EntryType::{Char, Directory, Link, Regular, Symlink};
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let (dir, file) = (outside.path().to_str().unwrap(), victim.to_str().unwrap());
    let mut two_sizes = Builder::new(Vec::new());
    two_sizes
        .append_pax_extensions([("size", b"1024".as_slice())])
        .unwrap();
    let mut two_sizes = two_sizes.into_inner().unwrap();
    two_sizes.truncate(1024);
    two_sizes.extend(tar(&[("f", Regular, "", b"12345678")]));
    for (archive, why) in [
        (
            tar(&[("../out", Regular, "", b"x")]),
            "path `../out` leaves its root by `..`".to_owned(),
        ),
        (tar(&[("c", Char, "", b"")]), "`c` is a device".into()),
        (
            tar(&[("l", Link, file, b"")]),
            format!("hard link `l`: path `{file}` is absolute"),
        ),
        (
            tar(&[("s", Symlink, dir, b""), ("s/victim", Regular, "", b"x")]),
            "`s/victim` leads through a link or a file".into(),
        ),
        // RUSTSEC-2026-0067: a mode set through a link.
        (
            tar(&[("s", Symlink, file, b""), ("s", Directory, "", b"")]),
            "`s` comes twice".into(),
        ),
        // RUSTSEC-2026-0068: two readers, two sizes.
        (
            two_sizes,
            "`f` has two sizes, 8 in its header and 1024 in its PAX record".into(),
        ),
    ] {
        let store = tempfile::tempdir().unwrap();
        forge(store.path(), &archive, 20);
        let message = workspace(store.path()).init_fails();
        assert_eq!(message, format!("the archive is refused: {why}"));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    }
}

#[tokio::test]
async fn backups_that_expand_past_the_limit_are_refused() {
    let store = tempfile::tempdir().unwrap();
    let pod = workspace(store.path());
    // Some kB in the store.
    File::create(pod.root().join("zeros"))
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    let saved = save_here(&pod).await.backup.unwrap();
    assert!(saved.size < 100_000, "{saved:?}");
    let limited = workspace(store.path()).set("limits", json!({ "max_bytes": 1 << 20 }));
    assert_eq!(
        limited.init_fails(),
        "the tree holds more than 1048576 bytes"
    );

    // A frame that wants 128 MiB of memory to be read.
    forge(
        store.path(),
        &tar(&[("f", EntryType::Regular, "", b"x")]),
        27,
    );
    let message = workspace(store.path()).init_fails();
    assert!(
        message.starts_with("cannot read the archive: "),
        "{message}"
    );
    assert!(message.contains("too much memory"), "{message}");
}

#[tokio::test]
async fn more_files_than_are_allowed_are_neither_saved_nor_restored() {
    let store = tempfile::tempdir().unwrap();
    let pod = workspace(store.path());
    for name in ["a", "b", "c", "d"] {
        fs::write(pod.root().join(name), name).unwrap();
    }
    assert!(save_here(&pod).await.ok);
    let few = json!({ "max_files": 3 });
    let why = "the tree holds more than 3 files";
    let limited = workspace(store.path()).set("limits", few.clone());
    assert_eq!(limited.init_fails(), why);
    let outcome = save_here(&pod.set("limits", few)).await;
    assert_eq!(outcome.message.as_deref(), Some(why));
    let last = outcome.last.unwrap();
    assert_eq!(last.name, "owner/workspace/0000000001-backup.json@local");
}

#[test]
fn manifests_that_are_none_or_name_what_others_own_are_refused() {
    let change = |member: &str, value: Value| {
        let store = tempfile::tempdir().unwrap();
        forge(
            store.path(),
            &tar(&[("f", EntryType::Regular, "", b"x")]),
            20,
        );
        let path = store.path().join("owner/workspace/0000000001-backup.json");
        let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        manifest[member] = value;
        fs::write(&path, manifest.to_string()).unwrap();
        workspace(store.path()).init_fails()
    };
    let name = "owner/workspace/0000000001-backup.json";
    for (member, value, why) in [
        (
            "owner",
            json!("mallory"),
            "the backup belongs to another owner".to_owned(),
        ),
        (
            "data",
            json!("mallory/workspace/data/forged.tar.zst"),
            format!("the manifest of {name}@local names data of others"),
        ),
        (
            "data",
            json!("owner/workspace/data/../../../mallory/x"),
            "cannot read owner/workspace/data/../../../mallory/x in the store: ".into(),
        ),
        (
            "version",
            json!(2),
            format!("the manifest {name} has version 2; only version 1 is known"),
        ),
        (
            "size",
            json!("x"),
            format!("the manifest {name} is not understood: "),
        ),
        (
            "size",
            json!(7),
            "the data owner/workspace/data/forged.tar.zst is not what its manifest says: ".into(),
        ),
        (
            "sha256",
            json!("0".repeat(64)),
            "the data owner/workspace/data/forged.tar.zst is not what its manifest says: sha256 "
                .into(),
        ),
    ] {
        let message = change(member, value);
        assert!(message.starts_with(&why), "{member}: {message}");
    }
}

#[test]
fn names_that_are_no_text_are_cloned_and_named_in_the_status() {
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let repo = srv.path().join("repo");
    let name = OsStr::from_bytes(b"na\xffme\n");
    fs::write(repo.join(name), "content").unwrap();
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "-qm", "name"]);
    let server = Server::git(srv.path());
    let pod = Pod::new(clone(&server.url("repo/.git"), json!({})))
        .set(
            "store",
            json!({ "local": { "path": srv.path().join("store") } }),
        )
        .set("save", json!({ "final_timeout": "60s" }));
    pod.init_ok();
    let work = pod.root().join("x");
    assert_eq!(fs::read_to_string(work.join(name)).unwrap(), "content");
    fs::write(work.join(OsStr::from_bytes(b"new\xfe")), "x").unwrap();
    let mut child = pod.command("save").spawn().unwrap();
    crate::save::wait_for_save(&mut child);
    crate::support::terminate(&child);
    let outcome = pod.outcome(&child.wait_with_output().unwrap());
    assert_eq!(outcome["git"]["untracked_files"], json!(["new\u{fffd}"]));
}

#[test]
fn submodules_that_lead_back_or_too_deep_end() {
    let srv = tempfile::tempdir().unwrap();
    let server = Server::git(srv.path());
    let url = |name: &str| server.url(&format!("{name}/.git"));
    let [a, ..] = repository(srv.path(), "a");
    let [b, ..] = repository(srv.path(), "b");
    add_submodule(&srv.path().join("a"), "b", &url("b"), &b);
    // The commit that `a` names has to be the one with the way back.
    add_submodule(&srv.path().join("b"), "a", &url("a"), &a);
    let b = git(&srv.path().join("b"), &["rev-parse", "HEAD"]);
    git(
        &srv.path().join("a"),
        &["update-index", "--cacheinfo", &format!("160000,{b},b")],
    );
    git(&srv.path().join("a"), &["commit", "-qm", "loop"]);
    let message = Pod::new(clone(&url("a"), json!({}))).init_fails();
    assert_eq!(
        message,
        format!(
            "cannot clone the submodule `a` from {}: it contains itself",
            url("a")
        )
    );

    let [mut below, ..] = repository(srv.path(), "m9");
    for level in (0..9).rev() {
        let (name, next) = (format!("m{level}"), format!("m{}", level + 1));
        repository(srv.path(), &name);
        let repo = srv.path().join(&name);
        add_submodule(&repo, "m", &url(&next), &below);
        below = git(&repo, &["rev-parse", "HEAD"]);
    }
    let message = Pod::new(clone(&url("m0"), json!({}))).init_fails();
    assert_eq!(
        message,
        format!(
            "cannot clone the submodule `m` from {}: submodules are nested more than 8 deep",
            url("m9")
        )
    );
}

#[test]
fn upstreams_are_checked_as_remotes_are() {
    let url = "https://u:marker@host/x";
    let pod = Pod::new(clone(
        "https://host/x",
        json!({ "upstream_Remote_uri": url }),
    ));
    assert_eq!(
        pod.init_fails(),
        "the remote \"https://host/x\" is refused: it contains credentials; they belong into the Git config"
    );
    let pod = Pod::new(clone(
        "https://host/x",
        json!({ "upstream_Remote_uri": "ext::sh" }),
    ));
    let message = pod.init_fails();
    assert!(
        message.starts_with("the remote \"ext::sh\" is refused: "),
        "{message}"
    );
}
