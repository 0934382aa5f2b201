//! The daemon knows what was saved: it lists backups, and says how old the content is of what was not saved at its end.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::{Code, Request, Status};
use wsman::proto::wsman::backups::v1::backups_client::BackupsClient;
use wsman::proto::wsman::backups::v1::{ListBackupsRequest, ListBackupsResponse};
use wsman::proto::wsman::*;
use wsman_store::Store;
use wsman_store::manifest::{GitStatus, Kind, Manifest};
use wsman_store::settings::StoreSettings;

use super::support::cluster::{self, Cluster};
use super::support::story::Story;

/// A marker in every message that must not have it.
const SECRET: &str = "s3cr3t-of-the-store";

async fn with_store(cluster: &Cluster, storage: Value) -> Story<'_> {
    Story::begin_with(cluster, |config| {
        config["guest"] = json!({ "contentImage": "guest" });
        config["content"] = json!({ "storage": storage });
    })
    .await
}

fn directory(path: &Path) -> Value {
    json!({ "kind": "local", "local": { "path": path } })
}

/// A bucket behind an address, with a key that is nobody's business.
fn bucket(address: &str) -> Value {
    json!({ "kind": "minio", "minio": {
        "endpoint": address, "bucket": "saved", "accessKey": "wsman", "secretKey": SECRET,
    } })
}

/// Puts a manifest into a store as the guest does.
async fn save(path: &Path, (owner, workspace): (&str, &str), kind: Kind, age: SignedDuration) {
    let store = Store::create(&StoreSettings::Local { path: path.into() }).unwrap();
    let git = GitStatus {
        latest_commit: "0b9f1c2d3e4f5a6b7c8d".to_owned(),
        ..GitStatus::default()
    };
    let manifest = Manifest {
        version: 1,
        sequence: 0,
        kind,
        is_final: false,
        owner: owner.to_owned(),
        workspace: workspace.to_owned(),
        instance: "before".to_owned(),
        data: format!("{owner}/{workspace}/data/x.tar.zst"),
        format: "tar+zstd".to_owned(),
        size: 2 << 20,
        sha256: "0".repeat(64),
        files: 7,
        bytes: 5 << 20,
        created: (Timestamp::now() - age).to_string(),
        request: None,
        early: false,
        git: Some(git),
    };
    store.commit(manifest).await.unwrap();
}

async fn list(
    story: &Story<'_>,
    request: ListBackupsRequest,
) -> Result<ListBackupsResponse, Status> {
    list_within(story, request, Duration::from_secs(30)).await
}

async fn list_within(
    story: &Story<'_>,
    request: ListBackupsRequest,
    timeout: Duration,
) -> Result<ListBackupsResponse, Status> {
    let mut client = BackupsClient::new(story.world.channel().await);
    let mut request = Request::new(request);
    request.set_timeout(timeout);
    let answer = client.list_backups(request).await;
    answer.map(tonic::Response::into_inner)
}

fn by_id(id: &str, owner: &str) -> ListBackupsRequest {
    ListBackupsRequest {
        id: id.to_owned(),
        owner: owner.to_owned(),
        ..ListBackupsRequest::default()
    }
}

fn by_owner(owner: &str) -> ListBackupsRequest {
    by_id("", owner)
}

