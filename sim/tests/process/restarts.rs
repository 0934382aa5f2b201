//! Kubelets that stop and start again, and those that cannot start.

use std::os::unix::process::CommandExt;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use wsman_sim::kubelet::{self, Error};

use crate::world::{self, container, empty_dir, shell, start, terminated, until_removed};

#[tokio::test]
async fn what_ran_before_a_restart_has_ended() {
    let mut world = start().await;
    let spec = |policy: &str| {
        json!({
            "containers": [shell("main", "sleep 1000")],
            "volumes": empty_dir(), "restartPolicy": policy,
        })
    };
    world.pod("never", spec("Never")).await;
    world.pod("always", spec("Always")).await;
    world.until_ready("never").await;
    world.until_ready("always").await;
    world.stop_kubelet().await;
    world.start_kubelet();
    let pod = world.until_phase("never", "Failed").await;
    let end = terminated(&pod, "main");
    assert_eq!(
        (&end["exitCode"], &end["reason"]),
        (&json!(137), &json!("Error"))
    );
    let message = end["message"].as_str().unwrap();
    assert!(message.contains("the node was restarted"), "{message}");
    let again = |pod: &serde_json::Value| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"] == 1 && status["state"]["running"].is_object()
    };
    let pod = world.until("always", again).await;
    let last = &container(&pod, "main")["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 137);
}

#[tokio::test]
async fn a_kubelet_that_stops_kills_its_processes() {
    let mut world = start().await;
    let script = "sleep 1000 & echo $! > \"$WSMAN_ROOTFS/data/pid.new\"; mv \"$WSMAN_ROOTFS/data/pid.new\" \"$WSMAN_ROOTFS/data/pid\"; wait";
    let mut main = shell("main", script);
    main["readinessProbe"] =
        json!({ "exec": { "command": ["test", "-e", "/data/pid"] }, "periodSeconds": 1 });
    let spec = json!({ "containers": [main], "volumes": empty_dir() });
    world.pod("p", spec).await;
    let pod = world.until_ready("p").await;
    let pid = std::fs::read_to_string(world.home(&pod).join("volumes/data/pid")).unwrap();
    world.stop_kubelet().await;
    world::until_ended(pid.trim()).await;
}

#[tokio::test]
async fn an_abandoned_directory_is_removed_with_its_processes() {
    let world = start().await;
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let age = |directory: &std::path::Path| {
        let lock = std::fs::File::options()
            .append(true)
            .open(directory.join("lock"));
        lock.unwrap().set_modified(old).unwrap();
    };
    let folder = tempfile::tempdir().unwrap();
    let abandoned = folder.path().join("pods-1");
    let root = abandoned.join("pods/gone/containers/main/rootfs");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(abandoned.join("lock"), "").unwrap();
    let mut left = std::process::Command::new("sleep");
    left.arg("1000").env("WSMAN_ROOTFS", &root);
    let mut left = left.spawn().unwrap();
    // It may just be opened.
    kubelet::remove_abandoned(&abandoned);
    assert!(abandoned.exists());
    age(&abandoned);
    kubelet::remove_abandoned(&abandoned);
    assert!(!abandoned.exists());
    let ended = tokio::task::spawn_blocking(move || left.wait().unwrap());
    assert!(!ended.await.unwrap().success());
    // That of a kubelet that lives stays.
    age(&world.directory());
    kubelet::remove_abandoned(&world.directory());
    assert!(world.directory().exists());
}

#[tokio::test]
async fn a_restart_kills_leftovers() {
    let mut world = world::without_kubelet().await;
    // As a kubelet that was killed leaves it.
    let mut left = std::process::Command::new("sleep")
        .arg("1000")
        .process_group(0)
        .spawn()
        .unwrap();
    let processes = world
        .directory()
        .join("pods/gone/containers/main/processes");
    std::fs::create_dir_all(&processes).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", left.id())).unwrap();
    let started = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19);
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let record = format!("{} {} {boot}", left.id(), started.unwrap());
    std::fs::write(processes.join(left.id().to_string()), record).unwrap();
    world.start_kubelet();
    let ended = tokio::task::spawn_blocking(move || left.wait().unwrap());
    assert!(!ended.await.unwrap().success());
    until_removed(&world.directory().join("pods/gone")).await;
}

