//! The event trace log: what a daemon writes is answered alike again and becomes cases, and a log that cannot be written
//! takes nothing from the daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use wsman::proto::wsman::*;
use wsman::workspaces::case::{self, Case, Objects};

use super::processes::{Daemon, until, write_config, wsman};
use super::support::cluster::{self, Cluster};
use super::support::world::{TIMEOUT, World, request};

on_both_clusters! {
    lives_are_answered_alike_again
}

/// A secret that a caller gives.
const SECRET: &str = "hunter2-of-the-caller";

async fn lives_are_answered_alike_again(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("evts.json");
    let world = World::start_with(cluster.client().await, &cluster.namespace, |config| {
        config["manager"]["eventTraceLog"] = log.to_str().unwrap().into();
        config["manager"]["podRecreationBackoff"] = "0s".into();
    })
    .await;
    let mut updates = world.subscribe().await;
    let keys = fs::read_to_string("testdata/ssh/authorized_keys").unwrap();
    let key = keys.lines().find(|line| line.starts_with("ssh-ed25519"));
    let mut tokens = Vec::new();
    for (id, class) in [
        ("one", "default"),
        ("two", "default"),
        ("three", "rejected-once"),
    ] {
        let mut request = request(id);
        let spec = request.spec.as_mut().unwrap();
        spec.class = class.to_owned();
        spec.ssh_public_keys.extend(key.map(str::to_owned));
        spec.envvars.push(EnvironmentVariable {
            name: "PASSWORD".to_owned(),
            value: SECRET.to_owned(),
            secret: None,
        });
        let started = world.client.clone().start_workspace(request).await.unwrap();
        tokens.push(started.into_inner().owner_token);
        updates.until(id, WorkspacePhase::Running).await;
    }
    let active = MarkActiveRequest {
        id: "one".to_owned(),
        ..Default::default()
    };
    world.client.clone().mark_active(active).await.unwrap();
    for id in ["one", "two", "three"] {
        world.stop_workspace(id).await;
        updates.until(id, WorkspacePhase::Stopped).await;
    }
    world.drain().await.unwrap();

    let text = fs::read_to_string(&log).unwrap();
    let key = key.and_then(|key| key.split(' ').nth(1)).unwrap();
    for secret in tokens.iter().map(String::as_str).chain([SECRET, key]) {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
    for kind in ["status", "decision", "ended"] {
        assert!(text.contains(&format!("\"kind\":\"{kind}\"")), "{kind}");
    }
    assert!(
        text.contains("\"copy\":\"ws-three-2\""),
        "a pod was made again"
    );

    let replayed = replay(&log);
    assert!(replayed.status.success(), "{}", errors(&replayed));
    assert!(printed(&replayed).ends_with("0 lines skipped\n"));
    an_answer_that_differs_is_named(&folder.path().join("altered.json"), &text);
    lines_that_cannot_be_read_are_named(&folder.path().join("spoilt.json"), &text);
    the_log_becomes_cases(folder.path(), &log);
}

fn an_answer_that_differs_is_named(path: &Path, text: &str) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let is_running =
        |line: &String| line.contains("\"phase\":4") && line.contains("\"kind\":\"status\"");
    let at = lines.iter().position(is_running).unwrap();
    let mut line: Value = serde_json::from_str(&lines[at]).unwrap();
    line["status"]["phase"] = json!(6);
    lines[at] = line.to_string();
    fs::write(path, lines.join("\n")).unwrap();
    let replayed = replay(path);
    assert_eq!(replayed.status.code(), Some(1));
    let wanted = format!("line {}: status.phase was 6, and is 4 now", at + 1);
    assert!(errors(&replayed).contains(&wanted), "{}", errors(&replayed));
}

fn lines_that_cannot_be_read_are_named(path: &Path, text: &str) {
    let first = text.lines().next().unwrap();
    let spoilt = [
        &first[..first.len() / 2],
        "{\"version\":9,\"kind\":\"status\"}",
        "{\"version\":2,\"kind\":\"dream\"}",
        text,
    ];
    fs::write(path, spoilt.join("\n")).unwrap();
    let replayed = replay(path);
    assert!(replayed.status.success(), "{}", errors(&replayed));
    let wanted = "line 1: it is cut off: skipped\n\
         line 2: it is of version 9 of the format; this program reads 2: skipped\n\
         line 3: its kind \"dream\" is unknown: skipped\n";
    assert_eq!(errors(&replayed), wanted);
    assert!(printed(&replayed).ends_with("3 lines skipped\n"));
}

