//! Pods whose marks people take off, garble or double: whatever they do, an ended or deleted pod is finished, its STOPPED is
//! sent under the id of its start, and what cannot be read is named.

use serde_json::{Value, json};

use super::life::{case, ends};
use super::mutate;
use crate::index::Index;
use crate::objects::Pod;
use crate::proto::wsman::WorkspacePhase;
use crate::workspaces::entry::Workspace;
use crate::workspaces::status::Defaults;

/// Every label and annotation that wsman reads, with a value that it has.
const MARKS: [(&str, &str, &str); 36] = [
    ("labels", "gpwsman", "true"),
    ("labels", "workspaceID", "heron"),
    ("labels", "workspaceType", "regular"),
    ("labels", "headless", "false"),
    ("labels", "owner", "jo"),
    ("labels", "metaID", "heron-meta"),
    ("labels", "gitpod.io/workspaceClass", "default"),
    ("labels", "component", "workspace"),
    ("annotations", "gitpod/id", "heron"),
    ("annotations", "gitpod/url", "https://heron.example.test"),
    ("annotations", "gitpod/servicePrefix", "heron"),
    ("annotations", "gitpod/ownerToken", "token"),
    ("annotations", "gitpod/admission", "admit_owner_only"),
    ("annotations", "gitpod/imageSpec", "CgFh"),
    ("annotations", "gitpod/exposedPorts", "CgcIuBcYASgB"),
    ("annotations", "gitpod/never-ready", "true"),
    ("annotations", "gitpod/customTimeout", "1h"),
    ("annotations", "gitpod/customClosedTimeout", "0"),
    ("annotations", "gitpod/closed", "true"),
    (
        "annotations",
        "gitpod/firstUserActivity",
        "2026-03-01T10:01:00Z",
    ),
    ("annotations", "gitpod.io/alreadyInitializing", "true"),
    ("annotations", "gitpod.io/volumeSnapshotName", "{}"),
    ("annotations", "gitpod.io/disposalStatus", "{}"),
    ("annotations", "gitpod.io/stoppedByRequest", "10s"),
    ("annotations", "gitpod.io/abortRequest", "true"),
    ("annotations", "gitpod/failedBeforeStopping", "true"),
    ("annotations", "wsman.dev/spec-sha256", "00"),
    ("annotations", "wsman.dev/maximum-lifetime", "36h"),
    (
        "annotations",
        "wsman.dev/ports-changed",
        "2026-03-01T10:01:00Z",
    ),
    ("annotations", "wsman.dev/recreations", "1"),
    ("annotations", "wsman.dev/first-uid", "76"),
    (
        "annotations",
        "wsman.dev/started-at",
        "2026-03-01T10:00:00Z",
    ),
    ("annotations", "wsman.dev/stopped", "2026-03-01T10:00:00Z"),
    ("annotations", "wsman.dev/stuck", "reported"),
    ("annotations", "wsman.dev/forced", "reported"),
    ("annotations", "wsman.dev/successor", "75"),
];

/// What people do to a mark; `None` takes it off.
const EDITS: [fn(&str) -> Option<String>; 4] = [
    |_| None,
    |_| Some(String::new()),
    |_| Some("\u{1F980} ]{ -1".to_owned()),
    |value| Some(format!("{value}{value}")),
];

/// Marks that a living workspace has from its start; the others are for its end.
const OF_THE_START: usize = 23;

/// A pod with marks of its start, and one mark edited, which it has in any case.
fn edited(mut pod: Value, mark: usize, edit: fn(&str) -> Option<String>) -> Value {
    let own = |number: usize| number < OF_THE_START || number == mark;
    for (_, (kind, key, value)) in MARKS.iter().enumerate().filter(|(number, _)| own(*number)) {
        let kept = pod["metadata"][*kind][*key].as_str().map(str::to_owned);
        pod["metadata"][*kind][*key] = json!(kept.as_deref().unwrap_or(value));
    }
    let (kind, key, _) = MARKS[mark];
    let marks = pod["metadata"][kind].as_object_mut().expect("marks");
    let value = marks.remove(key).unwrap_or_default();
    if let Some(value) = edit(value.as_str().unwrap_or_default()) {
        marks.insert(key.to_owned(), value.into());
    }
    pod
}

