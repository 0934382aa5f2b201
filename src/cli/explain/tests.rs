//! The contract of `wsman explain` from outside: shape, exit codes, and what people see.

use std::fs;

use clap::Parser;
use serde_json::{Value, json};

use super::{Args, run};
use crate::cli::exit::{Exit, Failure};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// Runs the verb on an input, with a configuration beside it; `FILE` and `CONFIG` stand for their paths.
fn explain(input: &str, config: &Value, line: &str) -> (Result<(), Failure>, String) {
    let folder = tempfile::tempdir().unwrap();
    let [file, config_file] = ["input.json", "config.json"].map(|name| folder.path().join(name));
    fs::write(&file, input).unwrap();
    fs::write(&config_file, config.to_string()).unwrap();
    let line = line
        .replace("FILE", &file.to_string_lossy())
        .replace("CONFIG", &config_file.to_string_lossy());
    let words = ["explain"].into_iter().chain(line.split_whitespace());
    let mut out = Vec::new();
    let result = run(&Line::parse_from(words).args, &mut out);
    (result, String::from_utf8(out).unwrap())
}

fn pod() -> Value {
    json!({
        "kind": "Pod",
        "metadata": {
            "name": "ws-crane", "uid": "9", "resourceVersion": "5", "creationTimestamp": "2026-03-01T10:00:00Z",
            "labels": {"owner": "ada", "metaID": "crane"},
            "annotations": {
                "gitpod/id": "crane", "gitpod/url": "https://crane.example.test", "gitpod.io/alreadyInitializing": "true",
            },
            "finalizers": ["gitpod.io/finalizer"],
        },
        "spec": {"containers": [{"name": "workspace", "image": "i"}], "nodeName": "n"},
        "status": {"phase": "Running"},
    })
}

/// The example configuration with a version offset.
fn config() -> Value {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/example-config.json")).unwrap();
    let mut config = object(&text);
    config["manager"]["statusVersionOffset"] = json!(100);
    config
}

fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn names_the_step_of_the_content_and_its_deadline() {
    let runs = json!({"running": {"startedAt": "2026-03-01T10:00:01Z"}});
    let mut config = config();
    config["guest"] = json!({"contentImage": "guest"});
    let mut pod = pod();
    pod["metadata"]["annotations"]["wsman.dev/ready-by"] = "condition".into();
    pod["status"] = json!({
        "phase": "Pending",
        "containerStatuses": [{"name": "workspace", "state": {"waiting": {"reason": "PodInitializing"}}}],
        "initContainerStatuses": [{"name": "content-init", "state": runs}],
    });
    let (result, out) = explain(&pod.to_string(), &config, "--config CONFIG FILE");
    assert!(result.is_ok());
    let startup = "content          content-init fills the workspace, until 2026-03-01T11:00:00Z (manager.timeouts.startup)\n";
    assert!(out.contains(startup), "{out}");

    pod["metadata"]["deletionTimestamp"] = "2026-03-01T11:00:00Z".into();
    pod["metadata"]["deletionGracePeriodSeconds"] = 3600.into();
    let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
    pod["status"] = json!({
        "phase": "Running",
        "containerStatuses": [{"name": "workspace", "state": ended}],
        "initContainerStatuses": [{"name": "content-save", "state": runs}],
    });
    let line = "--config CONFIG --now 2026-03-01T10:30:00Z FILE";
    let (result, out) = explain(&pod.to_string(), &config, line);
    assert!(result.is_ok());
    assert!(out.contains("content          content-save saves the content, until 2026-03-01T12:00:00Z (manager.timeouts.contentFinalization)\n"), "{out}");
}

#[test]
fn names_the_search_for_the_last_backup_once() {
    let path = "testdata/decide/content_lost_looks_for_a_backup_WAIT.json";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let pod = &object(&fs::read_to_string(path).unwrap())["pod"];
    let mut config = config();
    config["guest"] = json!({"contentImage": "guest"});
    config["content"]["storage"] = json!({"kind": "local", "local": {"path": "/store"}});
    let line = "--config CONFIG --now 2026-03-01T10:20:00Z FILE";
    let (result, out) = explain(&pod.to_string(), &config, line);
    assert!(result.is_ok());
    let now = "now              look for the last backup in the store (content not saved)\n";
    assert!(out.contains(now), "{out}");
    assert_eq!(out.matches("in the store").count(), 1, "{out}");
}

#[test]
fn prints_the_status_in_proto_names_for_programs() {
    let (result, out) = explain(&pod().to_string(), &json!({}), "-o json FILE");
    assert!(result.is_ok());
    assert_eq!(
        object(&out),
        json!({
            "status": {
                "id": "crane", "status_version": "5", "phase": "RUNNING",
                "metadata": {"owner": "ada", "meta_id": "crane", "started_at": "2026-03-01T10:00:00Z"},
                "spec": {"workspace_image": "i", "url": "https://crane.example.test", "ide_image": {}},
                "conditions": {"volume_snapshot": {}},
                "runtime": {"pod_name": "ws-crane", "node_name": "n"},
                "auth": {},
            },
            "actions": [],
            "deadline": null,
        })
    );
}

