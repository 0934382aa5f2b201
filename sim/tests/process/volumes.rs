//! Volumes and variables, and what a process cannot have.

use std::os::unix::fs::PermissionsExt;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::world::{empty_dir, poll, shell, start};

#[tokio::test]
async fn files_follow_their_secret() {
    let world = start().await;
    let data = json!({ "metadata": { "name": "s" }, "stringData": { "token": "old" } });
    let _: Secret = world.create(data).await;
    let spec = json!({
        "containers": [{
            "name": "main", "image": "i", "command": ["sleep", "1000"],
            "volumeMounts": [{ "name": "secret", "mountPath": "/secret" }],
        }],
        "volumes": [{ "name": "secret", "secret": { "secretName": "s" } }],
    });
    world.pod("p", spec).await;
    let pod = world.until_ready("p").await;
    let file = world.home(&pod).join("volumes/secret/token");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    let patch = Patch::Merge(json!({ "stringData": { "token": "new" } }));
    let secrets = world.api::<Secret>();
    let params = PatchParams::default();
    secrets.patch("s", &params, &patch).await.unwrap();
    poll(|| std::fs::read_to_string(&file).is_ok_and(|text| text == "new")).await;
}

#[tokio::test]
async fn secrets_are_files_and_variables() {
    let world = start().await;
    let spec = json!({
        "containers": [{
            "name": "main", "image": "i",
            "command": ["sh", "-c", "cat \"$1\"; echo; echo $USER_NAME $PASSWORD $KEY_A \"$(cat $FILE)\" $ONE; ls \"$2\"; env | wc -l", "sh"],
            "args": ["/secret/a/b", "/config"],
            "env": [
                { "name": "USER_NAME", "value": "me" },
                { "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "s", "key": "password" } } },
                { "name": "FILE", "value": "/config/file" },
                { "name": "ONE", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            ],
            "envFrom": [{ "configMapRef": { "name": "m" }, "prefix": "KEY_" }],
            "volumeMounts": [
                { "name": "secret", "mountPath": "/secret" },
                { "name": "config", "mountPath": "/config" },
                { "name": "info", "mountPath": "/info" },
            ],
        }],
        "volumes": [
            { "name": "secret", "secret": { "secretName": "s", "items": [{ "key": "password", "path": "a/b", "mode": 256 }] } },
            { "name": "config", "configMap": { "name": "m" } },
            { "name": "info", "downwardAPI": { "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
        ],
    });
    let pod = json!({ "metadata": { "name": "p", "labels": { "app": "x" } }, "spec": spec });
    let mut pod = pod;
    pod["spec"]["restartPolicy"] = json!("Never");
    let _: Pod = world.create(pod).await;
    // They may come after the pod.
    let data = json!({ "metadata": { "name": "s" }, "stringData": { "password": "pass word" } });
    let _: Secret = world.create(data).await;
    let data = json!({ "metadata": { "name": "m" }, "data": { "A": "1", "file": "text" } });
    let _: ConfigMap = world.create(data).await;
    let pod = world.until_phase("p", "Succeeded").await;
    // PATH, HOME, TMPDIR, WSMAN_ROOTFS, TERMINATION_LOG; PWD and perhaps others of the shell; six of the pod.
    let log = world.log("p", "main").await;
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(
        lines[..4],
        ["pass word", "me pass word 1 text p", "A", "file"]
    );
    let count: usize = lines[4].trim().parse().unwrap();
    assert!((11..=15).contains(&count), "{log}");
    let volumes = world.home(&pod).join("volumes");
    let mode = |path: &str| {
        let found = std::fs::metadata(volumes.join(path)).unwrap();
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode("secret"), 0o700);
    assert_eq!(mode("secret/a/b"), 0o400);
    let labels = std::fs::read_to_string(volumes.join("info/labels")).unwrap();
    assert_eq!(labels, "app=\"x\"");
}

#[tokio::test]
async fn a_missing_secret_is_reported_and_awaited() {
    let world = start().await;
    let main = json!({
        "name": "main", "image": "i", "command": ["true"],
        "env": [{ "name": "V", "valueFrom": { "secretKeyRef": { "name": "late", "key": "k" } } }],
    });
    world.pod("p", json!({ "containers": [main] })).await;
    let waits = |pod: &serde_json::Value| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        waiting["message"] == "secret \"late\" not found"
    };
    let pod = world.until("p", waits).await;
    assert_eq!(pod["status"]["phase"], "Pending");
    let data = json!({ "metadata": { "name": "late" }, "stringData": { "k": "v" } });
    let _: Secret = world.create(data).await;
    world.until_phase("p", "Succeeded").await;
}

#[tokio::test]
async fn a_pod_that_waits_for_a_volume_can_be_deleted() {
    let world = start().await;
    let spec = json!({
        "containers": [shell("main", "true")],
        "volumes": [{ "name": "data", "secret": { "secretName": "none" } }],
    });
    world.pod("p", spec).await;
    let why = world.event("FailedMount").await;
    assert_eq!(
        why,
        "MountVolume.SetUp failed for volume \"data\" : secret \"none\" not found"
    );
    world.delete("p").await;
}

#[tokio::test]
async fn a_host_path_is_refused_by_name() {
    let world = start().await;
    let spec = json!({
        "containers": [shell("main", "true")],
        "volumes": [{ "name": "data", "hostPath": { "path": "/dev/null", "type": "CharDevice" } }],
    });
    world.pod("p", spec).await;
    let pod = world.until_phase("p", "Failed").await;
    let why = "volume \"data\" is a hostPath: a process has emptyDir, secret, configMap, downwardAPI, projected, \
        persistentVolumeClaim and directory hostPath volumes only";
    assert_eq!(pod["status"]["reason"], "UnsupportedByProcessRuntime");
    assert_eq!(pod["status"]["message"], why);
    assert_eq!(world.event("UnsupportedByProcessRuntime").await, why);
    world.delete("p").await;
}

#[tokio::test]
async fn a_claim_keeps_its_contents_between_pods() {
    let world = start().await;
    let claim = json!({ "metadata": { "name": "data" }, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } },
    } });
    let claim: PersistentVolumeClaim = world.create(claim).await;
    let pod = |script: &str| {
        json!({
            "containers": [shell("main", script)],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }],
        })
    };
    let file = "\"$WSMAN_ROOTFS/data/file\"";
    world.pod("a", pod(&format!("echo kept > {file}"))).await;
    let first = world.until_phase("a", "Succeeded").await;
    world.delete("a").await;
    world.pod("b", pod(&format!("cat {file}"))).await;
    world.until_phase("b", "Succeeded").await;
    assert_eq!(world.log("b", "main").await, "kept\n");
    world.delete("b").await;
    let claims = world.api::<PersistentVolumeClaim>();
    claims
        .delete("data", &DeleteParams::default())
        .await
        .unwrap();
    let uid = claim.metadata.uid.unwrap();
    let gone = kube::runtime::conditions::is_deleted(&uid);
    kube::runtime::wait::await_condition(claims, "data", gone)
        .await
        .unwrap();
    crate::world::until_removed(&world.directory().join("claims/default/data")).await;
    crate::world::until_removed(&world.home(&first)).await;
}

#[tokio::test]
async fn a_pods_directory_goes_with_it() {
    let world = start().await;
    let spec = json!({ "containers": [shell("main", "sleep 1000")], "volumes": empty_dir() });
    world.pod("p", spec).await;
    let pod = world.until_ready("p").await;
    assert!(world.home(&pod).join("volumes/data").is_dir());
    world.delete("p").await;
    crate::world::until_removed(&world.home(&pod)).await;
}