#[tokio::test]
async fn processes_survive_a_lost_node() {
    let world = start().await;
    let spec = json!({ "containers": [shell("main", "sleep 1000")], "volumes": empty_dir() });
    world.pod("p", spec).await;
    let pod = world.until_ready("p").await;
    let id = container(&pod, "main")["containerID"].clone();
    let nodes: Api<Node> = Api::all(world.client.clone());
    let lose = async |lost: Option<&str>| {
        let patch = json!({ "metadata": { "annotations": { "sim.wsman.dev/lost": lost } } });
        let params = PatchParams::default();
        nodes
            .patch_metadata("sim-0", &params, &Patch::Merge(patch))
            .await
            .unwrap();
    };
    lose(Some("true")).await;
    world.until("p", |pod| !world::is_ready(pod)).await;
    lose(None).await;
    let pod = world.until_ready("p").await;
    let status = container(&pod, "main");
    assert_eq!(status["containerID"], id);
    assert!(status["state"]["running"].is_object());
}

/// Names the server and the directory of [`kubelet_of_another_process`].
const KUBECONFIG: &str = "TEST_KUBECONFIG";
const DIRECTORY: &str = "TEST_DIRECTORY";

#[tokio::test]
async fn what_a_killed_kubelet_leaves_is_killed_by_the_next() {
    let mut world = world::without_kubelet().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, world.server.kubeconfig()).unwrap();
    let mut kubelet = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "restarts::kubelet_of_another_process",
            "--ignored",
        ])
        .env(KUBECONFIG, &kubeconfig)
        .env(DIRECTORY, world.directory())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut main = shell(
        "main",
        "trap '' TERM HUP PIPE; echo $$$$ > \"$WSMAN_ROOTFS/data/pid\"; sleep 1000; sleep 1000",
    );
    main["readinessProbe"] =
        json!({ "exec": { "command": ["test", "-s", "/data/pid"] }, "periodSeconds": 1 });
    let spec = json!({ "containers": [main], "volumes": empty_dir() });
    world.pod("p", spec).await;
    let pod = world.until_ready("p").await;
    let pid = std::fs::read_to_string(world.home(&pod).join("volumes/data/pid")).unwrap();
    kubelet.kill().await.unwrap();
    let left = std::path::PathBuf::from(format!("/proc/{}", pid.trim()));
    assert!(left.exists());
    world.start_kubelet();
    let pod = world.until_phase("p", "Failed").await;
    assert_eq!(terminated(&pod, "main")["exitCode"], 137);
    world::until_ended(pid.trim()).await;
}

#[tokio::test]
#[ignore = "runs in a process of its own, until it is killed"]
async fn kubelet_of_another_process() {
    let kubeconfig = std::fs::read_to_string(std::env::var(KUBECONFIG).unwrap()).unwrap();
    let directory = std::path::PathBuf::from(std::env::var(DIRECTORY).unwrap());
    let client = world::client(&kubeconfig).await;
    let options = world::options(&directory, true);
    let stop = CancellationToken::new();
    kubelet::run(client, options, stop).await.unwrap();
}

#[tokio::test]
async fn root_is_refused_unless_it_is_allowed() {
    let world = world::without_kubelet().await;
    let options = world::options(&world.directory(), false);
    let stop = CancellationToken::new();
    if !rustix::process::geteuid().is_root() {
        stop.cancel();
    }
    let result = kubelet::run(world.client.clone(), options, stop.clone()).await;
    match stop.is_cancelled() {
        false => assert!(matches!(result, Err(Error::Root)), "{result:?}"),
        true => assert!(result.is_ok(), "{result:?}"),
    }
}

#[tokio::test]
async fn a_directory_has_one_kubelet() {
    let world = start().await;
    let spec = json!({ "containers": [shell("main", "true")], "volumes": empty_dir() });
    world.pod("p", spec).await;
    world.until_phase("p", "Succeeded").await;
    let options = world::options(&world.directory(), true);
    let stop = CancellationToken::new();
    let result = kubelet::run(world.client.clone(), options, stop).await;
    assert!(matches!(result, Err(Error::InUse(_))), "{result:?}");
}
