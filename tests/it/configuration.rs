//! What people see of a configuration: on the terminal, for programs, from standard input.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::processes::{write_config, wsman};

fn example() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/example-config.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Runs a command to its end with a text on its standard input.
fn feed(command: &mut Command, text: &str) -> Output {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn validate(config: &Value, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = wsman();
    command
        .args(["validate-config", "--config", "-"])
        .args(more);
    let output = feed(&mut command, &config.to_string());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_valid_configuration_on_standard_input_is_reported_as_valid() {
    let printed = validate(&example(), &[]);
    let valid = "standard input is valid\n".to_owned();
    assert_eq!(printed, (Some(0), valid, String::new()));
    let printed = validate(&example(), &["-o", "json"]);
    assert_eq!(printed, (Some(0), "[]\n".to_owned(), String::new()));
}

#[test]
fn warnings_are_no_failure() {
    let mut config = example();
    config["pprof"] = json!({"addr": "127.0.0.1:6060"});
    let (code, stdout, stderr) = validate(&config, &[]);
    assert_eq!((code, &*stdout), (Some(0), "standard input is valid\n"));
    let warning = "warning: pprof.addr: has no effect: wsman does not serve this yet\n";
    assert_eq!(stderr, warning);
}

#[test]
fn every_problem_is_printed_at_once_and_run_fails_with_the_same_list() {
    let mut config = example();
    config["manager"]["heartbeatInterval"] = 30.into();
    config["manager"]["namespace"] = 5.into();
    config["manager"]["urlTemplate"] = "{{ .Prefix }}.example.com".into();
    config["manager"]["workspaceClass"]["default"]["creditsPerMinute"] = (-1).into();
    config["manager"]["workspaceClass"]["default"]["templates"]["defaultPath"] =
        "/nowhere/template.yaml".into();
    config["manager"]["nameSpace"] = "default".into();
    config["health"]["addr"] = config["rpcServer"]["addr"].clone();
    config["rpcServer"]["tls"] = json!({"crt": "/nowhere/tls.crt"});
    let (code, stdout, refused) = validate(&config, &[]);
    assert_eq!((code, &*stdout), (Some(2), ""));
    let lines = [
        "error: standard input is not valid",
        "  health.addr: is \"127.0.0.1:8080\", which rpcServer.addr takes already; give another port",
        "  manager.heartbeatInterval: is the number 30; a duration is a string with a unit: write \"30s\"",
        "  manager.nameSpace: unknown key; did you mean \"namespace\"?",
        "  manager.namespace: is 5; must be a string, written as \"5\"",
        "  manager.urlTemplate: gives \"bar.example.com\", which has no scheme; begin it with \"https://\"",
        "  manager.workspaceClass.default.creditsPerMinute: is -1; must be a number from 0 to 1000000000",
        "  manager.workspaceClass.default.templates.defaultPath: /nowhere/template.yaml: cannot be read: there is no such file",
        "  rpcServer.tls.crt: /nowhere/tls.crt: cannot be read: there is no such file",
        "  rpcServer.tls.key: is missing beside the others of rpcServer.tls; give it, or none of them",
        "",
    ];
    assert_eq!(refused, lines.join("\n"));

    let run = feed(wsman().args(["run", "--config", "-"]), &config.to_string());
    assert_eq!(run.status.code(), Some(2));
    assert_eq!(String::from_utf8(run.stderr).unwrap(), refused);

    let (code, stdout, stderr) = validate(&config, &["-o", "json"]);
    assert_eq!(code, Some(2));
    let failure: Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!(failure["error"]["message"], "standard input is not valid");
    let problems: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(problems.as_array().unwrap().len(), lines.len() - 2);
    assert_eq!(
        problems[6],
        json!({
            "path": "manager.workspaceClass.default.templates.defaultPath",
            "file": "/nowhere/template.yaml",
            "message": "cannot be read: there is no such file",
            "severity": "error",
        })
    );
}

#[test]
fn what_is_no_json_is_one_line() {
    let output = feed(
        wsman().args(["validate-config", "--config", "-"]),
        "manager:\n  namespace: default\n",
    );
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: standard input looks like YAML; only JSON is read\n"
    );
}

#[test]
fn standard_input_is_one_file_only() {
    for verb in ["render", "explain"] {
        let output = feed(wsman().args([verb, "--config", "-", "-"]), "{}");
        assert_eq!(output.status.code(), Some(2), "{verb}");
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(printed.contains("both \"-\""), "{verb}: {printed}");
    }
}

#[test]
fn the_program_prints_its_keys() {
    let output = wsman()
        .args(["validate-config", "--keys"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let keys = String::from_utf8(output.stdout).unwrap();
    assert!(keys.contains("| `heartbeatInterval` | duration | required |"));
}

#[test]
fn a_kubelet_that_cannot_start_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path(), "default", 0);
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut run = |root: bool, why: &str| {
        config["kubernetes"] = json!({
            "mode": "embedded", "runtime": "process", "allowRoot": root, "directory": path,
        });
        std::fs::write(&path, config.to_string()).unwrap();
        let output = wsman().arg("run").arg("--config").arg(&path).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(why), "{stderr}");
    };
    // Its directory is a file.
    run(true, "cannot use ");
    if rustix::process::getuid().is_root() {
        run(false, "run as another user, or set kubernetes.allowRoot");
    }
}
