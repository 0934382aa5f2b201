//! `wsman convert loadtest`: what it prints, `session start` reads.

use std::fs;

use super::super::wsman;
use super::*;

/// A LoadTest as people write it: the value of `pool` is one that YAML could take for something else.
const TESTS: &str = r#"
apiVersion: e2etest.grpc.io/v1
kind: LoadTest
metadata:
  name: first
  annotations: {pool: "yes", scenario: "1e3"}
spec:
  driver: {language: cxx, run: [{image: "d:1"}]}
  scenariosJSON: |
    {"scenarios": [{"name": "a: b # c"}]}
  timeoutSeconds: 900
---
apiVersion: e2etest.grpc.io/v1
kind: LoadTest
metadata: {name: second}
spec:
  driver: {language: cxx, run: [{image: "d:1"}]}
"#;

#[test]
fn row_30_loadtests_become_files_of_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tests.yaml");
    fs::write(&path, TESTS).unwrap();
    let path = path.to_str().unwrap();
    let yaml = wsman(&["convert", "loadtest", path]).expect(0).stdout;
    let lines = wsman(&["convert", "loadtest", path, "-o", "json"])
        .expect(0)
        .stdout;
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[1]["id"], "second");
    // Both forms start the same.
    let server = Server::start(Vec::new());
    let converted = folder.path().join("converted.yaml");
    fs::write(&converted, &yaml).unwrap();
    let converted = converted.to_str().unwrap();
    let batch = spawn(&server, &["run", converted, "--fixed-ids"], "");
    let asked = server.wait_for("StartSession", 2);
    batch.kill();
    let first = asked
        .iter()
        .find(|request| request["id"] == "first")
        .unwrap();
    assert_eq!(first["spec"]["queue"], "yes");
    assert_eq!(first["spec"]["deadline"], "900s");
    let driver = &first["spec"]["components"][0];
    assert_eq!(driver["annotations"]["scenario"], "1e3");
    let scenarios = r#"{"scenarios":[{"name":"a: b # c"}]}"#;
    assert_eq!(driver["env"]["SCENARIO_JSON"], scenarios);
}

#[test]
fn every_field_that_cannot_be_converted_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tests.yaml");
    let second = "metadata: {name: second}\nspec:\n";
    let spoilt = format!("{second}  results: {{bigQueryTable: x}}\n");
    let tests = TESTS.replace("cxx, run", "cxx, clone: {repo: x}, run");
    fs::write(&path, tests.replace(second, &spoilt)).unwrap();
    let path = path.to_str().unwrap();
    let done = wsman(&["convert", "loadtest", path]).expect(2);
    assert_eq!(done.stdout, "");
    assert_eq!(
        done.stderr.replace(path, "<file>"),
        "error: <file>: cannot be converted\n  \
         document 1: spec.driver.clone: nothing is built here: run an image that holds what was built\n  \
         document 2: spec.driver.clone: nothing is built here: run an image that holds what was built\n  \
         document 2: spec.results: results are not uploaded: the driver's log and its termination message are the result\n"
    );
}
