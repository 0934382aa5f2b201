//! Workspaces on Gitpod nodes: the ws-daemon of the node fills them, and saves them at their end. It is scripted, and the rest
//! is real.

mod deaths;
mod faults;

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use tonic::Code;
use wsman::clock::Clock;
use wsman::proto::contentservice::workspace_initializer::Spec;
use wsman::proto::contentservice::*;
use wsman::proto::wsman::*;

use super::support::cluster::{self, Cluster};
use super::support::world::{Updates, World, request};
use super::support::wsdaemon::{self as daemon, Act, Node};

on_both_clusters! {
    a_workspace_begins_with_its_content_and_leaves_a_backup
    a_prebuild_leaves_a_snapshot_and_its_logs
}

/// A cluster with a ws-daemon, a daemon, and its updates.
struct Life<'a> {
    cluster: &'a Cluster,
    node: Node,
    world: World,
    updates: Updates,
}

impl<'a> Life<'a> {
    /// Begins with a ws-daemon that runs.
    async fn begin(cluster: &'a Cluster) -> Self {
        let mut node = Node::new(None);
        node.appear(cluster).await;
        Self::with(cluster, node, None).await
    }

    async fn with(cluster: &'a Cluster, node: Node, tls: Option<&Path>) -> Self {
        let world = world(cluster, &node, tls).await;
        let updates = world.subscribe().await;
        Self {
            cluster,
            node,
            world,
            updates,
        }
    }

    async fn start(&self, id: &str, kind: WorkspaceType) {
        let mut client = self.world.client.clone();
        client.start_workspace(cloning(id, kind)).await.unwrap();
    }

    /// Starts a workspace and waits until it runs.
    async fn run(&mut self, id: &str, kind: WorkspaceType) {
        self.start(id, kind).await;
        self.until(id, WorkspacePhase::Running).await;
    }

    async fn until(&mut self, id: &str, phase: WorkspacePhase) -> WorkspaceStatus {
        loop {
            let status = self.updates.next().await.expect("the stream goes on");
            if status.id != id {
                continue;
            }
            if status.phase() == phase {
                return status;
            }
            assert_ne!(status.phase(), WorkspacePhase::Stopped, "{status:?}");
        }
    }

    /// Waits until a workspace has stopped and its pod is gone.
    async fn ends(&mut self, id: &str, kind: &str) -> WorkspaceStatus {
        let stopped = self.until(id, WorkspacePhase::Stopped).await;
        self.cluster.gone::<Pod>(&format!("{kind}-{id}")).await;
        stopped
    }

    /// Stops a workspace and waits until it is gone.
    async fn stop(&mut self, id: &str) -> WorkspaceStatus {
        self.world.stop_workspace(id).await;
        self.ends(id, "ws").await
    }

    /// Kills the daemon, wherever it is, and starts another.
    async fn killed(self) -> Self {
        self.world.kill().await;
        let (cluster, node) = (self.cluster, self.node);
        let client = cluster.client().await;
        let configure = |config: &mut _| daemon::configure(config, node.port, None);
        let clock = Clock::manual();
        let world = World::start_at(clock, client, &cluster.namespace, configure).await;
        // Before the lifecycle starts, so that the stream has all its updates.
        let updates = world.subscribe().await;
        world.outlive_the_dead().await;
        Self {
            cluster,
            node,
            world,
            updates,
        }
    }

    async fn end(self) {
        self.world.drain().await.unwrap();
    }
}

async fn world(cluster: &Cluster, node: &Node, tls: Option<&Path>) -> World {
    let client = cluster.client().await;
    World::start_with(client, &cluster.namespace, |config| {
        daemon::configure(config, node.port, tls);
    })
    .await
}

const PASSWORD: &str = "a-password-of-jane";

/// A request for a workspace with a repository.
fn cloning(id: &str, kind: WorkspaceType) -> StartWorkspaceRequest {
    let mut request = request(id);
    request.r#type = kind.into();
    let spec = request.spec.as_mut().unwrap();
    spec.initializer = Some(WorkspaceInitializer {
        spec: Some(Spec::Git(GitInitializer {
            remote_uri: "https://example.com/repository".to_owned(),
            checkout_location: "repository".to_owned(),
            config: Some(GitConfig {
                authentication: GitAuthMethod::BasicAuth.into(),
                auth_user: "jane".to_owned(),
                auth_password: PASSWORD.to_owned(),
                ..GitConfig::default()
            }),
            ..GitInitializer::default()
        })),
    });
    request
}

