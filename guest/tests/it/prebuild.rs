//! Prebuilds: a snapshot first, then its repositories are brought up to date.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::server::Server;
use crate::support::{Pod, git, repository};

#[test]
fn a_prebuild_is_brought_up_to_date_and_its_hooks_do_not_run() {
    let srv = tempfile::tempdir().unwrap();
    let repo = srv.path().join("repo");
    repository(srv.path(), "repo");
    let server = Server::git(srv.path());
    let url = server.url("repo/.git");
    let store = json!({ "local": { "path": srv.path().join("store") } });
    let spec = json!({ "remote_uri": url, "checkout_location": "x", "target_mode": "REMOTE_BRANCH", "clone_taget": "main" });
    let first = Pod::new(json!({ "git": spec }))
        .set("store", store.clone())
        .set("save", json!({ "final_timeout": "60s" }));
    first.init_ok();
    // What the prebuild built, and what it must not get to run.
    let work = first.root().join("x");
    fs::write(work.join("built"), "built").unwrap();
    let ran = srv.path().join("ran");
    let script = format!("#!/bin/sh\ntouch {}\ncat\n", ran.display());
    for hook in [
        "post-checkout",
        "post-merge",
        "post-index-change",
        "reference-transaction",
    ] {
        fs::create_dir_all(work.join(".git/hooks")).unwrap();
        fs::write(work.join(".git/hooks").join(hook), &script).unwrap();
        fs::set_permissions(
            work.join(".git/hooks").join(hook),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
    }
    let evil = work.join(".git/hooks/post-merge").display().to_string();
    fs::write(
        work.join(".git/more"),
        format!("[filter \"evil\"]\n\tclean = {evil}\n\tsmudge = {evil}\n"),
    )
    .unwrap();
    fs::write(work.join(".git/info/attributes"), "* filter=evil\n").ok();
    git(&work, &["config", "include.path", "more"]);
    let _ = fs::remove_file(&ran);

    let mut saver = first.command("save").spawn().unwrap();
    crate::save::wait_for_save(&mut saver);
    crate::support::terminate(&saver);
    let outcome = first.outcome(&saver.wait_with_output().unwrap());
    assert!(!ran.exists(), "the saver ran something");
    let name = outcome["backup"]["name"].clone();

    fs::write(repo.join("file"), "three").unwrap();
    git(&repo, &["commit", "-qam", "three"]);
    let three = git(&repo, &["rev-parse", "HEAD"]);
    let prebuild = json!({ "prebuild": { "prebuild": { "snapshot": name }, "git": [spec] } });
    let second = Pod::new(prebuild).set("store", store.clone());
    let outcome = second.init_ok();
    assert_eq!(outcome["steps"][0]["name"], "prebuild");
    assert_eq!(outcome["steps"][1]["commit"], three);
    assert_eq!(
        (second.read("x/file"), second.read("x/built")),
        ("three".into(), "built".into())
    );
    assert!(!ran.exists(), "the update ran something");

    // A prebuild that is gone is replaced by a clone.
    let gone = json!({ "prebuild": { "prebuild": { "snapshot": "owner/workspace/0000000099-snapshot.json@local" }, "git": [spec] } });
    let third = Pod::new(gone).set("store", store);
    let outcome = third.init_ok();
    assert_eq!(outcome["steps"].as_array().unwrap().len(), 1);
    assert_eq!(third.read("x/file"), "three");
}

/// The volume came with the content of the snapshot, so there is nothing to restore and no store.
#[test]
fn repositories_come_on_top_of_what_is_on_the_volume() {
    let srv = tempfile::tempdir().unwrap();
    let repo = srv.path().join("repo");
    repository(srv.path(), "repo");
    let server = Server::git(srv.path());
    let url = server.url("repo/.git");
    let spec = json!({ "remote_uri": url, "checkout_location": "x", "target_mode": "REMOTE_BRANCH", "clone_taget": "main" });
    let first = Pod::new(json!({ "git": spec }));
    first.init_ok();
    fs::write(first.root().join("x/built"), "built").unwrap();
    fs::write(repo.join("file"), "three").unwrap();
    git(&repo, &["commit", "-qam", "three"]);

    let prebuild = json!({ "prebuild": { "from_volume_snapshot": true }, "git": [spec] });
    let composite = json!([{ "snapshot": { "from_volume_snapshot": true } }, { "git": spec }]);
    for (initializer, begins) in [
        (json!({ "prebuild": prebuild }), "prebuild"),
        (
            json!({ "composite": { "initializer": composite } }),
            "snapshot",
        ),
    ] {
        let next = Pod::new(initializer);
        fs::remove_dir(next.root()).unwrap();
        let mut copy = std::process::Command::new("cp");
        copy.arg("-a").arg(first.root()).arg(next.root());
        assert!(copy.status().unwrap().success());
        let outcome = next.init_ok();
        assert_eq!(outcome["steps"][0]["name"], begins, "{outcome}");
        assert_eq!(outcome["steps"][0]["target"], "volume snapshot");
        assert_eq!(outcome["steps"][1]["name"], "git");
        assert_eq!(next.read("x/file"), "three");
        assert_eq!(next.read("x/built"), "built");
    }
}
