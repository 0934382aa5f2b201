//! What is left of a workspace that ended: the last status for who asks for it, the reason for everybody else, and a line of
//! the log.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use wsman::json;
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;

use super::processes::{write_config, wsman};
use super::support::cluster::{self, Cluster};
use super::support::story::Story;
use super::support::world::{TIMEOUT, World, request};

on_both_clusters! {
    an_end_is_remembered_with_its_reason
}

fn asking<T>(message: T, value: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    let value = value.parse().unwrap();
    request.metadata_mut().insert("wsman-include-ended", value);
    request
}

fn describe(id: &str) -> DescribeWorkspaceRequest {
    DescribeWorkspaceRequest { id: id.to_owned() }
}

async fn describe_ended(world: &World, id: &str) -> Result<WorkspaceStatus, Status> {
    let mut client = world.client.clone();
    let answer = client.describe_workspace(asking(describe(id), "true"));
    Ok(answer.await?.into_inner().status.unwrap())
}

async fn list_ended(world: &World, owner: &str) -> Vec<WorkspaceStatus> {
    let must_match = Some(MetadataFilter {
        owner: owner.to_owned(),
        ..Default::default()
    });
    let mut client = world.client.clone();
    let answer = client.get_workspaces(asking(GetWorkspacesRequest { must_match }, "true"));
    answer.await.unwrap().into_inner().status
}

