//! What callers and programs of the classic manager rely on beside the calls themselves.

use std::process::{Output, Stdio};

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use serde_json::json;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use wsman::proto::contentservice::{
    GitConfig, GitInitializer, WorkspaceInitializer, workspace_initializer::Spec,
};
use wsman::proto::wsman::*;

use super::processes::{write_config, wsman};
use super::support::cluster::{self, Cluster};
use super::support::world::{World, request};

on_both_clusters! {
    an_unknown_class_is_named_or_refused
    a_variable_without_a_name_is_dropped
    content_without_a_backend_is_rejected_on_both_kinds_of_node
}

fn of_class(id: &str, class: &str) -> StartWorkspaceRequest {
    let mut request = request(id);
    request.spec.as_mut().unwrap().class = class.to_owned();
    request
}

async fn start(
    world: &World,
    request: StartWorkspaceRequest,
) -> Result<Response<StartWorkspaceResponse>, Status> {
    world.client.clone().start_workspace(request).await
}

fn fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().unwrap();
    let fields = bad.field_violations.into_iter();
    fields.map(|violation| violation.field).collect()
}

async fn pods(cluster: &Cluster) -> usize {
    let pods = cluster.api::<Pod>().await;
    pods.list(&ListParams::default()).await.unwrap().items.len()
}

async fn an_unknown_class_is_named_or_refused(cluster: &Cluster) {
    let world = World::start_with(cluster.client().await, &cluster.namespace, |config| {
        config["manager"]["unknownClass"] = "default".into();
    })
    .await;
    for (id, asked, got) in [
        ("a", "huge", "default"),
        ("b", "large", "large"),
        ("c", "", "default"),
        // The same start again has the same answer.
        ("a", "huge", "default"),
    ] {
        let answer = start(&world, of_class(id, asked)).await.unwrap();
        let class = answer.metadata().get("wsman-class").unwrap();
        assert_eq!(class.to_str().unwrap(), got, "{asked}");
        let described = world.describe(id).await.unwrap();
        assert_eq!(described.spec.unwrap().class, got, "{asked}");
    }
    world.reconfigure(|config| config["manager"]["unknownClass"] = "refuse".into());
    let before = pods(cluster).await;
    let refused = start(&world, of_class("d", "huge")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(fields(&refused), ["spec.class"]);
    for part in ["\"huge\"", "default", "large"] {
        assert!(refused.message().contains(part), "{refused}");
    }
    assert_eq!(pods(cluster).await, before);
    start(&world, of_class("e", "")).await.unwrap();
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_that_every_workspace_has_are_not_exposed() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    world.start_workspace("a").await;
    for port in [22_999, 23_000] {
        let spec = PortSpec {
            port,
            ..Default::default()
        };
        let mut start = request("b");
        start.spec.as_mut().unwrap().ports = vec![spec.clone()];
        let refused = world.client.clone().start_workspace(start).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert_eq!(fields(&refused), ["spec.ports[0].port"]);
        let control = |expose| ControlPortRequest {
            id: "a".to_owned(),
            expose,
            spec: Some(spec.clone()),
        };
        let mut client = world.client.clone();
        let refused = client.control_port(control(true)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert_eq!(fields(&refused), ["spec.port"]);
        // What another manager exposed can be hidden.
        client.control_port(control(false)).await.unwrap();
    }
    assert_eq!(pods(&cluster).await, 1);
    world.drain().await.unwrap();
}

async fn a_variable_without_a_name_is_dropped(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let nameless = |value: &str| EnvironmentVariable {
        name: String::new(),
        value: value.to_owned(),
        secret: None,
    };
    let mut start = request("a");
    let spec = start.spec.as_mut().unwrap();
    spec.envvars.insert(0, nameless("one"));
    spec.sys_envvars.push(nameless("two"));
    world.client.clone().start_workspace(start).await.unwrap();
    let pod = cluster.appears::<Pod>("ws-a").await;
    let names = pod.spec.unwrap().containers.remove(0).env.unwrap();
    let names: Vec<_> = names.into_iter().map(|var| var.name).collect();
    assert!(names.iter().all(|name| !name.is_empty()), "{names:?}");
    assert!(names.contains(&"GREETING".to_owned()), "{names:?}");
    let secret = cluster.appears::<Secret>("ws-a").await;
    assert_eq!(secret.data.unwrap().len(), 1);
    world.drain().await.unwrap();
}

async fn content_without_a_backend_is_rejected_on_both_kinds_of_node(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut git = request("a");
    git.spec.as_mut().unwrap().initializer = Some(WorkspaceInitializer {
        spec: Some(Spec::Git(GitInitializer {
            remote_uri: "https://example.com/repository".to_owned(),
            config: Some(GitConfig::default()),
            ..Default::default()
        })),
    });
    for host in ["", "registry.example.com"] {
        world.reconfigure(|config| {
            config["manager"]["registryFacadeHost"] = host.into();
            config["manager"]["workspaceHostPath"] = "/var/workspaces".into();
        });
        let refused = world.client.clone().start_workspace(git.clone()).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(info.metadata["state"], "NO_CONTENT_BACKEND");
        assert_eq!(pods(cluster).await, 0);
    }
    world.drain().await.unwrap();
}

/// Runs `render` on a request for a class, with a policy for unknown ones.
fn render(class: &str, rule: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), "default", 0);
    let mut value: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    value["manager"]["unknownClass"] = rule.into();
    std::fs::write(&config, value.to_string()).unwrap();
    let file = folder.path().join("request.json");
    let request = json!({
        "id": "a", "servicePrefix": "p", "metadata": { "owner": "o", "metaId": "m" },
        "spec": {
            "class": class, "workspaceImage": "i", "workspaceLocation": "l",
            "initializer": { "empty": {} },
        },
    });
    std::fs::write(&file, request.to_string()).unwrap();
    let mut command = wsman();
    command.arg("render").arg("--config").arg(config).args(more);
    command.arg(file).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn render_warns_of_an_unknown_class_or_refuses_it() {
    let warned = render("huge", "default", &[]);
    let stderr = String::from_utf8(warned.stderr).unwrap();
    assert!(warned.status.success(), "{stderr}");
    assert_eq!(
        stderr,
        "warning: the configuration has no class \"huge\"; shown is class \"default\"\n"
    );
    assert_eq!(render("large", "default", &[]).stderr, b"");
    let refused = render("huge", "refuse", &[]);
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("its classes: default, large"), "{stderr}");
    assert_eq!(refused.stdout, b"");
    let lenient = render("huge", "refuse", &["--lenient"]);
    assert!(lenient.status.success() && !lenient.stderr.is_empty());
}
