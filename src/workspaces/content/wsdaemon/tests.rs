//! What a ws-daemon is asked for is what was asked for at the start, and its answers become marks that fit a pod.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::request::{Missing, Values, fill};
use super::*;
use crate::action::Dependant;
use crate::config::Manager;
use crate::golden;
use crate::objects::Pod;
use crate::proto::wsman::StartWorkspaceRequest;
use crate::workspaces::plan::{self, Tokens};
use crate::workspaces::request as start;

fn manager() -> Manager {
    let patch = json!({"manager": {
        "registryFacadeHost": "reg.example.com", "workspaceHostPath": "/var/gitpod/workspaces",
        "wsdaemon": { "port": 8080 },
        "workspaceClass": { "default": { "container": { "limits": { "storage": "10Gi" } } } },
    }});
    let settings = golden::settings(&patch, &Value::Null);
    settings.expect("the configuration is valid").manager
}

fn request(id: &str, kind: &str, remotes: &[&str]) -> StartWorkspaceRequest {
    let git = remotes.iter().map(|remote| {
        json!({"git": { "remoteUri": remote, "config": {
            "authentication": "BASIC_AUTH", "authUser": "jane", "authPassword": format!("secret of {remote}"),
        }}})
    });
    let request = json!({
        "id": id, "servicePrefix": "p", "type": kind,
        "metadata": { "owner": "jane", "metaId": "no label value/" },
        "spec": {
            "workspaceImage": "i", "workspaceLocation": "l",
            "initializer": { "composite": { "initializer": git.collect::<Vec<_>>() } },
        },
    });
    serde_json::from_value(request).expect("a request")
}

/// The pod and the Secret of a start, as the API server has them.
fn started(request: &StartWorkspaceRequest, manager: &Manager) -> (Pod, Values) {
    let request = start::parse(request.clone(), manager).expect("a valid request");
    let tokens = Tokens {
        cli_api: "cli".to_owned(),
        owner: "owner".to_owned(),
    };
    let plan = plan::plan(&request, manager, &tokens).expect("a plan");
    let pod = serde_json::to_value(&plan.pod).expect("JSON");
    let secret = plan.dependants.into_iter().find_map(|part| match part {
        Dependant::Secret(secret) => Some(secret),
        _ => None,
    });
    let secret = serde_json::to_value(secret).expect("JSON");
    let values = |key: &str| secret[key].as_object().cloned().unwrap_or_default();
    let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
    let plain = values("stringData").into_iter();
    let plain = plain.map(|(key, value)| (key, STANDARD.encode(text(value))));
    let encoded = values("data").into_iter();
    let encoded = encoded.map(|(key, value)| (key, text(value)));
    let pod = serde_json::from_value(pod).expect("a pod");
    (pod, plain.chain(encoded).collect())
}

#[test]
fn it_is_filled_with_what_was_asked_for() {
    let manager = manager();
    let long = format!("https://example.com/{}", "long/".repeat(20_000));
    for (remotes, kind) in [
        (
            vec!["https://example.com/a", "https://example.com/b"],
            "REGULAR",
        ),
        // This one is in the Secret as a whole.
        (vec![long.as_str()], "IMAGEBUILD"),
    ] {
        let asked = request("a", kind, &remotes);
        let (pod, secret) = started(&asked, &manager);
        assert!(!format!("{pod:?}").contains("secret of"), "{pod:?}");
        assert_eq!(fill(&pod, "a", None, &manager), Err(Missing::Secret));
        let filled = fill(&pod, "a", Some(&secret), &manager).expect("a request");
        let metadata = filled.metadata.expect("metadata");
        assert_eq!(metadata.owner, "jane");
        assert_eq!(metadata.meta_id, "no label value/");
        assert_eq!(filled.storage_quota_bytes, 10 << 30);
        assert_eq!(filled.remote_storage_disabled, kind == "IMAGEBUILD");
        assert_eq!(filled.initializer, asked.spec.expect("a spec").initializer);
    }
}

