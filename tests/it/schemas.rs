//! `wsman generate`: schemas as people and editors get them, without a configuration.

use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};

use super::processes::wsman;

fn generate(what: &str) -> Value {
    let output = wsman().args(["generate", what]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let schema = serde_json::from_slice(&output.stdout).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    schema
}

fn read(file: &str) -> Value {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_examples_are_accepted_and_what_is_unknown_is_not() {
    for (what, file) in [
        ("config-schema", "example-config.json"),
        ("wsspec-schema", "testdata/example-wsspec.json"),
    ] {
        let schema = jsonschema::draft202012::new(&generate(what)).unwrap();
        let mut example = read(file);
        assert!(schema.is_valid(&example), "{file}");
        example["unknown"] = json!(1);
        let errors: Vec<String> = schema
            .iter_errors(&example)
            .map(|e| e.to_string())
            .collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains("'unknown'"), "{errors:?}");
    }
}

#[test]
fn a_configuration_names_the_schema_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let schema = generate("config-schema");
    std::fs::write(folder.path().join("config.schema.json"), schema.to_string()).unwrap();
    let mut config = read("example-config.json");
    config["$schema"] = json!("./config.schema.json");
    assert!(jsonschema::draft202012::is_valid(&schema, &config));
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let output = wsman()
        .current_dir(folder.path())
        .args(["validate-config", "--config", "config.json"])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert_eq!(
        (text(output.stdout), text(output.stderr)),
        ("config.json is valid\n".to_owned(), String::new())
    );
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = wsman()
        .args(["generate", "config-schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut errors).unwrap();
    assert!(child.wait().unwrap().success(), "{errors}");
    assert_eq!(errors, "");
}

#[test]
fn unknown_schemas_are_rejected() {
    for args in [
        &["generate"][..],
        &["generate", "schema"],
        &["generate", "config-schema", "x"],
    ] {
        let output = wsman().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
