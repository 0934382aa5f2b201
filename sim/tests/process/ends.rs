//! The ends of containers: grace periods, exit codes, termination messages.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::{World, empty_dir, shell, start, terminated, until_ended, until_terminated};

/// Deletes a pod and returns its last state; a finalizer keeps it.
async fn end(world: &World, name: &str) -> Value {
    let api = world.api::<Pod>();
    let hold = json!({ "metadata": { "finalizers": ["test.example.com/hold"] } });
    api.patch(name, &PatchParams::default(), &Patch::Merge(hold))
        .await
        .unwrap();
    api.delete(name, &DeleteParams::default()).await.unwrap();
    let over = |pod: &Value| {
        let phase = pod["status"]["phase"].as_str();
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    world.until(name, over).await
}

#[tokio::test]
async fn a_deleted_pod_is_terminated_within_its_grace() {
    let world = start().await;
    let mut main = shell("main", &until_terminated("main"));
    main["readinessProbe"] =
        json!({ "exec": { "command": ["test", "-e", "/data/order"] }, "periodSeconds": 1 });
    main["lifecycle"] =
        json!({ "preStop": { "exec": { "command": ["cp", "/data/order", "/data/stopped"] } } });
    let spec = json!({ "containers": [main], "volumes": empty_dir() });
    world.pod("p", spec).await;
    let pod = world.until_ready("p").await;
    let volume = world.home(&pod).join("volumes/data");
    let pod = end(&world, "p").await;
    assert_eq!(terminated(&pod, "main")["exitCode"], 0);
    assert_eq!(pod["status"]["phase"], "Succeeded");
    let read = |name| std::fs::read_to_string(volume.join(name)).unwrap();
    assert_eq!(read("order"), "main starts\nmain ends\n");
    // The hook ran before the signal.
    assert_eq!(read("stopped"), "main starts\n");
}

#[tokio::test]
async fn what_ignores_sigterm_is_killed_after_the_grace() {
    let world = start().await;
    let mut main = shell(
        "main",
        "trap '' TERM; touch \"$WSMAN_ROOTFS/data/trapped\"; sleep 1000; sleep 1000",
    );
    main["readinessProbe"] =
        json!({ "exec": { "command": ["test", "-e", "/data/trapped"] }, "periodSeconds": 1 });
    let spec = json!({
        "containers": [main], "volumes": empty_dir(), "terminationGracePeriodSeconds": 1,
    });
    world.pod("p", spec).await;
    world.until_ready("p").await;
    let pod = end(&world, "p").await;
    let end = terminated(&pod, "main");
    assert_eq!(
        (&end["exitCode"], &end["reason"]),
        (&json!(137), &json!("Error"))
    );
    assert_eq!(pod["status"]["phase"], "Failed");
}

#[tokio::test]
async fn what_leaves_its_group_ends_with_its_container() {
    let world = start().await;
    let script = "setsid sh -c 'echo $$$$ > \"$WSMAN_ROOTFS/data/pid\"; sleep 1000' & \
        while [ ! -s \"$WSMAN_ROOTFS/data/pid\" ]; do sleep 0.05; done";
    let spec = json!({ "containers": [shell("main", script)], "volumes": empty_dir() });
    world.pod("p", spec).await;
    let pod = world.until_phase("p", "Succeeded").await;
    let pid = std::fs::read_to_string(world.home(&pod).join("volumes/data/pid")).unwrap();
    until_ended(pid.trim()).await;
}

#[tokio::test]
async fn a_container_that_does_not_live_is_restarted() {
    let world = start().await;
    let mut main = shell("main", "sleep 1000");
    main["livenessProbe"] = json!({
        "exec": { "command": ["test", "-e", "/data/lives"] },
        "periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 1,
    });
    let spec = json!({
        "containers": [main], "volumes": empty_dir(), "restartPolicy": "Always",
    });
    world.pod("p", spec).await;
    let again = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1;
    let pod = world.until("p", again).await;
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 143);
    let message = world.event("Unhealthy").await;
    assert!(message.starts_with("Liveness probe failed: "), "{message}");
}