#[test]
fn what_is_missing_is_named() {
    let manager = manager();
    let asked = request("a", "REGULAR", &["https://example.com/a"]);
    let (pod, _) = started(&asked, &manager);
    let why = |change: &dyn Fn(&mut Pod)| {
        let mut pod = pod.clone();
        change(&mut pod);
        match fill(&pod, "a", Some(&Values::new()), &manager) {
            Err(Missing::Else(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    let key = "the Secret has no key initializer.composite.0.git";
    assert_eq!(why(&|_| {}), key);
    let unknown = why(&|pod| {
        let class = "gitpod.io/workspaceClass".to_owned();
        pod.metadata.labels.insert(class, "gone".to_owned());
    });
    assert_eq!(unknown, "no workspace class \"gone\"");
    let nobodys = why(&|pod| drop(pod.metadata.labels.remove("owner")));
    assert_eq!(nobodys, "the pod does not name its owner");
    let odd = why(&|pod| {
        let key = annotation::CONTENT_INITIALIZER.to_owned();
        pod.metadata.annotations.insert(key, "odd".to_owned());
    });
    assert_eq!(odd, "annotation gitpod/contentInitializer is unreadable");
}

fn step(what: What) -> NodeStep {
    NodeStep {
        pod: PodRef {
            name: "ws-a".to_owned(),
            uid: "uid".to_owned(),
        },
        id: "a".to_owned(),
        node: "node-a".to_owned(),
        what,
    }
}

fn marks(what: What, outcome: Outcome) -> Mark {
    match step(what).record(outcome).pop() {
        Some(Action::Mark(_, mark)) => mark,
        other => panic!("{other:?}"),
    }
}

fn disposed(backup: bool, disposed: Result<Option<GitStatus>, String>) -> Value {
    let keeping = Keeping {
        backup,
        logs: false,
    };
    let again = false;
    let marks = marks(
        What::Dispose { keeping, again },
        Outcome::Disposed(disposed),
    );
    serde_json::from_str(&marks.set[annotation::DISPOSAL_STATUS]).expect("JSON")
}

#[test]
fn lists_of_a_git_status_are_cut_and_their_totals_are_not() {
    let status = GitStatus {
        branch: "main".to_owned(),
        latest_commit: "c0ffee".to_owned(),
        uncommited_files: vec!["README".to_owned()],
        untracked_files: (0..100_000).map(|n| format!("\"{n}\"")).collect(),
        total_untracked_files: 200_000,
        ..GitStatus::default()
    };
    let mark = disposed(true, Ok(Some(status)));
    assert!(mark.to_string().len() < LONGEST_LISTS + 1024);
    let git = &mark["gitStatus"];
    assert_eq!(git["uncommited_files"], json!(["README"]));
    assert_eq!(git["total_uncommited_files"], 1);
    assert_eq!(git["untracked_files"][1], "\"1\"");
    assert!(git["untracked_files"].as_array().expect("a list").len() > 100);
    assert_eq!(git["total_untracked_files"], 200_000);
    assert_eq!(git["unpushed_commits"], Value::Null);
}

#[test]
fn where_nothing_was_to_be_kept_nothing_is_lost() {
    let failed = || Err("no space left".to_owned());
    let finished = json!({ "status": "finished" });
    assert_eq!(disposed(false, failed()), finished);
    assert_eq!(disposed(true, Ok(None)), finished);
    let lost = json!({ "status": "finished", "backupFailure": "no space left" });
    assert_eq!(disposed(true, failed()), lost);
}

#[test]
fn a_snapshot_has_a_name() {
    let taken = |url: String| marks(What::Snapshot, Outcome::Snapshot(Ok(url))).set;
    assert_eq!(taken("a@b".to_owned())[annotation::SNAPSHOT], "a@b");
    for odd in [String::new(), "x".repeat(100_000)] {
        let why = &taken(odd)[annotation::EXPLICIT_FAIL];
        assert!(why.starts_with("cannot take snapshot: "), "{why}");
    }
}

#[test]
fn failures_are_short() {
    let long = "x".repeat(100_000);
    let failed = marks(What::Fill, Outcome::Filled(Err(long)));
    assert_eq!(failed.set[annotation::ALREADY_INITIALIZING], "true");
    assert_eq!(failed.set[annotation::FAILED_BEFORE_STOPPING], "true");
    assert!(failed.set[annotation::EXPLICIT_FAIL].len() < 4096);
}
