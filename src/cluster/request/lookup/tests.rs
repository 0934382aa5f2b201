//! Which writes are recognised by their objects.

use http::Method;
use serde_json::json;

use super::*;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const POD: &str = "/api/v1/namespaces/default/pods/ws-a";

fn write(method: Method, kind: &'static str, body: &Value, found: Option<Value>) -> Outcome {
    let request = Request {
        method,
        path: POD,
        content_type: kind,
        body: body.to_string().into_bytes(),
    };
    outcome(&request, found.as_ref())
}

fn merge(patch: &Value, found: Value) -> Outcome {
    write(Method::PATCH, MERGE, patch, Some(found))
}

fn strategic(patch: &Value, found: Value) -> Outcome {
    write(Method::PATCH, STRATEGIC, patch, Some(found))
}

fn delete(options: &Value, meta: Value) -> Outcome {
    let found = json!({ "metadata": meta });
    write(Method::DELETE, JSON, options, Some(found))
}

#[test]
fn a_creation_is_looked_for_by_its_name() {
    let request = |method, path, body: Value| {
        target(&Request {
            method,
            path,
            content_type: JSON,
            body: body.to_string().into_bytes(),
        })
    };
    let pods = "/api/v1/namespaces/default/pods";
    let named = json!({ "metadata": { "name": "ws-a" } });
    assert_eq!(request(Method::POST, pods, named).as_deref(), Some(POD));
    assert_eq!(request(Method::POST, pods, json!({})), None);
    assert_eq!(request(Method::GET, POD, Value::Null), None);
    for method in [Method::PATCH, Method::DELETE] {
        assert_eq!(request(method, POD, json!({})).as_deref(), Some(POD));
    }
    let body = json!({});
    let found = Some(json!({ "metadata": { "name": "ws-a" } }));
    assert_eq!(write(Method::POST, JSON, &body, found), Outcome::Exists);
    assert_eq!(write(Method::POST, JSON, &body, None), Outcome::Repeat);
}

#[test]
fn what_is_gone_is_neither_changed_nor_deleted_again() {
    for method in [Method::PATCH, Method::DELETE] {
        assert_eq!(write(method, MERGE, &json!({}), None), Outcome::Gone);
    }
}

#[test]
fn a_deletion_is_known_by_its_time_its_uid_and_its_grace() {
    let asked = |grace: Option<u64>| json!({ "gracePeriodSeconds": grace, "preconditions": { "uid": "u" } });
    let going = |grace: u64, finalizers: &[&str]| json!({ "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace, "finalizers": finalizers });
    assert_eq!(delete(&asked(Some(30)), going(30, &[])), Outcome::Done);
    assert_eq!(delete(&asked(Some(30)), going(0, &["f"])), Outcome::Done);
    assert_eq!(delete(&asked(None), going(30, &[])), Outcome::Done);
    // Deleted before, with a longer grace period.
    assert_eq!(delete(&asked(Some(0)), going(30, &["f"])), Outcome::Repeat);
    // Incompletely deleted.
    assert_eq!(delete(&asked(Some(0)), going(0, &[])), Outcome::Repeat);
    assert_eq!(delete(&asked(None), json!({ "uid": "u" })), Outcome::Repeat);
    // Another object of that name: the server rejects a second deletion.
    let mut other = going(30, &[]);
    other["uid"] = "v".into();
    assert_eq!(delete(&asked(Some(30)), other), Outcome::Repeat);
    // With a version as precondition, another client may have deleted it.
    let strict = json!({ "preconditions": { "uid": "u", "resourceVersion": "7" } });
    assert_eq!(delete(&strict, going(0, &["f"])), Outcome::Repeat);
}

#[test]
fn a_merge_patch_is_done_when_all_its_fields_hold() {
    let patch = json!({
        "metadata": { "uid": "u", "resourceVersion": "7", "annotations": { "set": "1", "gone": null } },
        "spec": { "ports": [{ "port": 80 }] },
    });
    let done = json!({
        "metadata": { "uid": "u", "resourceVersion": "8", "name": "ws-a", "annotations": { "set": "1", "else": "x" } },
        "spec": { "ports": [{ "port": 80 }], "type": "ClusterIP" },
    });
    assert_eq!(merge(&patch, done.clone()), Outcome::Done);
    for (pointer, value) in [
        ("/metadata/uid", json!("v")),
        ("/metadata/annotations", Value::Null),
        ("/metadata/annotations/set", json!("2")),
        (
            "/metadata/annotations",
            json!({ "set": "1", "gone": "still" }),
        ),
        ("/spec/ports", json!([{ "port": 80, "targetPort": 8080 }])),
        ("/spec/ports", json!([])),
    ] {
        let mut found = done.clone();
        *found.pointer_mut(pointer).unwrap() = value;
        assert_eq!(merge(&patch, found), Outcome::Repeat, "{pointer}");
    }
    let request = Request {
        method: Method::PATCH,
        path: POD,
        content_type: MERGE,
        body: b"no JSON".to_vec(),
    };
    assert_eq!(outcome(&request, Some(&done)), Outcome::Repeat);
}

#[test]
fn a_strategic_patch_is_done_when_the_finalizer_or_the_owner_is_off_or_on() {
    let strike =
        json!({ "metadata": { "uid": "u", "$deleteFromPrimitiveList/finalizers": ["f"] } });
    let with = |finalizers: Value| json!({ "metadata": { "uid": "u", "finalizers": finalizers } });
    assert_eq!(strategic(&strike, with(json!(["g"]))), Outcome::Done);
    assert_eq!(strategic(&strike, with(Value::Null)), Outcome::Done);
    assert_eq!(strategic(&strike, with(json!(["f"]))), Outcome::Repeat);

    let owners = json!({ "metadata": { "ownerReferences": [
        { "$patch": "delete", "uid": "old" },
        { "kind": "Pod", "name": "ws-a", "uid": "new" },
    ] } });
    let owned = |uids: &[&str]| {
        let owners = uids
            .iter()
            .map(|uid| json!({ "kind": "Pod", "name": "ws-a", "uid": uid, "apiVersion": "v1" }));
        json!({ "metadata": { "ownerReferences": owners.collect::<Vec<_>>() } })
    };
    assert_eq!(strategic(&owners, owned(&["new", "other"])), Outcome::Done);
    assert_eq!(strategic(&owners, owned(&["new", "old"])), Outcome::Repeat);
    assert_eq!(strategic(&owners, owned(&[])), Outcome::Repeat);
    // Lists of unknown keys never count as done.
    let other = json!({ "spec": { "ports": [{ "port": 80 }] } });
    assert_eq!(strategic(&other, other.clone()), Outcome::Repeat);
}
