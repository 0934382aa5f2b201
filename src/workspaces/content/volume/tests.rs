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