async fn an_end_is_remembered_with_its_reason(cluster: &Cluster) {
    let mut story = Story::begin(cluster).await;
    story.run("stopped").await;
    let script = json!({ "exit-after": "400ms", "exit-code": "3" });
    story.start_as(request("failed"), script).await;
    let failed = story.until("failed", WorkspacePhase::Stopped).await;
    story.stop("stopped", StopWorkspacePolicy::Normally).await;
    let stopped = story.until("stopped", WorkspacePhase::Stopped).await;
    for name in ["ws-stopped", "ws-failed"] {
        cluster.gone::<Pod>(name).await;
    }
    story.quiet("stopped").await;
    let world = &story.world;
    for (last, why) in [
        (&stopped, "stopped by request"),
        (
            &failed,
            "failed: container workspace ran with an error: exit code 3",
        ),
    ] {
        let id = last.id.as_str();
        let unknown = world.describe(id).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
        let info = unknown.get_details_error_info().unwrap();
        assert_eq!(info.reason, "WORKSPACE_NOT_FOUND");
        let at: Timestamp = info.metadata["ended"].parse().unwrap();
        assert_eq!(info.metadata["why"], why);
        let text = format!("workspace {id} does not exist: it ended at {at}, {why}");
        assert_eq!(unknown.message(), text);
        let active = MarkActiveRequest {
            id: id.to_owned(),
            ..Default::default()
        };
        let unknown = world.client.clone().mark_active(active).await.unwrap_err();
        assert_eq!(unknown.message(), text);
        let timeout = SetTimeoutRequest {
            id: id.to_owned(),
            duration: "1h".to_owned(),
            ..Default::default()
        };
        let unknown = world.client.clone().set_timeout(timeout).await.unwrap_err();
        assert_eq!(
            (unknown.code(), unknown.message()),
            (Code::NotFound, text.as_str())
        );
        assert_eq!(&describe_ended(world, id).await.unwrap(), last);
        assert!(list_ended(world, "jane").await.contains(last));
    }
    assert_eq!(world.list().await, []);
    assert_eq!(list_ended(world, "john").await, []);
    let never = describe_ended(world, "never").await.unwrap_err();
    assert_eq!(never.message(), "workspace never does not exist");
    let mut client = world.client.clone();
    let wrong = client.describe_workspace(asking(describe("stopped"), "yes"));
    assert_eq!(wrong.await.unwrap_err().code(), Code::InvalidArgument);

    let addr = world.addr;
    for host in [addr.to_string(), format!("http://{addr}/rpc")] {
        let run = |args: &[&str]| {
            let mut command = wsman();
            command.args(["client", "-H", &host]).args(args);
            let done = tokio::task::block_in_place(|| command.output().unwrap());
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (done.status.code(), text(done.stdout), text(done.stderr))
        };
        let (code, stdout, _) = run(&["list", "--include-ended"]);
        assert!(code == Some(0) && stdout.contains("failed"), "{stdout}");
        let (code, stdout, _) = run(&["list"]);
        assert!(code == Some(0) && !stdout.contains("failed"), "{stdout}");
        let (code, stdout, _) = run(&["describe", "failed", "--include-ended"]);
        assert!(code == Some(0) && stdout.contains("STOPPED"), "{stdout}");
        for verb in ["describe", "explain"] {
            let (code, _, stderr) = run(&[verb, "failed"]);
            assert!(
                code == Some(3) && stderr.contains("exit code 3"),
                "{stderr}"
            );
        }
    }

    // A new start takes the place of what ended before.
    story.updates = story.world.subscribe().await;
    let running = story.run("stopped").await;
    let described = describe_ended(&story.world, "stopped").await.unwrap();
    assert_eq!(described.phase(), WorkspacePhase::Running);
    let listed = list_ended(&story.world, "jane").await;
    let ids: Vec<_> = listed.iter().filter(|s| s.id == running.id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(ids[0].phase(), WorkspacePhase::Running);
    story.end().await;
}

/// A whole life of a daemon, with workspaces that end in different ways and a broker's URL that is badly escaped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_run_is_json_with_a_line_for_each_stop() {
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path(), &cluster.namespace, 0);
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["manager"]["unknownClass"] = "default".into();
    for (class, script) in [
        ("fails", json!({ "exit-after": "1s", "exit-code": "3" })),
        ("completes", json!({ "exit-after": "1s", "exit-code": "0" })),
    ] {
        let file = folder.path().join(class);
        let script = script.as_object().unwrap().iter();
        let script = script.map(|(key, value)| (format!("sim.wsman.dev/{key}"), value.clone()));
        let annotations: serde_json::Map<_, _> = script.collect();
        let template = json!({ "metadata": { "annotations": annotations } });
        std::fs::write(&file, template.to_string()).unwrap();
        config["manager"]["workspaceClass"][class] = json!({
            "name": class, "container": {}, "templates": { "defaultPath": file },
        });
    }
    let url = folder.path().join("url");
    std::fs::write(&url, "amqp://user:QQQ@127.0.0.1:1/SSS").unwrap();
    config["messagebus"] = json!({ "urlFile": url, "stoppedTimeout": "1s" });
    std::fs::write(&path, config.to_string()).unwrap();
    let log = folder.path().join("log");
    let mut child = wsman()
        .args(["run", "--json-log", "--verbose", "--config"])
        .arg(&path)
        .arg("--kubeconfig")
        .arg(&cluster.kubeconfig)
        // Libraries log spans and fields of their own, with whatever names.
        .env("RUST_LOG", "debug")
        .stdout(Stdio::piped())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let addr = line.split(' ').nth(3).unwrap().to_owned();
    // Read again at each connection, by now badly escaped.
    std::fs::write(&url, "amqp://user:QQQ@RRR/SSS@127.0.0.1").unwrap();
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let mut client = WorkspaceManagerClient::new(channel.connect().await.unwrap());
    let all = ["asked", "fails", "completes", "unknown"];
    for class in all {
        let mut start = request(class);
        start.r#type = WorkspaceType::Prebuild.into();
        let spec = start.spec.as_mut().unwrap();
        spec.class = if class == "asked" { "" } else { class }.to_owned();
        client.start_workspace(start).await.unwrap();
    }
    for id in ["asked", "unknown"] {
        let stop = StopWorkspaceRequest {
            id: id.to_owned(),
            ..Default::default()
        };
        client.stop_workspace(stop).await.unwrap();
    }
    for id in all {
        cluster.gone::<Pod>(&format!("prebuild-{id}")).await;
    }
    drop(client);
    let pid = child.id().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(killed.unwrap().success());
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
    let ended = tokio::time::timeout(TIMEOUT, ended).await.unwrap().unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(ended.success(), "{text}");
    let mut stops = HashSet::new();
    let mut messages = HashSet::new();
    for line in text.lines() {
        let (line, twice) = json::read(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(twice.is_empty(), "{twice:?} in {line}");
        let field = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        messages.insert(field("message"));
        if field("message") == "stopping a workspace" {
            assert_eq!(
                (field("level").as_str(), field("owner").as_str()),
                ("INFO", "jane")
            );
            let stop = (field("group"), field("reason"));
            assert_eq!(field("meta_id"), format!("m-{}", stop.0));
            assert!(stops.insert(stop), "{line} comes twice");
        }
    }
    let expected = [
        ("asked", "stopped by request"),
        (
            "fails",
            "failed: container workspace ran with an error: exit code 3",
        ),
        ("completes", "completed"),
        ("unknown", "stopped by request"),
    ];
    let expected = expected.map(|(id, why)| (id.to_owned(), why.to_owned()));
    assert_eq!(stops, expected.into());
    assert!(
        messages.contains("unknown class, started with another"),
        "{text}"
    );
    assert!(
        text.contains("the address of the broker has an '@'"),
        "{text}"
    );
    for piece in ["QQQ", "RRR", "SSS"] {
        assert!(
            !text.contains(piece),
            "a piece of the password is in the log"
        );
    }
}
