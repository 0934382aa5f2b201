//! Workspaces begin with their repository and keep their work: the whole way, with processes in place of containers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use tonic::Code;
use tonic::transport::Channel;
use wsman::proto::contentservice::workspace_initializer::Spec;
use wsman::proto::contentservice::*;
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;

use super::processes::{Daemon, write_config, wsman};
use super::support::world::{TIMEOUT, request};

/// A daemon whose embedded cluster runs processes, a repository, and a store in a directory.
struct Desk {
    folder: PathBuf,
    daemon: Daemon,
    client: WorkspaceManagerClient<Channel>,
}

impl Desk {
    async fn open() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        repository(&folder);
        let loops = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
        let template = json!({ "spec": { "containers": [
            { "name": "workspace", "command": ["sh", "-c", loops] },
        ] } });
        let template_path = folder.join("template.json");
        std::fs::write(&template_path, template.to_string()).unwrap();
        let path = write_config(&folder, "default", 0);
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let is_root = rustix::process::getuid().is_root();
        config["kubernetes"] = json!({
            "mode": "embedded", "runtime": "process", "allowRoot": is_root,
            "directory": folder.join("kubelet"),
        });
        config["guest"] = json!({ "contentImage": "guest", "command": guest() });
        config["content"] = json!({
            "storage": { "kind": "local", "local": { "path": folder.join("store") } },
            "git": { "allowFileRemotes": true },
        });
        config["manager"]["workspaceClass"]["default"]["templates"] =
            json!({ "defaultPath": template_path });
        std::fs::write(&path, config.to_string()).unwrap();
        let mut command = wsman();
        command.arg("run").arg("--config").arg(&path);
        command.stderr(Stdio::null());
        let daemon = Daemon::spawn(command, temporary);
        let client = daemon.client().await;
        Self {
            folder,
            daemon,
            client,
        }
    }

    /// Starts a workspace and waits until it runs.
    async fn start(&mut self, id: &str, owner: &str, content: Spec) -> Result<(), tonic::Status> {
        let mut request = tonic::Request::new(asking(id, owner, content));
        request
            .metadata_mut()
            .insert("wsman-wait", "running".parse().unwrap());
        self.client.start_workspace(request).await.map(drop)
    }

    async fn describe(&mut self, id: &str) -> WorkspaceStatus {
        let request = DescribeWorkspaceRequest { id: id.to_owned() };
        let answer = self.client.describe_workspace(request).await.unwrap();
        answer.into_inner().status.unwrap()
    }

    /// Stops a workspace and returns its last status.
    async fn stop(&mut self, id: &str) -> WorkspaceStatus {
        let updates = self.client.subscribe(SubscribeRequest::default()).await;
        let mut updates = updates.unwrap().into_inner();
        let request = StopWorkspaceRequest {
            id: id.to_owned(),
            ..StopWorkspaceRequest::default()
        };
        self.client.stop_workspace(request).await.unwrap();
        let ends = async {
            loop {
                let update = updates.message().await.unwrap().unwrap();
                if let Some(status) = update
                    .status
                    .filter(|status| status.id == id && status.phase() == WorkspacePhase::Stopped)
                {
                    return status;
                }
            }
        };
        tokio::time::timeout(TIMEOUT, ends).await.expect("it stops")
    }

    /// Ends the daemon and the processes of its pods.
    async fn close(mut self) {
        self.daemon.signal("-TERM");
        self.daemon.ended().await;
    }

    /// The directory of the only workspace that runs.
    fn workspace(&self) -> PathBuf {
        let pods = std::fs::read_dir(self.folder.join("kubelet/pods")).unwrap();
        let volumes = pods.map(|pod| pod.unwrap().path().join("volumes/vol-this-workspace"));
        let mut volumes: Vec<_> = volumes.filter(|path| path.is_dir()).collect();
        assert_eq!(volumes.len(), 1, "{volumes:?}");
        volumes.remove(0)
    }
}

/// The guest beside the daemon: `cargo test` builds it, and so does `cargo build -p wsman-guest`.
fn guest() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_wsman")).with_file_name("wsman-guest");
    assert!(path.exists(), "build it: cargo build -p wsman-guest");
    path
}

/// Makes a bare repository, `origin.git`.
pub(crate) fn repository(folder: &Path) {
    let git = |words: &str| {
        let mut command = Command::new("git");
        command.args(words.split(' ')).current_dir(folder);
        for variable in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            command.env(format!("{variable}_NAME"), "Jane");
            command.env(format!("{variable}_EMAIL"), "jane@example.com");
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null");
        let output = command.output().expect("git is installed");
        assert!(output.status.success(), "git {words}: {output:?}");
    };
    git("init -q -b main work");
    std::fs::write(folder.join("work/README"), "hello\n").unwrap();
    git("-C work add README");
    git("-C work commit -q -m first");
    git("clone -q --bare work origin.git");
}