async fn a_workspace_begins_with_its_content_and_leaves_a_backup(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::new(Some(daemon::certify(folder.path())));
    node.appear(cluster).await;
    let mut life = Life::with(cluster, node, Some(folder.path())).await;
    life.run("a", WorkspaceType::Regular).await;
    let phases = life.updates.phases("a");
    assert!(phases.contains(&"INITIALIZING"), "{phases:?}");
    assert_eq!(life.node.methods(), ["Init", "Exists", "Wait"]);
    let filled = life.node.filled("a").unwrap();
    let asked = cloning("a", WorkspaceType::Regular).spec.unwrap();
    assert_eq!(filled.initializer, asked.initializer);
    assert_eq!(filled.storage_quota_bytes, 30 << 30);
    let metadata = filled.metadata.unwrap();
    assert_eq!(
        (metadata.owner.as_str(), metadata.meta_id.as_str()),
        ("jane", "m-a")
    );
    // Nobody else sees the password.
    let pods = cluster.api::<Pod>().await;
    let pod = serde_json::to_string(&pods.get("ws-a").await.unwrap()).unwrap();
    assert!(!pod.contains(PASSWORD), "{pod}");

    // Certificates are renewed while it runs: the next call has the new ones.
    let renewed = tempfile::tempdir().unwrap();
    life.node.renew(daemon::certify(renewed.path()));
    for name in ["ca.crt", "tls.crt", "tls.key"] {
        std::fs::copy(renewed.path().join(name), folder.path().join(name)).unwrap();
    }
    life.node.appear(cluster).await;
    life.node.set_git(GitStatus {
        branch: "main".to_owned(),
        uncommited_files: vec!["README".to_owned()],
        total_uncommited_files: 1,
        ..GitStatus::default()
    });
    let stopped = life.stop("a").await;
    let conditions = stopped.conditions.unwrap();
    assert_eq!(conditions.failed, "");
    let yes = WorkspaceConditionBool::True;
    assert_eq!(conditions.final_backup_complete(), yes);
    let repo = stopped.repo.unwrap();
    assert_eq!(
        (repo.branch.as_str(), repo.total_uncommited_files),
        ("main", 1)
    );
    let disposed = life.node.called("Dispose").await;
    assert_eq!(disposed.asks, [true, false]);
    assert!(life.node.filled("a").is_none());
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_of_the_client_is_used_where_the_daemon_stays() {
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = daemon::Authority::new();
    let first = authority.certify_client(folder.path());
    let mut node = Node::new(Some(authority.server()));
    node.appear(&cluster).await;
    let mut life = Life::with(&cluster, node, Some(folder.path())).await;
    life.run("a", WorkspaceType::Regular).await;
    assert_eq!(life.node.clients(), std::slice::from_ref(&first));
    let second = authority.certify_client(folder.path());
    let stopped = life.stop("a").await;
    assert_eq!(stopped.conditions.unwrap().failed, "");
    assert_eq!(life.node.clients(), [first, second]);
    assert_eq!(life.node.connections(), 2);
    life.end().await;
}

async fn a_prebuild_leaves_a_snapshot_and_its_logs(cluster: &Cluster) {
    let mut life = Life::begin(cluster).await;
    life.run("p", WorkspaceType::Prebuild).await;
    life.world.stop_workspace("p").await;
    let stopped = life.ends("p", "prebuild").await;
    let conditions = stopped.conditions.unwrap();
    assert_eq!(conditions.failed, "");
    assert_eq!(conditions.snapshot, "snapshot-of-p@bucket");
    assert_eq!(life.node.called("Snapshot").await.asks, [false]);
    assert_eq!(life.node.called("Dispose").await.asks, [false, true]);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_build_is_filled_and_never_saved() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    life.run("i", WorkspaceType::Imagebuild).await;
    life.node.called("Init").await;
    life.world.stop_workspace("i").await;
    life.ends("i", "imagebuild").await;
    assert_eq!(life.node.called("Dispose").await.asks, [false, false]);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_saved_on_request() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    life.run("a", WorkspaceType::Regular).await;
    let mut client = life.world.client.clone();
    let ask = |return_immediately| TakeSnapshotRequest {
        id: "a".to_owned(),
        return_immediately,
    };
    let backup = || BackupWorkspaceRequest { id: "a".to_owned() };
    for return_immediately in [false, true] {
        let taken = client.take_snapshot(ask(return_immediately)).await.unwrap();
        assert_eq!(taken.into_inner().url, "snapshot-of-a@bucket");
        assert_eq!(
            life.node.called("Snapshot").await.asks,
            [return_immediately]
        );
    }
    let saved = client.backup_workspace(backup()).await.unwrap();
    assert_eq!(saved.into_inner().url, "backup-of-a@bucket");
    assert_eq!(life.node.connections(), 1, "one for all calls");
    // What it answers is passed through.
    life.node.script(
        "Snapshot",
        [Act::Fail(Code::ResourceExhausted, "disk full")],
    );
    let refused = client.take_snapshot(ask(false)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::ResourceExhausted, "disk full")
    );
    life.node.script(
        "Backup",
        [Act::Fail(Code::FailedPrecondition, "no remote storage")],
    );
    let refused = client.backup_workspace(backup()).await.unwrap_err();
    let passed = (refused.code(), refused.message());
    assert_eq!(passed, (Code::FailedPrecondition, "no remote storage"));
    // Without one the call ends in time.
    daemon::remove(&cluster).await;
    let refused = client.take_snapshot(ask(false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let why =
        "cannot connect to workspace daemon: timed out attempting to connect to Gitpod ws-daemon";
    assert!(refused.message().starts_with(why), "{refused}");
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_would_run_is_refused() {
    let cluster = cluster::embedded().await;
    let life = Life::begin(&cluster).await;
    for remote in [
        "ext::sh -c date",
        "https://jane:secret@example.com/a",
        "--upload-pack=date",
    ] {
        let mut request = cloning("a", WorkspaceType::Regular);
        let spec = request.spec.as_mut().unwrap();
        let Some(Spec::Git(git)) = spec.initializer.as_mut().unwrap().spec.as_mut() else {
            panic!("it clones");
        };
        git.remote_uri = remote.to_owned();
        let refused = life.world.client.clone().start_workspace(request).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{remote}: {refused}");
    }
    life.end().await;
}
