//! What a ws-daemon does wrong: each ends in a stated failure and a finished disposal, and no pod stays.

use std::iter::repeat_n;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tonic::Code;
use wsman::proto::wsman::inspect::v1::ExplainWorkspaceRequest;
use wsman::proto::wsman::inspect::v1::inspector_client::InspectorClient;
use wsman::proto::wsman::*;
use wsman::wsdaemon::ATTEMPTS;

use super::{Life, Node, daemon};
use crate::support::cluster;
use crate::support::wsdaemon::Act;

const REGULAR: WorkspaceType = WorkspaceType::Regular;

/// A daemon that answers that it is busy.
fn busy(times: u32) -> impl Iterator<Item = Act> {
    let act = Act::Fail(Code::Unavailable, "initializing");
    repeat_n(act, usize::try_from(times).unwrap())
}

/// Starts a workspace that cannot be filled, and returns why.
async fn unfilled(life: &mut Life<'_>, id: &str) -> String {
    life.start(id, REGULAR).await;
    let stopped = life.ends(id, "ws").await;
    assert!(!life.updates.phases(id).contains(&"RUNNING"));
    stopped.conditions.unwrap().failed
}

/// Stops a workspace that cannot be saved, and returns why.
async fn unsaved(life: &mut Life<'_>, id: &str) -> String {
    let stopped = life.stop(id).await;
    let conditions = stopped.conditions.unwrap();
    let no = WorkspaceConditionBool::False;
    assert_eq!(conditions.final_backup_complete(), no);
    conditions.failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_absent() {
    let cluster = cluster::embedded().await;
    let mut life = Life::with(&cluster, Node::new(None), None).await;
    let why = unfilled(&mut life, "never").await;
    let absent = "cannot connect to workspace daemon: timed out attempting to connect to Gitpod ws-daemon: none is ready on node ";
    let wanted = format!("cannot initialize workspace: {absent}");
    assert!(why.starts_with(&wanted), "{why}");
    // And one that is gone at the end.
    life.node.appear(&cluster).await;
    life.run("later", REGULAR).await;
    daemon::remove(&cluster).await;
    let why = unsaved(&mut life, "later").await;
    assert!(
        why.starts_with(&format!("last backup failed: {absent}")),
        "{why}"
    );
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_be_reached() {
    let cluster = cluster::embedded().await;
    let mut life = Life::with(&cluster, Node::new(None), None).await;
    // Nobody listens there.
    daemon::place(&cluster, Ipv4Addr::new(127, 0, 0, 9)).await;
    let refused = "cannot connect to workspace daemon: 127.0.0.9:";
    let why = unfilled(&mut life, "never").await;
    assert!(
        why.starts_with(&format!("cannot initialize workspace: {refused}")),
        "{why}"
    );
    assert!(why.contains("refused"), "{why}");
    life.node.appear(&cluster).await;
    life.run("later", REGULAR).await;
    daemon::place(&cluster, Ipv4Addr::new(127, 0, 0, 9)).await;
    let why = unsaved(&mut life, "later").await;
    assert!(
        why.starts_with(&format!("last backup failed: {refused}")),
        "{why}"
    );
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_speaks_another_protocol() {
    let cluster = cluster::embedded().await;
    let mut life = Life::with(&cluster, Node::new(None), None).await;
    let address = Ipv4Addr::new(127, 0, 0, 8);
    let at = SocketAddr::new(address.into(), life.node.port);
    let listener = TcpListener::bind(at).await.unwrap();
    let nonsense = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream
                .write_all(b"SSH-2.0-OpenSSH_9.2\r\nnot HTTP/2 at all\r\n")
                .await;
        }
    });
    daemon::place(&cluster, address).await;
    let why = unfilled(&mut life, "a").await;
    let wanted = "cannot initialize workspace: cannot connect to workspace daemon: ";
    assert!(why.starts_with(wanted), "{why}");
    nonsense.abort();
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_refuses() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    life.node
        .script("Init", [Act::Fail(Code::Internal, "no such repository")]);
    let why = unfilled(&mut life, "init").await;
    assert_eq!(why, "cannot initialize workspace: no such repository");
    life.node
        .script("Wait", [Act::Fail(Code::Internal, "disk full")]);
    let why = unfilled(&mut life, "wait").await;
    assert_eq!(why, "cannot wait for workspace to initialize: disk full");
    life.run("end", REGULAR).await;
    life.node
        .script("Dispose", [Act::Fail(Code::Internal, "bucket is gone")]);
    assert_eq!(
        unsaved(&mut life, "end").await,
        "last backup failed: bucket is gone."
    );
    // A prebuild whose snapshot fails has failed, and is disposed of.
    life.run("p", WorkspaceType::Prebuild).await;
    life.node
        .script("Snapshot", [Act::Fail(Code::Internal, "bucket is gone")]);
    life.world.stop_workspace("p").await;
    let stopped = life.ends("p", "prebuild").await;
    let failed = stopped.conditions.unwrap().failed;
    assert_eq!(failed, "cannot take snapshot: bucket is gone");
    life.node.called("Snapshot").await;
    life.node.called("Dispose").await;
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_busy() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    // For a while.
    life.node.script("Init", busy(ATTEMPTS - 1));
    life.node.script("Wait", busy(ATTEMPTS - 1));
    life.run("a", REGULAR).await;
    life.node.script("Exists", busy(ATTEMPTS - 1));
    let late = [Act::Fail(
        Code::Unknown,
        "rpc error: context deadline exceeded",
    )];
    let acts = busy(ATTEMPTS - 2).chain(late);
    life.node.script("Dispose", acts);
    let stopped = life.stop("a").await.conditions.unwrap();
    assert_eq!(stopped.failed, "");
    assert_eq!(
        stopped.final_backup_complete(),
        WorkspaceConditionBool::True
    );
    // For too long.
    life.node.script("Init", busy(ATTEMPTS));
    let why = unfilled(&mut life, "init").await;
    assert_eq!(why, "cannot initialize workspace: initializing");
    life.node.script("Wait", busy(ATTEMPTS));
    let why = unfilled(&mut life, "wait").await;
    let wanted = "cannot wait for workspace to initialize: workspace initialization is currently unavailable - please try again";
    assert_eq!(why, wanted);
    life.run("end", REGULAR).await;
    life.node.script("Dispose", busy(ATTEMPTS));
    assert_eq!(
        unsaved(&mut life, "end").await,
        "last backup failed: initializing."
    );
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_loses_answers() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    for method in ["Init", "Exists", "Wait"] {
        life.node.script(method, [Act::Lose]);
    }
    life.run("a", REGULAR).await;
    // What was disposed of is not there any more, and is no failure.
    for method in ["Exists", "Wait", "Dispose"] {
        life.node.script(method, [Act::Lose]);
    }
    let stopped = life.stop("a").await.conditions.unwrap();
    assert_eq!(stopped.failed, "");
    assert_eq!(
        stopped.final_backup_complete(),
        WorkspaceConditionBool::True
    );
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_forgets() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    // Before the workspace is ready it is filled again.
    life.node
        .script("Wait", [Act::Fail(Code::NotFound, "unknown workspace")]);
    life.run("a", REGULAR).await;
    assert_eq!(life.node.methods(), ["Init", "Exists", "Wait", "Init"]);
    life.node.forget();
    let why = unsaved(&mut life, "a").await;
    assert_eq!(
        why,
        "last backup failed: the workspace daemon does not know the workspace."
    );
    assert!(!life.node.methods().contains(&"Dispose"));
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_fills() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    life.node.script("Init", [Act::Hold, Act::Hold]);
    life.start("a", REGULAR).await;
    life.node.called("Init").await;
    // Who asks learns what is awaited, and until when.
    let mut inspector = InspectorClient::new(life.world.channel().await);
    let request = ExplainWorkspaceRequest { id: "a".to_owned() };
    let explained = inspector.explain_workspace(request).await.unwrap();
    let explained = explained.into_inner();
    let step = format!(
        "initialize the content by the ws-daemon of node {}",
        explained.node
    );
    assert_eq!(explained.actions, [step]);
    assert_eq!(explained.next.unwrap().reason, "startup timeout");
    life.world.clock.advance(Duration::from_secs(3_700));
    let stopped = life.ends("a", "ws").await.conditions.unwrap();
    let why = "workspace timed out after ";
    assert!(stopped.timeout.starts_with(why), "{}", stopped.timeout);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_disposes() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    life.run("a", REGULAR).await;
    life.node.script("Dispose", [Act::Hold, Act::Hold]);
    life.world.stop_workspace("a").await;
    life.node.called("Dispose").await;
    life.world.clock.advance(Duration::from_secs(3_700));
    let stopped = life.ends("a", "ws").await.conditions.unwrap();
    let why = "last backup failed: workspace timed out after backup (";
    assert!(stopped.failed.starts_with(why), "{}", stopped.failed);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_it_to_fill() {
    let cluster = cluster::embedded().await;
    let mut life = Life::begin(&cluster).await;
    life.node.script("Init", [Act::Hold]);
    life.start("a", REGULAR).await;
    life.node.called("Init").await;
    let stopped = life.stop("a").await.conditions.unwrap();
    assert_eq!(
        (stopped.failed.as_str(), stopped.timeout.as_str()),
        ("", "")
    );
    life.end().await;
}
