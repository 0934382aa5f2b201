//! The guest holds a container that is a process: it is installed, waits, is ready by its port, and is released by exec.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, LogParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use wsman_sim::kubelet::ProcessRuntime;

use super::support::cluster::with_processes;
use super::support::world::TIMEOUT;

/// Waits until the pod, as JSON, is as wanted.
async fn until(api: &Api<Pod>, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let met = |pod: Option<&Pod>| pod.is_some_and(|pod| wanted(&json!(pod)));
    let waits = await_condition(api.clone(), name, met);
    let pod = tokio::time::timeout(TIMEOUT, waits).await.unwrap().unwrap();
    json!(pod)
}

async fn release(api: &Api<Pod>, name: &str, variable: &str) -> Option<String> {
    let params = AttachParams::default().container("main").stderr(false);
    let command = ["/guest/hold", "release", "--env", variable];
    let mut process = api.exec(name, command, &params).await.unwrap();
    process.take_status().unwrap().await.unwrap().status
}

#[tokio::test]
async fn a_container_is_held_until_its_release() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Path::new(env!("CARGO_BIN_EXE_wsman")).with_file_name("wsman-guest");
    assert!(guest.exists(), "build it: cargo build");
    let cluster = with_processes(ProcessRuntime {
        directory: folder.path().join("kubelet"),
        allow_root: rustix::process::getuid().is_root(),
        programs: [("/wsman-guest".to_owned(), guest)].into(),
    })
    .await;
    let api = cluster.api::<Pod>().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = port.local_addr().unwrap().port().to_string();
    drop(port);
    let mounts = json!([{ "name": "guest", "mountPath": "/guest" }]);
    let script = "echo \"$PEERS\"; exit 4";
    for name in ["one", "two"] {
        let pod = json!({ "metadata": { "name": name }, "spec": {
            "restartPolicy": "Never",
            "volumes": [{ "name": "guest", "emptyDir": {} }],
            "initContainers": [{
                "name": "install", "image": "guest", "volumeMounts": mounts,
                "command": ["/wsman-guest", "install", "/guest/hold"],
            }],
            "containers": [{
                "name": "main", "image": "none", "volumeMounts": mounts,
                "command": ["/guest/hold", "hold", "--", "sh", "-c", script],
                "readinessProbe": { "exec": { "command": ["/guest/hold", "ports", number] }, "periodSeconds": 1 },
            }],
        } });
        let pod = serde_json::from_value(pod).unwrap();
        api.create(&PostParams::default(), &pod).await.unwrap();
    }
    let runs = |pod: &Value| pod["status"]["phase"] == "Running";
    let held = until(&api, "one", runs).await;
    assert_eq!(held["status"]["containerStatuses"][0]["ready"], false);
    let _port = TcpListener::bind(format!("127.0.0.1:{number}")).unwrap();
    until(&api, "one", |pod| {
        pod["status"]["containerStatuses"][0]["ready"] == true
    })
    .await;
    let success = Some("Success".to_owned());
    assert_eq!(release(&api, "one", "PEERS=a:1,b:2").await, success);
    let ended = until(&api, "one", |pod| pod["status"]["phase"] == "Failed").await;
    let end = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(end["exitCode"], 4);
    let main = LogParams {
        container: Some("main".to_owned()),
        ..LogParams::default()
    };
    assert_eq!(api.logs("one", &main).await.unwrap(), "a:1,b:2\n");
    // The other is a container of its own, and still waits.
    let other = until(&api, "two", runs).await;
    assert!(other["status"]["containerStatuses"][0]["state"]["running"].is_object());
    assert_eq!(release(&api, "two", "PEERS=c:3").await, success);
    until(&api, "two", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(api.logs("two", &main).await.unwrap(), "c:3\n");
}