fn the_log_becomes_cases(folder: &Path, log: &Path) {
    let out = folder.join("testdata");
    let made = wsman()
        .args(["testdata", "--prefix", "night", "--evts"])
        .arg(log)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", errors(&made));
    for seam in ["status", "decide"] {
        let cases = cases(&out.join(seam));
        assert!(cases.len() > 4, "{seam}: {cases:?}");
        for path in cases {
            let read = |path: &Path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            let input: Value = read(&path);
            let (outcome, answer) = match seam {
                "status" => case::status(&Objects::read(&input).unwrap()),
                _ => {
                    let case = Case::read(&input).unwrap();
                    let group = case.group().unwrap();
                    let decision = case.decide_on(&group);
                    (
                        case::outcome(&decision),
                        case::pass(group.phase(), &decision),
                    )
                }
            };
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(name.ends_with(&format!("_{outcome}")), "{name}: {outcome}");
            let golden: Value = read(&path.with_extension("golden"));
            assert_eq!(golden, answer, "{name}");
            let text = input.to_string();
            assert!(!text.contains("ws-one") && !text.contains("jane"), "{text}");
        }
    }
    let outside = wsman()
        .args(["testdata", "--prefix", "../night", "--evts"])
        .arg(log)
        .output()
        .unwrap();
    assert_eq!(outside.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_is_told_of_once_and_begins_again() {
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let (place, own_log) = (folder.path().join("logs"), folder.path().join("stderr"));
    let path = place.join("evts.json");
    let daemon = start(&cluster, folder.path(), &path, &own_log);
    let mut client = daemon.client().await;
    let says = |text: &str, count: usize| {
        let (own_log, text) = (own_log.clone(), text.to_owned());
        eventually(move || read(&own_log).matches(&text).count() >= count)
    };
    let mut lives = 0;
    let mut live = async || {
        lives += 1;
        let id = format!("life-{lives}");
        let started = client.start_workspace(request(&id)).await;
        started.unwrap();
        until(&mut client, &id, WorkspacePhase::Running).await;
    };

    live().await;
    says("cannot write the event trace log", 1).await;
    live().await;
    fs::create_dir(&place).unwrap();
    live().await;
    says("the event trace log is written again", 1).await;
    let first: Value = serde_json::from_str(read(&path).lines().next().unwrap()).unwrap();
    assert_eq!(first["kind"], "dropped");
    assert!(first["count"].as_u64().unwrap() > 5, "{first}");

    // Rotated away by somebody else.
    let moved = folder.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    live().await;
    eventually(|| path.exists()).await;

    // The directory goes, and comes back.
    fs::remove_dir_all(&place).unwrap();
    live().await;
    says("cannot write the event trace log", 2).await;
    fs::create_dir(&place).unwrap();
    live().await;
    says("the event trace log is written again", 2).await;
    let own = read(&own_log);
    assert_eq!(own.matches("cannot write the event trace log").count(), 2);
    daemon.kill();
    assert!(replay(&moved).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_lines_only() {
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let own_log = folder.path().join("stderr");
    let daemon = start(&cluster, folder.path(), Path::new("/dev/full"), &own_log);
    let mut client = daemon.client().await;
    for id in ["one", "two"] {
        client.start_workspace(request(id)).await.unwrap();
        until(&mut client, id, WorkspacePhase::Running).await;
    }
    let warning = "cannot write the event trace log";
    eventually(|| read(&own_log).contains(warning)).await;
    assert_eq!(read(&own_log).matches(warning).count(), 1);
    daemon.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_the_process_may_hold_it() {
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let own_log = folder.path().join("stderr");
    let daemon = start(&cluster, folder.path(), Path::new("-"), &own_log);
    let mut client = daemon.client().await;
    client.start_workspace(request("one")).await.unwrap();
    until(&mut client, "one", WorkspacePhase::Running).await;
    eventually(|| read(&own_log).contains("event trace log")).await;
    daemon.kill();
}

/// A daemon with an event trace log, whose own log goes to a file.
fn start(cluster: &Cluster, folder: &Path, log: &Path, own_log: &Path) -> Daemon {
    let config = write_config(folder, &cluster.namespace, 0);
    let mut value: Value = serde_json::from_str(&read(&config)).unwrap();
    value["manager"]["eventTraceLog"] = log.to_str().unwrap().into();
    fs::write(&config, value.to_string()).unwrap();
    let mut command = wsman();
    command.arg("run").arg("--config").arg(&config);
    command.arg("--kubeconfig").arg(&cluster.kubeconfig);
    command.stderr(fs::File::create(own_log).unwrap());
    Daemon::spawn(command, tempfile::tempdir().unwrap())
}

/// Waits until something is so.
async fn eventually(mut is_so: impl FnMut() -> bool) {
    let waits = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, waits).await.unwrap();
}

fn replay(log: &Path) -> Output {
    wsman()
        .args(["replay", "--evts"])
        .arg(log)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let is_case = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "json");
    files.filter(is_case).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
