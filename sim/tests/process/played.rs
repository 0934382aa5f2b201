//! Containers that are played: exec, which an annotation may wait for, and logs.

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, LogParams};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::world::{World, terminated, without_kubelet};

async fn playing() -> World {
    let mut world = without_kubelet().await;
    world.start_playing();
    world
}

/// Creates a pod with these annotations of the simulation.
async fn pod(world: &World, name: &str, annotations: &[(&str, &str)], spec: Value) {
    let mut spec = spec;
    spec["restartPolicy"] = json!("Never");
    spec["containers"] = json!([{ "name": "main", "image": "img" }]);
    let mut pod = json!({ "metadata": { "name": name, "annotations": {} }, "spec": spec });
    for (key, value) in annotations {
        pod["metadata"]["annotations"][format!("sim.wsman.dev/{key}")] = json!(value);
    }
    let _: Pod = world.create(pod).await;
}

async fn exec(world: &World, name: &str, container: &str) -> Result<(Status, String), kube::Error> {
    let params = AttachParams::default().container(container).stderr(true);
    let api = world.api::<Pod>();
    let mut process = api.exec(name, ["/guest", "release"], &params).await?;
    let status = process.take_status().unwrap();
    let mut note = String::new();
    let mut stderr = process.stderr().unwrap();
    stderr.read_to_string(&mut note).await.unwrap();
    Ok((status.await.unwrap(), note))
}

fn is_running(pod: &Value, list: &str) -> bool {
    pod["status"][list][0]["state"]["running"].is_object()
}

#[tokio::test]
async fn an_init_container_runs_until_an_exec() {
    let world = playing().await;
    let spec = json!({ "initContainers": [{ "name": "hold", "image": "img" }] });
    let annotations = [
        ("until-exec", "hold"),
        ("init-after", "0"),
        ("exit-after", "0"),
    ];
    pod(&world, "p", &annotations, spec).await;
    let runs = |pod: &Value| is_running(pod, "initContainerStatuses");
    world.until("p", runs).await;
    // Another pod comes, runs and ends; this one still waits.
    pod(&world, "other", &[("exit-after", "0")], json!({})).await;
    world.until_phase("other", "Succeeded").await;
    assert!(runs(&json!(world.api::<Pod>().get("p").await.unwrap())));
    let (status, note) = exec(&world, "p", "hold").await.unwrap();
    assert_eq!(status.status.as_deref(), Some("Success"));
    assert_eq!(note, "simulated: nothing was run\n");
    let ended = world.until_phase("p", "Succeeded").await;
    let end = &ended["status"]["initContainerStatuses"][0]["state"]["terminated"];
    assert_eq!(end["exitCode"], 0);
}

#[tokio::test]
async fn a_container_runs_until_an_exec_that_succeeds() {
    let world = playing().await;
    let annotations = [
        ("until-exec", "main"),
        ("exit-after", "0"),
        ("exit-code", "7"),
        ("exec-exit-code", "3"),
    ];
    pod(&world, "p", &annotations, json!({})).await;
    let runs = |pod: &Value| is_running(pod, "containerStatuses");
    world.until("p", runs).await;
    let (status, _) = exec(&world, "p", "main").await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    let causes = status.details.unwrap().causes.unwrap();
    assert_eq!(causes[0].message.as_deref(), Some("3"));
    // It failed, and changes nothing.
    pod(&world, "other", &[("exit-after", "0")], json!({})).await;
    world.until_phase("other", "Succeeded").await;
    assert!(runs(&json!(world.api::<Pod>().get("p").await.unwrap())));
    world
        .annotate("p", "sim.wsman.dev/exec-exit-code", None)
        .await;
    for _ in 0..2 {
        let executed = exec(&world, "p", "main").await;
        // The first may have ended it before the second.
        assert!(executed.is_ok() || world.until_phase("p", "Failed").await.is_object());
    }
    let ended = world.until_phase("p", "Failed").await;
    assert_eq!(terminated(&ended, "main")["exitCode"], 7);
}

#[tokio::test]
async fn execs_fail_as_scripted() {
    let world = playing().await;
    let annotations = [("exec-error", "502"), ("exec-error-times", "2")];
    pod(&world, "p", &annotations, json!({})).await;
    world.until_ready("p").await;
    for _ in 0..2 {
        let refused = exec(&world, "p", "main").await.unwrap_err();
        assert!(refused.to_string().contains("502"), "{refused}");
    }
    assert!(exec(&world, "p", "main").await.is_ok());
    let unknown = exec(&world, "p", "other").await;
    assert!(unknown.is_err());
    pod(&world, "pending", &[("unschedulable", "no")], json!({})).await;
    assert!(exec(&world, "pending", "main").await.is_err());
}

#[tokio::test]
async fn a_paced_log_is_followed_to_its_end() {
    let world = playing().await;
    let annotations = [
        ("logs", "one\n100ms: two\n1h: never"),
        ("exit-after", "1500ms"),
    ];
    pod(&world, "p", &annotations, json!({})).await;
    world.until_phase("p", "Running").await;
    let params = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let lines = world.api::<Pod>().log_stream("p", &params).await.unwrap();
    let lines: Vec<_> = lines.lines().try_collect().await.unwrap();
    assert_eq!(lines, ["one", "two"]);
    let pod = world.until_phase("p", "Succeeded").await;
    assert_eq!(terminated(&pod, "main")["exitCode"], 0);
}