fn all(mut each: impl FnMut(&Value, &'static str)) {
    for kind in ["regular", "prebuild"] {
        for (phase, state) in mutate::states() {
            for deleting in [false, true] {
                let pod = mutate::pod(phase, &state, kind, true, deleting);
                for (mark, (_, key, _)) in MARKS.iter().enumerate() {
                    for edit in EDITS {
                        each(&edited(pod.clone(), mark, edit), key);
                    }
                }
            }
        }
    }
}

#[test]
fn an_ended_or_deleted_pod_is_finished_whatever_its_marks_say() {
    all(|pod, key| {
        for (daemon, bus) in [(false, None), (false, Some(true)), (true, Some(false))] {
            let deleted = !pod["metadata"]["deletionTimestamp"].is_null();
            // Kubernetes' own phase Unknown has no limit; a pod of that phase ends when it is deleted.
            if deleted || pod["status"]["phase"] != "Unknown" {
                assert!(ends(case(pod.clone(), &[], daemon, bus)), "{key}: {pod:#}");
            }
        }
    });
}

/// The pod as it runs, with one mark edited, deleted, and gone: what subscribers see of its id.
fn published(
    mark: usize,
    edit: fn(&str) -> Option<String>,
) -> Vec<(String, WorkspacePhase, String)> {
    let running = json!({"running": {}});
    let pod = |version: u64, deleting, edited_now| {
        let pod = mutate::pod("Running", &running, "regular", true, deleting);
        let mut pod = match edited_now {
            true => edited(pod, mark, edit),
            false => edited(pod, mark, |value| Some(value.to_owned())),
        };
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        serde_json::from_value::<Pod>(pod).expect("a pod")
    };
    let mut index = Index::<Workspace>::new(Defaults::default());
    let mut updates = index.apply_pod(&pod(10, false, false)).updates;
    updates.extend(index.apply_pod(&pod(11, false, true)).updates);
    updates.extend(index.apply_pod(&pod(12, true, true)).updates);
    updates.extend(index.delete_pod(&pod(13, true, true)).updates);
    let seen = updates.into_iter().map(|update| update.status.read());
    seen.map(|status| (status.id.clone(), status.phase(), status.message))
        .collect()
}

#[test]
fn its_stopped_is_sent_under_the_id_of_its_start() {
    for (mark, (_, key, _)) in MARKS.iter().enumerate() {
        for edit in EDITS {
            let seen = published(mark, edit);
            assert!(seen.iter().all(|(id, ..)| id == "heron"), "{key}: {seen:?}");
            let stopped = seen
                .iter()
                .filter(|(_, phase, _)| *phase == WorkspacePhase::Stopped);
            assert_eq!(stopped.count(), 1, "{key}: {seen:?}");
            let last = seen.last().map(|(_, phase, _)| *phase);
            assert_eq!(last, Some(WorkspacePhase::Stopped), "{key}: {seen:?}");
        }
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let garbled = EDITS[2];
    for key in [
        "workspaceType",
        "headless",
        "gitpod/id",
        "gitpod/servicePrefix",
        "gitpod/admission",
        "gitpod/imageSpec",
        "gitpod/exposedPorts",
        "gitpod/customTimeout",
        "gitpod/firstUserActivity",
        "gitpod.io/volumeSnapshotName",
        "gitpod.io/disposalStatus",
        "wsman.dev/maximum-lifetime",
    ] {
        let mark = MARKS
            .iter()
            .position(|(_, mark, _)| *mark == key)
            .expect("a mark");
        let seen = published(mark, garbled);
        let words = match key {
            "workspaceType" => "invalid type label",
            "gitpod/imageSpec" => "invalid image spec",
            "gitpod.io/volumeSnapshotName" => "invalid volume snapshot status",
            key => key,
        };
        let names = |(_, phase, message): &(String, WorkspacePhase, String)| {
            *phase == WorkspacePhase::Initializing && message.contains(words)
        };
        assert!(seen.iter().any(names), "{key}: {seen:?}");
    }
    let url = MARKS
        .iter()
        .position(|(_, mark, _)| *mark == "gitpod/url")
        .expect("a mark");
    let seen = published(url, EDITS[0]);
    let text = "workspace initializer is running; pod ws-heron has no gitpod/url annotation";
    let published = (
        "heron".to_owned(),
        WorkspacePhase::Initializing,
        text.to_owned(),
    );
    assert!(seen.contains(&published), "{seen:?}");
}