#[tokio::test]
async fn a_signal_is_an_exit_code() {
    let world = start().await;
    // The kubelet makes one dollar of two.
    let spec = json!({ "containers": [shell("main", "kill -TERM $$$$")], "volumes": empty_dir() });
    world.pod("p", spec).await;
    let pod = world.until_phase("p", "Failed").await;
    assert_eq!(terminated(&pod, "main")["exitCode"], 143);
}

#[tokio::test]
async fn a_program_that_is_not_there_cannot_start() {
    let world = start().await;
    let spec = json!({ "containers": [{ "name": "main", "image": "i", "command": ["/no/such/program"] }] });
    world.pod("p", spec).await;
    let pod = world.until_phase("p", "Failed").await;
    let end = terminated(&pod, "main");
    assert_eq!(
        (&end["exitCode"], &end["reason"]),
        (&json!(128), &json!("StartError"))
    );
    let message = end["message"].as_str().unwrap();
    assert!(message.contains("/no/such/program"), "{message}");
}

#[tokio::test]
async fn containers_leave_a_termination_message() {
    let world = start().await;
    let mut path = shell("path", "printf 'by its path' > \"$0\"");
    path["args"] = json!(["/dev/termination-log"]);
    let variable = shell(
        "variable",
        "printf 'by its variable' > \"$TERMINATION_LOG\"",
    );
    let mut other = shell("other", "printf elsewhere > \"${0#--log=}\"");
    other["args"] = json!(["--log=/run/message"]);
    other["terminationMessagePath"] = json!("/run/message");
    let mut log = shell("log", "echo why; exit 2");
    log["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    let spec = json!({ "containers": [path, variable, other, log], "volumes": empty_dir() });
    world.pod("p", spec).await;
    let pod = world.until_phase("p", "Failed").await;
    for (name, message) in [
        ("path", "by its path"),
        ("variable", "by its variable"),
        ("other", "elsewhere"),
        ("log", "why\n"),
    ] {
        assert_eq!(terminated(&pod, name)["message"], message, "{name}");
    }
}

#[tokio::test]
async fn a_lowered_deadline_ends_what_runs() {
    let world = start().await;
    let main = shell("main", "trap 'exit 7' TERM; while :; do sleep 0.05; done");
    let spec = json!({
        "containers": [main], "volumes": empty_dir(), "activeDeadlineSeconds": 3600,
    });
    world.pod("p", spec).await;
    world.until_ready("p").await;
    lower(&world, "p").await;
    let pod = world.until_phase("p", "Failed").await;
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    assert_eq!(
        pod["status"]["message"],
        "Pod was active on the node longer than the specified deadline"
    );
    // The program may have had the signal before its trap; then it ends by it.
    let code = terminated(&pod, "main")["exitCode"].clone();
    assert!(code == 7 || code == 143, "{code}");
    assert!(pod["metadata"]["deletionTimestamp"].is_null());
    world.event("DeadlineExceeded").await;
}

#[tokio::test]
async fn a_deadline_ends_an_init_container_and_what_ignores_it() {
    let world = start().await;
    let init = shell(
        "init",
        "trap '' TERM; touch \"$WSMAN_ROOTFS/data/trapped\"; sleep 1000; sleep 1000",
    );
    let spec = json!({
        "initContainers": [init], "containers": [shell("main", "true")], "volumes": empty_dir(),
        "activeDeadlineSeconds": 2, "terminationGracePeriodSeconds": 1, "restartPolicy": "Always",
    });
    world.pod("p", spec).await;
    let pod = world.until_phase("p", "Failed").await;
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    let init = &pod["status"]["initContainerStatuses"][0]["state"]["terminated"];
    assert_eq!(init["exitCode"], 137);
    let main = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(main["reason"], "PodInitializing");
}

/// Lowers the deadline of a pod to what is over.
async fn lower(world: &World, name: &str) {
    let patch = json!({ "spec": { "activeDeadlineSeconds": 1 } });
    let api = world.api::<Pod>();
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}
