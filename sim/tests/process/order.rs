//! Init containers, sidecars and containers in their order.

use serde_json::json;

use crate::world::{ORDER, container, empty_dir, shell, start, terminated, until_terminated};

#[tokio::test]
async fn init_containers_run_one_after_the_other() {
    let world = start().await;
    let append = |name: &str| shell(name, &format!("echo {name} >> \"{ORDER}\""));
    let main = shell("main", &format!("cat \"{ORDER}\"; pwd"));
    let spec = json!({
        "initContainers": [append("a"), append("b"), append("c")],
        "containers": [main], "volumes": empty_dir(),
    });
    world.pod("p", spec).await;
    let pod = world.until_phase("p", "Succeeded").await;
    let rootfs = world.home(&pod).join("containers/main/rootfs");
    let expected = format!("a\nb\nc\n{}\n", rootfs.display());
    assert_eq!(world.log("p", "main").await, expected);
    let end = terminated(&pod, "main");
    assert_eq!(end["reason"], "Completed");
    assert!(end["startedAt"].is_string() && end["finishedAt"].is_string());
    assert_eq!(terminated(&pod, "b")["exitCode"], 0);
}

#[tokio::test]
async fn a_failed_init_container_fails_the_pod() {
    let world = start().await;
    let spec = json!({
        "initContainers": [shell("a", "exit 3")],
        "containers": [shell("main", "true")], "volumes": empty_dir(),
    });
    world.pod("p", spec).await;
    let pod = world.until_phase("p", "Failed").await;
    assert_eq!(terminated(&pod, "a")["exitCode"], 3);
    let main = container(&pod, "main");
    assert_eq!(main["state"]["waiting"]["reason"], "PodInitializing");
}

#[tokio::test]
async fn sidecars_outlive_the_containers_and_end_in_reverse() {
    let world = start().await;
    let sidecar = |name: &str| {
        let mut sidecar = shell(name, &until_terminated(name));
        sidecar["restartPolicy"] = json!("Always");
        sidecar["startupProbe"] = json!({
            "exec": { "command": ["grep", "-q", format!("{name} starts"), "/data/order"] }, "periodSeconds": 1,
        });
        sidecar
    };
    let main = format!("echo main >> \"{ORDER}\"; exit 1");
    let claim = json!({ "metadata": { "name": "data" }, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } },
    } });
    let _: k8s_openapi::api::core::v1::PersistentVolumeClaim = world.create(claim).await;
    let spec = json!({
        "initContainers": [sidecar("s1"), sidecar("s2")],
        "containers": [shell("main", &main)],
        "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }],
    });
    world.pod("p", spec).await;
    let pod = world.until_phase("p", "Failed").await;
    assert_eq!(terminated(&pod, "main")["exitCode"], 1);
    assert_eq!(terminated(&pod, "s1")["exitCode"], 0);
    let order = std::fs::read_to_string(world.directory().join("claims/default/data/order"));
    assert_eq!(
        order.unwrap(),
        "s1 starts\ns2 starts\nmain\ns2 ends\ns1 ends\n"
    );
}

#[tokio::test]
async fn a_sidecar_restarts_while_the_pod_runs() {
    let world = start().await;
    let mut sidecar = shell("s", "exit 5");
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({
        "initContainers": [sidecar],
        "containers": [shell("main", "sleep 1000")], "volumes": empty_dir(),
    });
    world.pod("p", spec).await;
    let pod = world
        .until("p", |pod| {
            let status = &pod["status"]["initContainerStatuses"][0];
            status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    let sidecar = container(&pod, "s");
    assert_eq!(sidecar["lastState"]["terminated"]["exitCode"], 5);
    assert_eq!(pod["status"]["phase"], "Running");
    world.delete("p").await;
}

#[tokio::test]
async fn a_container_is_ready_when_its_probe_says_so() {
    let world = start().await;
    let mut probed = shell(
        "main",
        "read line < \"$WSMAN_ROOTFS/data/go\"; touch \"$WSMAN_ROOTFS/data/ready\"; sleep 1000",
    );
    probed["readinessProbe"] = json!({
        "exec": { "command": ["test", "-e", "/data/ready"] }, "periodSeconds": 1,
    });
    let init = shell("init", "mkfifo \"$WSMAN_ROOTFS/data/go\"");
    let spec = json!({ "initContainers": [init], "containers": [probed], "volumes": empty_dir() });
    world.pod("p", spec).await;
    let pod = world.until_phase("p", "Running").await;
    assert_eq!(container(&pod, "main")["ready"], false);
    let go = world.home(&pod).join("volumes/data/go");
    tokio::fs::write(go, "go\n").await.unwrap();
    world.until_ready("p").await;
}

#[tokio::test]
async fn a_port_is_probed_on_loopback() {
    let world = start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut probed = shell("main", "sleep 1000");
    probed["ports"] = json!([{ "name": "web", "containerPort": port }]);
    probed["readinessProbe"] = json!({ "tcpSocket": { "port": "web" } });
    let mut asked = shell("asked", "sleep 1000");
    let port = world.server.addr().port();
    asked["readinessProbe"] = json!({ "httpGet": { "path": "/healthz", "port": port } });
    let spec = json!({ "containers": [probed, asked], "volumes": empty_dir() });
    world.pod("p", spec).await;
    let pod = world.until_ready("p").await;
    assert_eq!(pod["status"]["podIP"], "127.0.0.1");
    // This path is not open.
    let mut refused = shell("main", "sleep 1000");
    refused["readinessProbe"] = json!({
        "httpGet": { "path": "/api/v1/pods", "port": port }, "failureThreshold": 1,
    });
    let spec = json!({ "containers": [refused], "volumes": empty_dir() });
    world.pod("refused", spec).await;
    assert_eq!(
        world.event("Unhealthy").await,
        "Readiness probe failed: HTTP probe failed with statuscode: 401"
    );
}

#[tokio::test]
async fn a_container_without_a_command_waits_and_an_event_says_so() {
    let world = start().await;
    let spec = json!({ "containers": [{ "name": "main", "image": "some/image" }] });
    world.pod("p", spec).await;
    world.until_ready("p").await;
    let event = world.event("ProcessRuntime").await;
    assert!(
        event.contains("without images, isolation, users and limits"),
        "{event}"
    );
    assert!(event.contains("the entry point of the image"), "{event}");
    let log = world.log("p", "main").await;
    assert!(log.contains("has no command"), "{log}");
    world.delete("p").await;
}
