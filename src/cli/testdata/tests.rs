//! What becomes of names, and of a log as a whole.

use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::workspaces::case::Objects;

fn pod() -> Value {
    json!({
        "metadata": {
            "name": "ws-secretproject",
            "namespace": "acme",
            "uid": "9f1c",
            "resourceVersion": "12",
            "labels": {"gpwsman": "true", "owner": "alice", "metaID": "acme-shop", "team.acme.com": "blue"},
            "annotations": {
                "gitpod/id": "secretproject",
                "gitpod/servicePrefix": "secretproject",
                "gitpod/url": "https://secretproject.ws.acme.com:8443/?x=alice",
                "gitpod/ownerToken": "hunter2",
                "gitpod.io/annotation.customer": "alice",
                "acme.com/cost": "alice",
                "wsman.dev/traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            },
            "finalizers": ["gitpod.io/finalizer", "acme.com/audit"],
        },
        "spec": {
            "nodeName": "gpu-acme-7",
            "containers": [
                {"name": "workspace", "image": "registry.acme.com:5000/alice/dev:1"},
                {"name": "acme-proxy", "image": "user:hunter2@acme/proxy"},
            ],
        },
        "status": {
            "phase": "Pending",
            "hostIP": "10.1.2.3",
            "containerStatuses": [{
                "name": "workspace",
                "image": "registry.acme.com:5000/alice/dev:1",
                "state": {"waiting": {
                    "reason": "ErrImagePull",
                    "message": "ws-secretproject on gpu-acme-7: cannot pull registry.acme.com:5000/alice/dev:1",
                }},
            }],
        },
    })
}

fn classic(pod: &Value) -> String {
    let event = json!({
        "type": "Warning", "reason": "Failed", "message": "alice: no",
        "metadata": {"name": "ws-secretproject.17"},
        "involvedObject": {"kind": "Pod", "name": "ws-secretproject", "uid": "9f1c"},
    });
    json!({"time": "", "status": {}, "objects": {"pod": pod, "events": [event]}}).to_string()
}

#[test]
fn names_are_gone_and_all_else_stays() {
    let case = json!({ "pod": pod() });
    let objects = Objects::read(&case).unwrap();
    let anonymous = anonymous::objects(&objects, &mut Names::default());
    let text = Value::Object(anonymous.write()).to_string();
    for name in [
        "alice",
        "acme",
        "secretproject",
        "hunter2",
        "9f1c",
        "10.1.2.3",
        "gpu",
        "4bf92f",
    ] {
        assert!(!text.contains(name), "{name} is in {text}");
    }
    let pod = &anonymous.pod;
    assert_eq!(pod.metadata.name, "ws-id-1");
    assert_eq!(
        pod.metadata.annotation("gitpod/url"),
        Some("https://host-1.example.com:8443")
    );
    assert_eq!(
        pod.spec.containers[0].image,
        "registry-1.example.com:5000/image-1/image-2:1"
    );
    let waiting = pod.status.container_statuses[0].state.waiting.as_ref();
    assert_eq!(
        waiting.unwrap().message,
        "ws-id-1 on node-1: cannot pull registry-1.example.com:5000/image-1/image-2:1"
    );
    assert_eq!(objects.fold().why, anonymous.fold().why);
}

fn args(folder: &Path, prefix: &str) -> Args {
    Args {
        evts: folder.join("evts.json"),
        prefix: prefix.to_owned(),
        out: folder.join("testdata"),
    }
}

fn made(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder.join("testdata/status")).unwrap();
    let mut files: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    files
}

#[test]
fn a_log_becomes_cases_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut running = pod();
    running["status"] = json!({"phase": "Failed", "reason": "Evicted"});
    let cut = &classic(&pod())[..100];
    let lines = [
        &classic(&pod()),
        "nonsense",
        &classic(&pod()),
        "{\"version\":9}",
        &classic(&running),
        cut,
    ];
    fs::write(folder.join("evts.json"), lines.join("\n")).unwrap();
    let mut printed = Vec::new();
    run(&args(folder, "night"), &mut printed).unwrap();
    let wanted = ["night_001_CREATING", "night_002_PENDING"];
    let files = made(folder);
    assert_eq!(files.len(), 4, "{files:?}");
    let is_case = |file: &&String| file.ends_with(".json");
    for (file, wanted) in files.iter().filter(is_case).zip(wanted) {
        assert!(file.starts_with(&wanted[..9]), "{file}");
        let path = folder.join("testdata/status").join(file);
        let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
        let (outcome, answer) = case::status(&Objects::read(&read(&path)).unwrap());
        assert!(file.ends_with(&format!("_{outcome}.json")), "{file}");
        assert_eq!(read(&path.with_extension("golden")), answer);
    }
    let again = run(&args(folder, "night"), &mut printed).unwrap_err();
    assert_eq!(again.exit(), Exit::Conflict);
    run(&args(folder, "other"), &mut printed).unwrap();
    assert_eq!(made(folder).len(), 8);
}

#[test]
fn prefixes_stay_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(65);
    for prefix in [
        "", "..", "../x", "a/b", "/tmp/x", "a.b", "-x", "a b", "ü", &long,
    ] {
        let refused = run(&args(folder.path(), prefix), &mut Vec::new()).unwrap_err();
        assert_eq!(refused.exit(), Exit::Usage, "{prefix}");
        assert!(refused.message().starts_with("--prefix"), "{prefix}");
    }
    fs::write(folder.path().join("evts.json"), "").unwrap();
    let empty = run(&args(folder.path(), "good"), &mut Vec::new()).unwrap_err();
    assert_eq!(empty.exit(), Exit::Usage);
}
