//! Why a workspace is as it is: the daemon's own answer, over gRPC, over HTTP, and as `client explain` prints it.

use std::process::Stdio;

use wsman::proto::wsman::inspect::v1::inspector_client::InspectorClient;
use wsman::proto::wsman::inspect::v1::{ExplainWorkspaceRequest, ExplainWorkspaceResponse};
use wsman::proto::wsman::*;

use super::support::cluster::{self, Cluster};
use super::support::story::{Story, created, request_with};

on_both_clusters! {
    an_explanation_names_the_rule_and_what_comes_next
    an_explanation_shows_what_the_cluster_says
}

async fn an_explanation_names_the_rule_and_what_comes_next(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let running = story.run("asked").await;
    let active = story.mark_active("asked", false).await;
    let explained = explain(&story, "asked").await.unwrap();
    assert_eq!(explained.phase(), WorkspacePhase::Running);
    assert_eq!(explained.phase_rule, "P11");
    assert_eq!(explained.rule, "nothing to do");
    assert_eq!(explained.owner, "jane");
    assert_eq!(explained.pod, "ws-asked");
    assert_eq!(explained.node, super::support::story::node(&running));
    assert!(explained.leader);
    assert_eq!(at(&explained.created), Some(created(&running)));
    assert_eq!(at(&explained.last_activity), Some(active));
    let next = explained.next.unwrap();
    assert_eq!(next.reason, "inactivity timeout");
    assert_eq!(next.source, "manager.timeouts.regularWorkspace");
    let idle = active + jiff::SignedDuration::from_mins(30);
    assert_eq!(at(&next.at), Some(idle));
    story.end().await;
}

async fn an_explanation_shows_what_the_cluster_says(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    let request = request_with("offline", |_| {});
    let script = serde_json::json!({ "network-not-ready": "cni is asleep" });
    story.start_as(request, script).await;
    story.until("offline", WorkspacePhase::Creating).await;
    // Events come by a watch of their own.
    let mut warning = None;
    while warning.is_none() {
        story.pause().await;
        let explained = explain(&story, "offline").await.unwrap();
        let mut warnings = explained.warnings.into_iter();
        warning = warnings.find(|warning| warning.reason == "NetworkNotReady");
    }
    let warning = warning.unwrap();
    assert!(
        warning.message.contains("cni is asleep"),
        "{}",
        warning.message
    );
    let unknown = explain(&story, "nobody").await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let invalid = explain(&story, "a,b=c").await.unwrap_err();
    assert_eq!(invalid.code(), tonic::Code::InvalidArgument);
    story.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_prints_the_same_over_grpc_and_http() {
    let cluster = cluster::embedded().await;
    let mut story = Story::begin(&cluster).await;
    story.run("shown").await;
    let addr = story.world.addr;
    let mut printed = Vec::new();
    for address in [
        format!("grpc://{addr}"),
        format!("http://{addr}/rpc"),
        format!("http://{addr}"),
    ] {
        printed.push(client(&address, &["explain", "shown"]).await);
    }
    assert_eq!(printed[0], printed[1]);
    assert_eq!(printed[0], printed[2]);
    let expected = [
        "workspace        shown (pod ws-shown)",
        "owner            jane",
        "phase            RUNNING (rule P11)",
        "last active      never",
        "now              nothing to do",
        "(manager.timeouts.startup)",
    ];
    for line in expected {
        assert!(printed[0].contains(line), "{line} in {}", printed[0]);
    }
    let json = client(
        &format!("grpc://{addr}"),
        &["explain", "shown", "-o", "json"],
    )
    .await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["phase_rule"], "P11");
    story.end().await;
}

async fn explain(story: &Story<'_>, id: &str) -> Result<ExplainWorkspaceResponse, tonic::Status> {
    let mut inspector = InspectorClient::new(story.world.channel().await);
    let request = ExplainWorkspaceRequest { id: id.to_owned() };
    let answer = inspector.explain_workspace(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn client(address: &str, args: &[&str]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wsman"));
    command.arg("client").args(["-H", address]).args(args);
    command.env_remove("WSMAN_HOST").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn at(moment: &Option<pbjson_types::Timestamp>) -> Option<jiff::Timestamp> {
    let moment = moment.as_ref()?;
    Some(jiff::Timestamp::new(moment.seconds, moment.nanos).unwrap())
}