fn asking(id: &str, owner: &str, content: Spec) -> StartWorkspaceRequest {
    let mut request = request(id);
    let metadata = request.metadata.get_or_insert_default();
    metadata.owner = owner.to_owned();
    metadata.meta_id = "demo".to_owned();
    let spec = request.spec.get_or_insert_default();
    spec.initializer = Some(WorkspaceInitializer {
        spec: Some(content),
    });
    request
}

fn cloned(url: String, location: &str) -> Spec {
    Spec::Git(GitInitializer {
        remote_uri: url,
        checkout_location: location.to_owned(),
        config: Some(GitConfig::default()),
        ..GitInitializer::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn work_survives_the_workspace() {
    let mut desk = Desk::open().await;
    let origin = desk.folder.join("origin.git").display().to_string();
    desk.start("one", "jane", cloned(origin, "app"))
        .await
        .unwrap();
    let app = desk.workspace().join("app");
    assert_eq!(
        std::fs::read_to_string(app.join("README")).unwrap(),
        "hello\n"
    );
    let metrics = desk.describe("one").await.initializer_metrics.unwrap();
    assert!(metrics.git.unwrap().size > 0);

    // Changed, and saved by its end.
    std::fs::write(app.join("README"), "edited\n").unwrap();
    std::fs::write(app.join("new"), "new\n").unwrap();
    std::os::unix::fs::symlink("new", app.join("link")).unwrap();
    let last = desk.stop("one").await;
    let conditions = last.conditions.unwrap();
    assert_eq!(conditions.failed, "");
    assert_eq!(
        conditions.final_backup_complete(),
        WorkspaceConditionBool::True
    );
    let repo = last.repo.unwrap();
    assert_eq!(repo.uncommited_files, ["README"]);
    assert_eq!(repo.total_untracked_files, 2);

    // A new instance of the same workspace begins with it.
    let backup = Spec::Backup(FromBackupInitializer::default());
    desk.start("two", "jane", backup).await.unwrap();
    let app = desk.workspace().join("app");
    assert_eq!(
        std::fs::read_to_string(app.join("README")).unwrap(),
        "edited\n"
    );
    assert_eq!(
        std::fs::read_link(app.join("link")).unwrap(),
        Path::new("new")
    );

    // A snapshot can be started from, by its owner alone.
    let id = "two".to_owned();
    let request = BackupWorkspaceRequest { id: id.clone() };
    let backup = desk.client.backup_workspace(request).await.unwrap();
    assert!(backup.into_inner().url.starts_with("jane/demo/"));
    let request = TakeSnapshotRequest {
        id,
        return_immediately: false,
    };
    let answer = desk.client.take_snapshot(request).await.unwrap();
    let name = answer.into_inner().url;
    // One that nobody waits for has its name before it is saved: at the latest by the end.
    let request = TakeSnapshotRequest {
        id: "two".to_owned(),
        return_immediately: true,
    };
    let answer = desk.client.take_snapshot(request).await.unwrap();
    let early = answer.into_inner().url;
    assert!(early.starts_with("jane/demo/snapshot-"), "{early}");
    desk.stop("two").await;
    let snapshot = |name: &str| {
        Spec::Snapshot(SnapshotInitializer {
            snapshot: name.to_owned(),
            from_volume_snapshot: false,
        })
    };
    for (id, name) in [("three", &name), ("early", &early)] {
        desk.start(id, "jane", snapshot(name)).await.unwrap();
        assert!(desk.workspace().join("app/new").exists());
        desk.stop(id).await;
    }
    let never = snapshot("jane/demo/snapshot-never@local");
    let unsaved = desk.start("never", "jane", never).await.unwrap_err();
    assert!(
        unsaved.message().contains("nothing was saved as"),
        "{unsaved:?}"
    );
    let refused = desk
        .start("four", "eve", snapshot(&name))
        .await
        .unwrap_err();
    assert!(refused.message().contains("another owner"), "{refused:?}");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_filled_says_why() {
    let mut desk = Desk::open().await;
    let gone = desk.folder.join("gone.git").display().to_string();
    let refused = desk
        .start("gone", "jane", cloned(gone, ""))
        .await
        .unwrap_err();
    assert!(
        refused.message().contains("cannot initialize workspace: "),
        "{refused:?}"
    );
    // Refused before anything is there.
    for (url, location) in [
        ("https://jane:secret@example.com/a.git", "app"),
        ("ext::sh -c date", "app"),
        ("--upload-pack=date", "app"),
        ("https://example.com/a.git", "../app"),
    ] {
        let content = cloned(url.to_owned(), location);
        let refused = desk.start("bad", "jane", content).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{url} {location}");
        assert!(!refused.message().contains("secret"), "{refused:?}");
    }
    desk.close().await;
}