fn names(answer: &ListBackupsResponse) -> Vec<&str> {
    let names = answer.backups.iter().map(|backup| backup.name.as_str());
    names.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_saved_is_listed_to_its_owner() {
    let store = tempfile::tempdir().unwrap();
    // So old that a second more is not seen.
    let age = SignedDuration::from_mins(36 * 60 + 30);
    for kind in [Kind::Backup, Kind::Snapshot, Kind::Backup] {
        save(store.path(), ("jane", "m-listed"), kind, age).await;
    }
    save(store.path(), ("jane", "other one"), Kind::Backup, age).await;
    save(store.path(), ("eve", "m-listed"), Kind::Backup, age).await;
    let cluster = cluster::embedded().await;
    let mut story = with_store(&cluster, directory(store.path())).await;
    story.run("listed").await;

    let answer = list(&story, by_id("listed", "")).await.unwrap();
    let of_workspace = [
        "jane/m-listed/0000000003-backup.json@local",
        "jane/m-listed/0000000002-snapshot.json@local",
        "jane/m-listed/0000000001-backup.json@local",
    ];
    assert_eq!(names(&answer), of_workspace);
    let newest = &answer.backups[0];
    assert_eq!((newest.size, newest.files), (2 << 20, 7));
    assert_eq!(newest.commit, "0b9f1c2d3e4f5a6b7c8d");
    assert_eq!(newest.instance_id, "before");
    assert!(!newest.r#final && newest.problem.is_empty());
    let other = list(&story, by_id("listed", "eve")).await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound);
    let unknown = list(&story, by_id("nobody", "")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let nobody = list(&story, by_owner("")).await.unwrap_err();
    assert_eq!(nobody.code(), Code::InvalidArgument);
    assert!(nobody.message().contains("owner"), "{nobody:?}");

    // Page by page it is the same, without gap or repeat.
    let mut request = by_owner("jane");
    request.page_size = 2;
    let mut all = Vec::new();
    loop {
        let page = list(&story, request.clone()).await.unwrap();
        assert!(page.backups.len() <= 2);
        all.extend(page.backups.into_iter().map(|backup| backup.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let of_owner = [
        &of_workspace[..],
        &["jane/other%20one/0000000001-backup.json@local"],
    ]
    .concat();
    assert_eq!(all, of_owner);
    assert_eq!(
        names(&list(&story, by_owner("nobody")).await.unwrap()),
        [] as [&str; 0]
    );

    // The same over HTTP, and for people.
    let addr = story.world.addr;
    let owner = ["backups", "--owner", "jane"];
    let printed = client(&format!("grpc://{addr}"), &owner).await;
    assert_eq!(printed, client(&format!("http://{addr}/rpc"), &owner).await);
    let line = printed.lines().nth(1).unwrap();
    for part in [of_workspace[0], "backup", "2.0 MiB", "7", "0b9f1c2d3e4f"] {
        assert!(line.contains(part), "{part} in {printed}");
    }
    let one = ["backups", "listed", "--limit", "1", "-o", "json"];
    let json: Value = serde_json::from_str(&client(&format!("grpc://{addr}"), &one).await).unwrap();
    assert_eq!(json["items"].as_array().unwrap().len(), 1);
    assert_eq!(json["items"][0]["kind"], "BACKUP");
    story.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_restored_says_why() {
    let store = tempfile::tempdir().unwrap();
    save(
        store.path(),
        ("jane", "m"),
        Kind::Backup,
        SignedDuration::ZERO,
    )
    .await;
    let home = store.path().join("jane/m");
    std::fs::write(home.join("0000000002-backup.json"), "{").unwrap();
    let copy = std::fs::read_to_string(home.join("0000000001-backup.json")).unwrap();
    std::fs::write(
        home.join("0000000003-backup.json"),
        copy.replace("jane", "eve"),
    )
    .unwrap();
    let newer = copy.replace("\"version\":1", "\"version\":2");
    std::fs::write(home.join("0000000004-backup.json"), newer).unwrap();
    let cluster = cluster::embedded().await;
    let story = with_store(&cluster, directory(store.path())).await;
    let answer = list(&story, by_owner("jane")).await.unwrap();
    let problems: Vec<_> = answer.backups.iter().map(|b| b.problem.as_str()).collect();
    for (problem, part) in problems
        .iter()
        .zip(["version 2", "another owner", "not understood"])
    {
        assert!(problem.contains(part), "{problems:?}");
    }
    assert_eq!(problems[3], "");
    story.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_or_slow_is_named_and_holds_no_pod() {
    let cluster = cluster::embedded().await;
    // Nobody listens there any more.
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = away.local_addr().unwrap().to_string();
    drop(away);
    let mut story = with_store(&cluster, bucket(&address)).await;
    let error = list(&story, by_owner("jane")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    assert!(error.message().contains("in the store"), "{error:?}");
    assert!(!error.message().contains(SECRET), "{error:?}");
    story.run("away").await;
    let failed = lose(&mut story, "away").await.failed;
    assert!(
        failed.contains("its last backup could not be looked up: "),
        "{failed}"
    );
    assert!(!failed.contains(SECRET), "{failed}");
    story.end().await;

    // It takes connections and says nothing.
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = slow.local_addr().unwrap().to_string();
    let mut story = with_store(&cluster, bucket(&address)).await;
    let short = Duration::from_millis(300);
    let error = list_within(&story, by_owner("jane"), short)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    assert!(error.message().contains("listing the backups"), "{error:?}");
    story.run("slow").await;
    let conditions = lose(&mut story, "slow").await;
    let why = "could not be looked up: deadline exceeded while looking for the last backup";
    assert!(conditions.failed.contains(why), "{}", conditions.failed);
    story.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_store_there_are_no_backups() {
    let cluster = cluster::embedded().await;
    let story = Story::begin(&cluster).await;
    let error = list(&story, by_owner("jane")).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("content.storage"), "{error:?}");
    story.end().await;
}

on_both_clusters! {
    content_that_was_lost_says_how_old_it_is
}

async fn content_that_was_lost_says_how_old_it_is(cluster: &Cluster) {
    let store = tempfile::tempdir().unwrap();
    let mut story = with_store(cluster, directory(store.path())).await;
    let age = SignedDuration::from_secs(7 * 60 + 20);
    save(store.path(), ("jane", "m-saved"), Kind::Backup, age).await;
    story.run("saved").await;
    let conditions = lose(&mut story, "saved").await;
    assert_eq!(
        conditions.failed,
        "last backup failed: the pod was deleted by force before its content was saved; \
         its content is from a backup 7 min before the end."
    );
    assert_ne!(
        conditions.final_backup_complete(),
        WorkspaceConditionBool::True
    );

    // Whoever begins with it learns how old it is.
    let address = format!("grpc://{}", story.world.addr);
    let start = "start --image i --id again --owner jane --meta-id m-saved --restore";
    let start: Vec<_> = start.split(' ').collect();
    let (_, errors) = client_with_errors(&address, &start).await;
    for part in [
        "begins with a backup that is 7m",
        " old and was made before the end",
    ] {
        assert!(errors.contains(part), "{errors}");
    }

    story.run("unsaved").await;
    let conditions = lose(&mut story, "unsaved").await;
    let why = "; there is no backup of its content.";
    assert!(conditions.failed.ends_with(why), "{}", conditions.failed);
    story.end().await;
}

/// Deletes the pod of a running workspace by force, while its guest waits for the end.
async fn lose(story: &mut Story<'_>, id: &str) -> WorkspaceConditions {
    let pods = story.cluster.api::<Pod>().await;
    let name = format!("ws-{id}");
    let saver = json!({
        "name": "content-save", "image": "guest", "imageID": "", "ready": true, "restartCount": 0,
        "state": { "running": { "startedAt": Timestamp::now().to_string() } },
    });
    let patch = json!({ "status": { "initContainerStatuses": [saver] } });
    pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .unwrap();
    let at_once = DeleteParams::default().grace_period(0);
    pods.delete(&name, &at_once).await.unwrap();
    story.ends(id).await
}

async fn client(address: &str, args: &[&str]) -> String {
    client_with_errors(address, args).await.0
}

async fn client_with_errors(address: &str, args: &[&str]) -> (String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wsman"));
    command.arg("client").args(["-H", address]).args(args);
    command.env_remove("WSMAN_HOST").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    (String::from_utf8(output.stdout).unwrap(), errors)
}
