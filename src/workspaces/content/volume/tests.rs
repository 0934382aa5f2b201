use serde_json::{Value, json};

use super::*;
use crate::objects;

fn snapshot(value: Value) -> objects::VolumeSnapshot {
    serde_json::from_value(value).unwrap()
}

fn source(handle: &str, class: &str) -> Source {
    Source {
        restore: VolumeSnapshotRestore {
            name: "snap".to_owned(),
            handle: handle.to_owned(),
            class: class.to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        },
        owner: "jane".to_owned(),
        size: "1Gi".to_owned(),
    }
}

fn refusal(found: Value) -> String {
    let found = snapshot(found);
    check_source(&source("", ""), Some(&found))
        .unwrap_err()
        .to_string()
}

#[test]
fn only_a_ready_snapshot_of_the_same_owner_can_be_started_from() {
    let ready = json!({ "readyToUse": true, "restoreSize": "1Gi" });
    let of = |owner: &str| json!({ "name": "snap", "labels": { "owner": owner } });
    let good = snapshot(json!({ "metadata": of("jane"), "status": ready }));
    assert!(!check_source(&source("", ""), Some(&good)).unwrap());
    let other = "volume snapshot snap belongs to another owner, or to nobody";
    assert_eq!(
        refusal(json!({ "metadata": of("joe"), "status": ready })),
        other
    );
    assert_eq!(refusal(json!({ "status": ready })), other);
    let mut shared = of("jane");
    // The label of an owner who is no label value is a hash; the annotation is the owner in full.
    shared["annotations"] = json!({ "wsman.dev/owner": "joe@example.com" });
    assert_eq!(
        refusal(json!({ "metadata": shared, "status": ready })),
        other
    );
    assert_eq!(
        refusal(json!({ "metadata": of("jane"), "status": { "error": { "message": "quota" } } })),
        "volume snapshot snap is not ready: quota"
    );
    let large = json!({ "readyToUse": true, "restoreSize": "2Gi" });
    assert_eq!(
        refusal(json!({ "metadata": of("jane"), "status": large })),
        "volume snapshot snap needs a volume of 2Gi, and that of the class has 1Gi"
    );
    let mut deleted = of("jane");
    deleted["deletionTimestamp"] = "2026-03-01T10:00:00Z".into();
    deleted["finalizers"] = json!(["example.com/audit"]);
    assert_eq!(
        refusal(json!({ "metadata": deleted, "status": ready })),
        "volume snapshot snap is being deleted, kept by its finalizers example.com/audit"
    );
}

#[test]
fn a_snapshot_that_is_gone_is_restored_only_with_a_handle_and_a_class() {
    let why = |source: Source| check_source(&source, None).unwrap_err().to_string();
    assert_eq!(
        why(source("", "csi")),
        "volume snapshot snap does not exist"
    );
    assert!(why(source("h", "")).contains("no pvc.snapshotClass"));
    assert!(check_source(&source("h", "csi"), None).unwrap());
}

#[test]
fn an_error_of_the_controller_is_a_failure_when_it_lasts() {
    let error = json!({ "message": "busy", "time": "2026-03-01T10:00:00Z" });
    let found = snapshot(json!({ "status": { "error": error } }));
    let at = |text: &str| progress(Some(found.clone()), text.parse().unwrap());
    let waits = Progress::Waits(Some("busy".to_owned()));
    assert_eq!(at("2026-03-01T10:01:59Z"), waits);
    let failed = Progress::Failed("failed: busy".to_owned());
    assert_eq!(at("2026-03-01T10:02:00Z"), failed);
    let mut ready = found.clone();
    ready.status.ready_to_use = true;
    let now = "2026-03-01T11:00:00Z".parse().unwrap();
    let boxed = Progress::Ready(Box::new(ready.clone()));
    assert_eq!(progress(Some(ready), now), boxed);
    let gone = Progress::Failed("was deleted before it was ready".to_owned());
    assert_eq!(progress(None, now), gone);
}

#[test]
fn a_deletion_says_what_it_lacks() {
    let asked = |soft, handle: &str| DeleteVolumeSnapshotRequest {
        id: "snap".to_owned(),
        volume_handle: handle.to_owned(),
        soft_delete: soft,
        ws_type: 0,
    };
    assert_eq!(
        deletion(&asked(true, ""), false, "").unwrap(),
        Deletion::Nothing
    );
    assert_eq!(
        deletion(&asked(false, ""), true, "").unwrap(),
        Deletion::Found
    );
    let why = |request| deletion(&request, false, "").unwrap_err().to_string();
    assert!(why(asked(false, "")).contains("there is no volume_handle"));
    assert!(why(asked(false, "h")).contains("the default class has no snapshotClass"));
}

/// The faults of an initializer of a workspace on a volume that names a snapshot.
fn faults_of(initializer: Value, config: Value) -> Vec<String> {
    let settings = crate::golden::settings(&config, &Value::Null).unwrap();
    let spec = json!({
        "workspaceImage": "image", "workspaceLocation": "/workspace", "initializer": initializer, "featureFlags": ["PERSISTENT_VOLUME_CLAIM"],
        "volumeSnapshot": { "volumeSnapshotName": "snap" },
    });
    let request = json!({
        "id": "a", "servicePrefix": "a", "metadata": { "owner": "jane", "metaId": "m" }, "spec": spec,
    });
    let request = serde_json::from_value(request).unwrap();
    let request = crate::workspaces::request::parse(request, &settings.manager).unwrap();
    let found = faults(&request, &settings.manager);
    let line = |fault: FieldViolation| format!("{}: {}", fault.field, fault.why);
    found.into_iter().map(line).collect()
}

#[test]
fn a_volume_snapshot_comes_before_other_content() {
    let class = json!({ "default": { "pvc": { "size": "1Gi" } } });
    let plain = json!({ "manager": { "workspaceClass": class } });
    let mut gitpod = plain.clone();
    gitpod["manager"]["registryFacadeHost"] = "registry.example.com".into();
    gitpod["manager"]["workspaceHostPath"] = "/workspaces".into();
    let git = json!({ "remoteUri": "https://example.com/a", "config": {} });
    let volume = json!({ "snapshot": { "fromVolumeSnapshot": true } });
    let parts = |parts: Value| json!({ "composite": { "initializer": parts } });
    let repository = json!({ "git": git });
    let prebuild =
        json!({ "prebuild": { "prebuild": { "fromVolumeSnapshot": true }, "git": [git] } });
    let first = parts(json!([parts(json!([volume, repository])), repository]));
    for initializer in [&volume, &prebuild, &first] {
        assert_eq!(faults_of(initializer.clone(), plain.clone()), [""; 0]);
    }
    let second = parts(json!([{ "empty": {} }, volume]));
    let found = faults_of(second, plain);
    let field = "spec.initializer.composite.initializer[1].snapshot.from_volume_snapshot";
    let why = "is true, but a volume snapshot is what a workspace begins with, and other content comes before it";
    assert_eq!(found, [format!("{field}: {why}")]);

    assert_eq!(faults_of(volume, gitpod.clone()), [""; 0]);
    let found = faults_of(prebuild, gitpod);
    let field = "spec.initializer.prebuild.prebuild.from_volume_snapshot";
    let why = "is true, but a volume snapshot is all of the content, and here is more of it";
    assert_eq!(found, [format!("{field}: {why}")]);
}
