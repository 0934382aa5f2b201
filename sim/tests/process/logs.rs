//! Logs of processes, through the API server.

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use serde_json::json;

use crate::world::{container, empty_dir, shell, start};

#[tokio::test]
async fn a_log_is_followed_to_its_end() {
    let world = start().await;
    let init = shell("init", "mkfifo \"$WSMAN_ROOTFS/data/go\"");
    let script =
        "echo one; read line < \"$WSMAN_ROOTFS/data/go\"; echo \"$line\" >&2; printf end >&2";
    let spec = json!({
        "initContainers": [init], "containers": [shell("main", script)], "volumes": empty_dir(),
    });
    world.pod("p", spec).await;
    let pod = world.until_phase("p", "Running").await;
    let params = LogParams {
        follow: true,
        container: Some("main".to_owned()),
        ..LogParams::default()
    };
    let lines = world.api::<Pod>().log_stream("p", &params).await.unwrap();
    let mut lines = lines.lines();
    assert_eq!(lines.try_next().await.unwrap().unwrap(), "one");
    let go = world.home(&pod).join("volumes/data/go");
    tokio::fs::write(go, "two\n").await.unwrap();
    assert_eq!(lines.try_next().await.unwrap().unwrap(), "two");
    assert_eq!(lines.try_next().await.unwrap().unwrap(), "end");
    assert_eq!(lines.try_next().await.unwrap(), None);
}

#[tokio::test]
async fn lines_are_selected() {
    let world = start().await;
    let spec = json!({ "containers": [shell("main", "seq 1 5")], "volumes": empty_dir() });
    world.pod("p", spec).await;
    world.until_phase("p", "Succeeded").await;
    let api = world.api::<Pod>();
    let log = async |params: LogParams| api.logs("p", &params).await.unwrap();
    let tail = LogParams {
        tail_lines: Some(2),
        ..LogParams::default()
    };
    assert_eq!(log(tail).await, "4\n5\n");
    let limit = LogParams {
        limit_bytes: Some(3),
        ..LogParams::default()
    };
    assert_eq!(log(limit).await, "1\n2");
    let timestamps = LogParams {
        timestamps: true,
        tail_lines: Some(1),
        ..LogParams::default()
    };
    let line = log(timestamps).await;
    assert!(line.ends_with("Z 5\n"), "{line}");
    let wrong = LogParams {
        container: Some("none".to_owned()),
        ..LogParams::default()
    };
    assert!(api.logs("p", &wrong).await.is_err());
}

#[tokio::test]
async fn the_previous_run_has_its_own_log() {
    let world = start().await;
    let script = "if [ -e \"$WSMAN_ROOTFS/data/again\" ]; then echo second; sleep 1000; fi; touch \"$WSMAN_ROOTFS/data/again\"; echo first; exit 1";
    let spec = json!({
        "containers": [shell("main", script)], "volumes": empty_dir(), "restartPolicy": "OnFailure",
    });
    world.pod("p", spec).await;
    let again = |pod: &serde_json::Value| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"] == 1 && status["state"]["running"].is_object()
    };
    let pod = world.until("p", again).await;
    let last = &container(&pod, "main")["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 1);
    let previous = LogParams {
        previous: true,
        ..LogParams::default()
    };
    let log = world.api::<Pod>().logs("p", &previous).await.unwrap();
    assert_eq!(log, "first\n");
    let follow = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let lines = world.api::<Pod>().log_stream("p", &follow).await.unwrap();
    assert_eq!(lines.lines().try_next().await.unwrap().unwrap(), "second");
}
