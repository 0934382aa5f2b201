//! Saving: at an interval, on request and at the end; what fails leaves the last backup valid.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::support::{Pod, terminate};

/// Waits until the saver runs: it asks for a snapshot of nothing and gets an answer for its id.
pub(crate) fn wait_for_save(child: &mut Child) {
    // The handler of the signal is there before the state directory is read.
    let fds = format!("/proc/{}/status", child.id());
    loop {
        let text = fs::read_to_string(&fds).unwrap_or_default();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
        let mask = caught
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .unwrap_or(0);
        if mask & (1 << 14) != 0 {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "the saver ended");
        std::thread::yield_now();
    }
}

fn saved(store: &Path) -> Pod {
    Pod::new(json!({ "backup": {} }))
        .set("store", json!({ "local": { "path": store } }))
        .set("save", json!({ "final_timeout": "60s", "keep": 2 }))
}

fn finish(pod: &Pod, mut child: Child) -> Value {
    wait_for_save(&mut child);
    terminate(&child);
    pod.outcome(&child.wait_with_output().unwrap())
}

fn ask(pod: &Pod, args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_wsman-guest"))
        .args(["content", "request", "--state"])
        .arg(pod.state())
        .args(args)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn the_last_backup_comes_back_byte_for_byte() {
    let store = tempfile::tempdir().unwrap();
    let pod = saved(store.path());
    fs::create_dir(pod.root().join("d")).unwrap();
    fs::write(pod.root().join("d/file"), "content").unwrap();
    fs::set_permissions(pod.root().join("d/file"), fs::Permissions::from_mode(0o741)).unwrap();
    let outcome = finish(&pod, pod.command("save").spawn().unwrap());
    let backup = &outcome["backup"];
    assert_eq!(
        backup["name"],
        "owner/workspace/0000000001-backup.json@local"
    );
    assert_eq!(
        (backup["final"].as_bool(), backup["files"].as_u64()),
        (Some(true), Some(1))
    );

    let copy = saved(store.path());
    let outcome = copy.init_ok();
    assert_eq!(outcome["restored"]["name"], backup["name"]);
    assert_eq!(outcome["restored"]["final"], true);
    assert_eq!(copy.read("d/file"), "content");
    let mode = fs::metadata(copy.root().join("d/file"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o741);
}

#[test]
fn snapshots_are_made_on_request_and_share_their_data_with_the_end() {
    let store = tempfile::tempdir().unwrap();
    let pod = saved(store.path());
    fs::write(pod.root().join("file"), "content").unwrap();
    let child = pod.command("save").spawn().unwrap();
    let answer = ask(&pod, &["--kind", "snapshot", "--id", "s1"]);
    assert_eq!(
        answer["name"],
        "owner/workspace/0000000001-snapshot.json@local"
    );
    assert_eq!(
        ask(&pod, &["--kind", "snapshot", "--id", "s1", "--no-wait"]),
        answer
    );
    let outcome = finish(&pod, child);
    assert_eq!(outcome["backup"]["sequence"], 2);
    let data = store.path().join("owner/workspace/data");
    assert_eq!(
        fs::read_dir(data).unwrap().count(),
        1,
        "nothing changed in between"
    );

    let copy = saved(store.path()).set(
        "initializer",
        json!({ "snapshot": { "snapshot": answer["name"] } }),
    );
    assert_eq!(copy.init_ok()["steps"][0]["name"], "snapshot");
    assert_eq!(copy.read("file"), "content");
}

#[test]
fn a_request_that_is_asked_again_after_a_kill_gets_the_backup_that_was_made_for_it() {
    let store = tempfile::tempdir().unwrap();
    let pod = saved(store.path());
    fs::write(pod.root().join("file"), "content").unwrap();
    // The saver can write its manifest, and no answer.
    let results = pod.state().join("results");
    std::os::unix::fs::symlink("/nowhere/results", &results).unwrap();
    let mut child = pod.command("save").spawn().unwrap();
    ask(&pod, &["--kind", "snapshot", "--id", "s1", "--no-wait"]);
    let home = store.path().join("owner/workspace");
    let manifests = || {
        let entries = fs::read_dir(&home).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.ends_with(".json"))
            .collect::<Vec<_>>()
    };
    while manifests().is_empty() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_file(&results).unwrap();
    fs::write(pod.root().join("file"), "later").unwrap();

    let child = pod.command("save").spawn().unwrap();
    let answer = ask(&pod, &["--kind", "snapshot", "--id", "s1"]);
    let name = "0000000001-snapshot-s1.json";
    assert_eq!(answer["name"], format!("owner/workspace/{name}@local"));
    assert_eq!(manifests(), [name], "it is not saved twice");
    // Another id is another snapshot.
    let other = ask(&pod, &["--kind", "snapshot", "--id", "s2"]);
    assert_eq!(
        other["name"],
        "owner/workspace/0000000002-snapshot.json@local"
    );
    finish(&pod, child);

    // What was saved long before a request is not even read for it.
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let file = fs::File::options().write(true).open(home.join(name));
    file.unwrap().set_modified(old).unwrap();
    for dir in ["requests", "results"] {
        fs::remove_file(pod.state().join(dir).join("s1.json")).unwrap();
    }
    let child = pod.command("save").spawn().unwrap();
    let answer = ask(&pod, &["--kind", "snapshot", "--id", "s1"]);
    assert_eq!(
        answer["name"],
        "owner/workspace/0000000004-snapshot.json@local"
    );
    finish(&pod, child);
}

#[test]
fn the_last_save_does_not_wait_for_a_workspace_that_does_not_end() {
    let store = tempfile::tempdir().unwrap();
    let settings =
        json!({ "final_timeout": "60s", "keep": 2, "kind": "snapshot", "main_share": "1ms" });
    let pod = saved(store.path()).set("save", settings);
    fs::write(pod.root().join("file"), "content").unwrap();
    let child = pod.command("save").spawn().unwrap();
    let hook = Command::new(env!("CARGO_BIN_EXE_wsman-guest"))
        .args(["content", "stopping", "--state"])
        .arg(pod.state())
        .status();
    assert!(hook.unwrap().success());
    // No signal comes: it ends by itself.
    let outcome = pod.outcome(&child.wait_with_output().unwrap());
    assert_eq!(outcome["ok"], true, "{outcome}");
    assert_eq!(
        outcome["backup"]["name"],
        "owner/workspace/0000000001-snapshot.json@local"
    );
}

#[test]
fn a_running_workspace_is_saved_at_an_interval_if_it_changed() {
    let store = tempfile::tempdir().unwrap();
    let pod = saved(store.path()).set(
        "save",
        json!({ "interval": "10ms", "final_timeout": "60s", "keep": 2 }),
    );
    fs::write(pod.root().join("file"), "one").unwrap();
    let child = pod.command("save").spawn().unwrap();
    let dir = store.path().join("owner/workspace");
    let has = |name: &str| dir.join(name).exists();
    while !has("0000000001-backup.json") {
        std::thread::yield_now();
    }
    fs::write(pod.root().join("file"), "two").unwrap();
    while !has("0000000002-backup.json") {
        std::thread::yield_now();
    }
    let outcome = finish(&pod, child);
    let sequence = outcome["backup"]["sequence"].as_u64().unwrap();
    // A write can be seen in two halves, so there may be one more in between.
    assert!((3..=5).contains(&sequence), "{outcome}");
    assert!(!has("0000000001-backup.json"), "two are kept");
    let copy = saved(store.path());
    copy.init_ok();
    assert_eq!(copy.read("file"), "two");
}

#[test]
fn what_cannot_be_saved_is_said_and_the_last_backup_stays() {
    let store = tempfile::tempdir().unwrap();
    let pod = saved(store.path());
    fs::write(pod.root().join("file"), "content").unwrap();
    finish(&pod, pod.command("save").spawn().unwrap());

    let pod = saved(store.path()).set("limits", json!({ "max_bytes": 3 }));
    fs::write(pod.root().join("file"), "more than before").unwrap();
    let outcome = finish(&pod, pod.command("save").spawn().unwrap());
    assert_eq!(outcome["message"], "the tree holds more than 3 bytes");
    assert_eq!(
        outcome["last"]["name"],
        "owner/workspace/0000000001-backup.json@local"
    );

    let data = store.path().join("owner/workspace/data");
    let away = store.path().join("away");
    fs::rename(&data, &away).unwrap();
    fs::write(&data, "in the way").unwrap();
    let pod = saved(store.path());
    fs::write(pod.root().join("file"), "never saved").unwrap();
    let outcome = finish(&pod, pod.command("save").spawn().unwrap());
    let message = outcome["message"].as_str().unwrap();
    assert!(
        message.starts_with("cannot write owner/workspace/data/"),
        "{message}"
    );
    assert_eq!(outcome["last"]["final"], true);
    fs::remove_file(&data).unwrap();
    fs::rename(&away, &data).unwrap();

    let copy = saved(store.path());
    copy.init_ok();
    assert_eq!(copy.read("file"), "content");
}

#[test]
fn what_is_not_whole_or_not_yours_is_not_restored() {
    let store = tempfile::tempdir().unwrap();
    let pod = saved(store.path());
    fs::write(pod.root().join("file"), "content").unwrap();
    finish(&pod, pod.command("save").spawn().unwrap());
    let snapshot = |name: &str| {
        saved(store.path()).set("initializer", json!({ "snapshot": { "snapshot": name } }))
    };
    let name = "owner/workspace/0000000001-backup.json";
    let other = snapshot(&format!("{name}@local")).set("owner", json!("mallory"));
    assert_eq!(
        other.init_fails(),
        format!("the backup {name}@local belongs to another owner")
    );
    let bucket = snapshot(&format!("{name}@bucket")).init_fails();
    assert!(
        bucket.contains("lies in another bucket than local"),
        "{bucket}"
    );
    let none = saved(store.path())
        .set("workspace", json!("other"))
        .init_fails();
    assert_eq!(none, "there is no backup of this workspace");
    let wrong = snapshot("../../etc/passwd@local").init_fails();
    assert!(wrong.contains("is no name of a backup"), "{wrong}");

    let data = fs::read_dir(store.path().join("owner/workspace/data")).unwrap();
    let data = data.map(|entry| entry.unwrap().path()).next().unwrap();
    let whole = fs::read(&data).unwrap();
    for len in [0, whole.len() / 2, whole.len() - 1] {
        fs::write(&data, &whole[..len]).unwrap();
        let message = snapshot(&format!("{name}@local")).init_fails();
        assert!(!message.is_empty());
    }
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&data, flipped).unwrap();
    snapshot(&format!("{name}@local")).init_fails();
}

