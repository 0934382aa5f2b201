//! What is copied of a pod, and when it is not.

use serde_json::{Value, json};

use super::*;

/// A rejected pod as a real API server with the usual admission plugins returns it.
fn rejected() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "ws-otter", "namespace": "workspaces", "uid": "first", "resourceVersion": "41", "generation": 1,
            "creationTimestamp": "2026-03-01T10:00:00Z", "managedFields": [{"manager": "wsman"}],
            "deletionTimestamp": "2026-03-01T10:00:20Z", "deletionGracePeriodSeconds": 0,
            "labels": {"workspaceID": "otter", "gpwsman": "true"},
            "annotations": {
                "gitpod/id": "otter", "gitpod/servicePrefix": "p", "gitpod/ownerToken": "token",
                "gitpod/never-ready": "true", "wsman.dev/successor": "ws-otter-2",
            },
            "finalizers": ["gitpod.io/finalizer", "foregroundDeletion"],
        },
        "spec": {
            "nodeName": "node-a", "priority": 0, "preemptionPolicy": "PreemptLowerPriority", "schedulerName": "s",
            "aFieldOfTomorrow": {"kept": true},
            "containers": [{"name": "workspace", "image": "i", "volumeMounts": [
                {"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
            ]}],
            "volumes": [
                {"name": "vol-this-workspace", "persistentVolumeClaim": {"claimName": "ws-otter"}},
                {"name": "kube-api-access-x7k2p", "projected": {}},
            ],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
            ],
        },
        "status": {"phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected: no cpu"},
    })
}

fn copy() -> PodCopy {
    PodCopy {
        from: PodRef {
            name: "ws-otter".to_owned(),
            uid: "first".to_owned(),
        },
        to: "ws-otter-2".to_owned(),
        owner: PodRef {
            name: "ws-otter".to_owned(),
            uid: "first".to_owned(),
        },
        mark: Mark {
            set: [("wsman.dev/recreations".to_owned(), "1".to_owned())].into(),
            remove: vec!["wsman.dev/successor".to_owned()],
        },
        only_with: ("wsman.dev/successor", "ws-otter-2".to_owned()),
        unless: &["gitpod.io/stoppedByRequest"],
    }
}

#[test]
fn a_copy_is_the_pod_without_what_the_cluster_filled_in() {
    let pod = copy().build(rejected()).unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "ws-otter-2", "namespace": "workspaces",
            "labels": {"workspaceID": "otter", "gpwsman": "true"},
            "annotations": {
                "gitpod/id": "otter", "gitpod/servicePrefix": "p", "gitpod/ownerToken": "token",
                "gitpod/never-ready": "true", "wsman.dev/recreations": "1",
            },
            "finalizers": ["gitpod.io/finalizer"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "ws-otter", "uid": "first"}],
        },
        "spec": {
            "schedulerName": "s", "aFieldOfTomorrow": {"kept": true}, "hostname": "ws-otter",
            "containers": [{"name": "workspace", "image": "i"}],
            "volumes": [{"name": "vol-this-workspace", "persistentVolumeClaim": {"claimName": "ws-otter"}}],
            "tolerations": [
                {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
            ],
        },
    });
    assert_eq!(pod, expected, "{pod:#}");
}

#[test]
fn only_the_pod_that_was_decided_on_is_copied() {
    let spoil: [fn(&mut Value); 5] = [
        |pod| pod["metadata"]["uid"] = "another".into(),
        |pod| pod["metadata"]["annotations"]["wsman.dev/successor"] = "ws-otter-3".into(),
        |pod| pod["metadata"]["annotations"] = json!({}),
        |pod| pod["metadata"]["annotations"]["gitpod.io/stoppedByRequest"] = "1s".into(),
        |pod| *pod = json!({}),
    ];
    for spoil in spoil {
        let mut pod = rejected();
        spoil(&mut pod);
        assert_eq!(copy().build(pod.clone()), None, "{pod:#}");
    }
}

#[test]
fn a_host_name_is_as_the_kubelet_makes_it() {
    assert_eq!(host_name("ws-otter"), "ws-otter");
    let long = format!("{}-{}", "w".repeat(62), "x".repeat(20));
    assert_eq!(host_name(&long), "w".repeat(62));
}
