//! What a record keeps of a pod, and what becomes of it.

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
                "gitpod/never-ready": "true", "wsman.dev/replaced-by": "record",
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

fn stored(record: &Value) -> Value {
    let mut record = record.clone();
    record["metadata"]["uid"] = "record".into();
    record
}

#[test]
fn a_successor_is_the_pod_without_what_the_cluster_filled_in() {
    let record = stored(&record(&rejected()));
    let pod = successor(&record).unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "ws-otter", "namespace": "workspaces",
            "labels": {"workspaceID": "otter", "gpwsman": "true"},
            "annotations": {
                "gitpod/id": "otter", "gitpod/servicePrefix": "p", "gitpod/ownerToken": "token",
                "gitpod/never-ready": "true", "wsman.dev/recreations": "1", "wsman.dev/made-from": "record",
                "wsman.dev/first-uid": "first", "wsman.dev/started-at": "2026-03-01T10:00:00Z",
            },
            "finalizers": ["gitpod.io/finalizer"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "ws-otter", "uid": "record"}],
        },
        "spec": {
            "schedulerName": "s", "aFieldOfTomorrow": {"kept": true},
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
fn a_successor_of_a_successor_counts_on_and_keeps_the_first() {
    let first = stored(&record(&rejected()));
    let mut second = successor(&first).unwrap();
    second["metadata"]["uid"] = "second".into();
    second["metadata"]["creationTimestamp"] = "2026-03-01T10:01:00Z".into();
    let third = successor(&stored(&record(&second))).unwrap();
    let marks = &third["metadata"]["annotations"];
    for (key, value) in [
        ("wsman.dev/recreations", "2"),
        ("wsman.dev/made-from", "record"),
        ("wsman.dev/first-uid", "first"),
        ("wsman.dev/started-at", "2026-03-01T10:00:00Z"),
    ] {
        assert_eq!(marks[key], value, "{key}");
    }
}

#[test]
fn a_record_keeps_what_belongs_to_its_pod_in_sight() {
    let (found, uid) = dependants(&record(&rejected())).unwrap();
    let names: Vec<_> = found
        .iter()
        .map(|(k, name)| format!("{k}/{name}"))
        .collect();
    let expected = [
        "secrets/ws-otter",
        "persistentvolumeclaims/ws-otter",
        "services/ws-p-ide",
    ];
    assert_eq!(names, expected);
    assert_eq!(uid, "first");
    let record = record(&rejected());
    assert!(!record.to_string().contains("managedFields"));
    assert_eq!(record["metadata"]["ownerReferences"][0]["uid"], "first");
}

#[test]
fn a_record_without_a_pod_is_none() {
    for data in [
        json!({}),
        json!({KEY: ""}),
        json!({KEY: "[]"}),
        json!({KEY: "{}"}),
    ] {
        let record = json!({"metadata": {"name": "ws-otter", "uid": "record"}, "data": data});
        assert!(successor(&record).is_none(), "{record}");
    }
}