#[test]
fn the_state_of_the_repository_is_in_the_result() {
    let store = tempfile::tempdir().unwrap();
    let pod = saved(store.path());
    let [_, two, _] = crate::support::repository(&pod.root(), "x");
    fs::write(pod.root().join("x/new"), "new").unwrap();
    let pod = pod.set(
        "initializer",
        json!({ "git": { "checkout_location": "x" } }),
    );
    let outcome = finish(&pod, pod.command("save").spawn().unwrap());
    let git = &outcome["git"];
    assert_eq!(
        (git["branch"].as_str(), git["latest_commit"].as_str()),
        (Some("main"), Some(&*two))
    );
    assert_eq!(git["untracked_files"], json!(["new"]));
    assert_eq!(git["total_unpushed_commits"], 2);
}

#[test]
fn trees_go_through_pipes() {
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join("file"), "content").unwrap();
    let guest = || Command::new(env!("CARGO_BIN_EXE_wsman-guest"));
    let sent = guest()
        .args(["tree", "send"])
        .arg(from.path())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&sent.stderr).unwrap();
    let to = tempfile::tempdir().unwrap();
    let tar = to.path().join("tar");
    fs::write(&tar, &sent.stdout).unwrap();
    let receive = |sha256: &str| {
        guest()
            .args(["tree", "receive", "--sha256", sha256])
            .arg(to.path().join("in"))
            .stdin(fs::File::open(&tar).unwrap())
            .output()
            .unwrap()
    };
    assert_eq!(receive("00").status.code(), Some(1));
    let received = receive(report["sha256"].as_str().unwrap());
    assert_eq!(
        serde_json::from_slice::<Value>(&received.stdout).unwrap(),
        report
    );
    assert_eq!(
        fs::read_to_string(to.path().join("in/file")).unwrap(),
        "content"
    );
}