#[test]
fn a_configuration_and_a_moment_make_timeouts_visible() {
    let case = json!({"pod": pod(), "activity": "2026-03-01T10:10:00Z", "legacy": 1});
    let (_, out) = explain(&case.to_string(), &config(), "-o json --config CONFIG FILE");
    let printed = object(&out);
    assert_eq!(printed["actions"], json!([]));
    let deadline = json!({"at": "2026-03-01T10:40:00Z", "reason": "inactivity timeout"});
    assert_eq!(printed["deadline"], deadline);
    assert_eq!(printed["status"]["status_version"], "105");
    assert_eq!(printed["status"]["spec"]["timeout"], "30m0s");
    let line = "-o json --config CONFIG --now 2026-03-01T10:40:00Z FILE";
    let (_, out) = explain(&case.to_string(), &config(), line);
    let message = "workspace timed out after period of inactivity (00h30m) took longer than 00h30m";
    let mark = json!([{"mark": {"set": {"gitpod/timedout": message}}}]);
    assert_eq!(object(&out)["actions"], mark);
}

#[test]
fn a_list_of_one_pod_is_that_pod() {
    let list = json!({"kind": "List", "items": [pod()]});
    let (result, out) = explain(&list.to_string(), &json!({}), "-o json FILE");
    assert!(result.is_ok());
    assert_eq!(object(&out)["status"]["id"], "crane");
}

#[test]
fn writes_have_the_form_of_the_contract() {
    let mut stopping = pod();
    stopping["metadata"]["annotations"]["gitpod.io/stoppedByRequest"] = json!("42s");
    let (_, out) = explain(&stopping.to_string(), &json!({}), "-o json FILE");
    assert_eq!(object(&out)["actions"], json!([{"stop": {"grace": "42s"}}]));
    stopping["metadata"]["deletionTimestamp"] = json!("2026-03-01T10:00:42Z");
    stopping["status"]["phase"] = json!("Succeeded");
    let (_, out) = explain(&stopping.to_string(), &json!({}), "-o json FILE");
    let release = json!([{"finalizer": {"remove": "gitpod.io/finalizer"}}]);
    assert_eq!(object(&out)["actions"], release);
}

#[test]
fn a_pod_that_is_no_workspace_ends_with_1() {
    let mut stranger = pod();
    stranger["metadata"]["annotations"] = json!({});
    let (result, out) = explain(&stranger.to_string(), &json!({}), "-o json FILE");
    assert_eq!(result.unwrap_err().exit(), Exit::Failed);
    let error = "cannot get gitpod/id annotation from ws-crane";
    let printed = json!({"status": null, "error": error, "actions": [], "deadline": null});
    assert_eq!(object(&out), printed);
}

#[test]
fn unusable_input_ends_with_2() {
    for (input, line) in [
        ("{", "FILE"),
        ("[]", "FILE"),
        ("{\"kind\":\"Node\"}", "FILE"),
        ("{\"pod\":7}", "FILE"),
        ("{\"pod\":7,\"events\":7,\"node\":7}", "FILE"),
        ("7", "FILE"),
        ("{\"pod\":{},\"activity\":\"noon\"}", "FILE"),
        ("{\"kind\":\"List\",\"items\":[]}", "FILE"),
        ("{\"pod\":{}}", "FILE.absent"),
        ("{\"pod\":{}}", "--config FILE FILE"),
    ] {
        let (result, out) = explain(input, &json!({}), line);
        assert_eq!(
            (result.unwrap_err().exit(), out.as_str()),
            (Exit::Usage, ""),
            "{input} {line}"
        );
    }
}

#[test]
fn prints_why_and_what_comes_next_for_people() {
    let mut failed = pod();
    failed["status"] =
        json!({"phase": "Failed", "reason": "Evicted", "message": "low on\u{1b}[31m disk"});
    let (result, out) = explain(&failed.to_string(), &config(), "--config CONFIG FILE");
    assert!(result.is_ok());
    let expected = "\
workspace        crane (pod ws-crane)
phase            UNKNOWN (rule P16)
failed           Evicted: low on [31m disk (rule F2)
now              set gitpod/failedBeforeStopping to \"true\", set wsman.dev/failure to \
\"Evicted: low on\\u{1b}[31m disk\" (failed)
now              delete the pod with 30s of grace (failed)
";
    assert_eq!(out, expected);
    let case = json!({"pod": pod(), "activity": "2026-03-01T10:10:00Z"});
    let (_, out) = explain(&case.to_string(), &config(), "--config CONFIG FILE");
    let next = "next             2026-03-01T10:40:00Z: inactivity timeout (manager.timeouts.regularWorkspace)\n";
    assert!(out.ends_with(next), "{out}");
}

#[test]
fn says_what_a_file_cannot_know() {
    let user = "unknown          the user's last activity: no object holds it; \
                ask the daemon (wsman client explain ID)\n";
    let timeouts = "unknown          the timeouts: give the daemon's configuration by --config\n";
    let (_, out) = explain(&pod().to_string(), &config(), "--config CONFIG FILE");
    assert!(out.ends_with(user) && !out.contains("next"), "{out}");
    let (_, out) = explain(&pod().to_string(), &json!({}), "FILE");
    assert!(out.ends_with(&format!("{timeouts}{user}")), "{out}");
}

#[test]
fn reads_yaml() {
    let yaml = serde_saphyr::to_string(&pod()).unwrap();
    let (result, out) = explain(&yaml, &json!({}), "-o json FILE");
    assert!(result.is_ok());
    assert_eq!(object(&out)["status"]["id"], "crane");
    let (result, _) = explain("metadata: [", &json!({}), "FILE");
    assert!(result.unwrap_err().message().contains("no YAML"));
}

#[test]
fn a_foreign_pod_is_no_workspace() {
    let mut stranger = pod();
    stranger["metadata"]["annotations"] = json!({});
    stranger["metadata"]["finalizers"] = json!([]);
    let (result, out) = explain(&stranger.to_string(), &json!({}), "FILE");
    let failure = result.unwrap_err();
    let why = failure.message();
    assert!(why.starts_with("pod ws-crane is no workspace: "), "{why}");
    assert_eq!(out, "");
}
