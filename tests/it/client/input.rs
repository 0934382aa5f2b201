//! Start requests that cannot be read: exit code 2, the file, and the path of the field.

use super::*;

/// Runs a start from standard input that must be refused before any call.
#[track_caller]
fn refused(text: &str, expected: &str) {
    let server = Server::start(vec![]);
    let done = run_with(&server, &["start", "-f", "-"], text).expect(2);
    assert_eq!(done.stderr, format!("error: standard input: {expected}\n"));
    assert!(server.call_names().is_empty());
}

#[test]
fn unknown_fields_are_errors_with_their_path() {
    refused(
        r#"{"spec": {"envvars": [{"name": "a"}, {"name": "b", "valu": "c"}]}}"#,
        "spec.envvars[1].valu: unknown field `valu`, expected one of `name`, `value`, `secret` at line 1 column 57",
    );
    refused(
        "spec:\n  git:\n    user_name: x\n",
        "spec.git.user_name: unknown field `user_name`, expected `username` or `email`",
    );
}

#[test]
fn values_of_the_wrong_kind_are_errors_with_their_path() {
    refused(
        r#"{"id": 1}"#,
        "id: invalid type: integer `1`, expected a string at line 1 column 8",
    );
    refused(
        "spec: {envvars: [{name: A, value: 1}]}",
        "spec.envvars[0].value: invalid type: integer `1`, expected a string",
    );
    refused(
        "spec: {ports: [{port: 1}, {port: -1}]}",
        "spec.ports[1].port: not a number that fits",
    );
    refused(
        "spec: {ports: [{port: 99999999999}]}",
        "spec.ports[0].port: not a number that fits",
    );
    refused(
        "type: FOO",
        "type: unknown variant `FOO`, expected one of `REGULAR`, `PREBUILD`, `IMAGEBUILD`",
    );
    refused(
        "- 1",
        "invalid type: sequence, expected struct wsman.StartWorkspaceRequest",
    );
}

#[test]
fn broken_text_is_an_error_with_its_place() {
    refused("", "it is empty");
    refused(
        r#"{"id": "x""#,
        "EOF while parsing an object at line 1 column 10",
    );
    refused(
        r#"{"id": "x"} {}"#,
        "trailing characters at line 1 column 13",
    );
    refused(
        r#"{"id": "x", "id": "y"}"#,
        "duplicate field `id` at line 1 column 16",
    );
    refused(
        "id: x\nid: y\n",
        "duplicate mapping key: id not allowed here at line 2, column 1",
    );
    refused("id: [x", "unclosed bracket '[' at line 1, column 5");
    let server = Server::start(vec![]);
    let done = run_with(&server, &["start", "-f", "-"], &"x".repeat(5 << 20)).expect(2);
    assert_eq!(
        done.stderr,
        "error: cannot read standard input: it is larger than 4 MiB\n"
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let server = Server::start(vec![]);
    let done = run(&server, &["start", "-f", "testdata/no-such-file"]).expect(2);
    assert_eq!(
        done.stderr,
        "error: cannot read testdata/no-such-file: No such file or directory (os error 2)\n"
    );
    run(&server, &["start"]).expect(2);
}

#[test]
fn no_input_is_read_without_end() {
    let server = Server::start(vec![]);
    for verb in [
        &["start", "-f", "/dev/zero"][..],
        &["ssh-keys", "x", "-f", "/dev/zero"],
    ] {
        let done = run(&server, verb).expect(2);
        assert_eq!(
            done.stderr,
            "error: cannot read /dev/zero: it is larger than 4 MiB\n"
        );
    }
    for (args, size) in [
        (&["explain", "/dev/zero"][..], "larger than 64 MiB"),
        (&["verify", "--check", "/dev/zero"], "larger than 64 MiB"),
        (
            &["render", "--config", "example-config.json", "/dev/zero"],
            "larger than 4 MiB",
        ),
        (&["simulate", "--kubeconfig", "/dev/zero"], "it is a device"),
        (
            &["simulate", "--nodes-file", "/dev/null"],
            "it must hold a JSON object",
        ),
        (
            &[
                "client",
                "-H",
                "grpcs://localhost:1",
                "--ca",
                "/dev/zero",
                "list",
            ],
            "larger than 4 MiB",
        ),
        (
            &["client", "bus-tail", "--url-file", "/dev/zero"],
            "it is a device",
        ),
    ] {
        let done = wsman(args).expect(2);
        assert!(done.stderr.contains(size), "{args:?}: {}", done.stderr);
    }
}

#[test]
fn every_problem_of_a_file_of_nodes_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nodes.json");
    let nodes = r#"{"a": {"count": 2}, "a-1": {"capacity": {"cpu": "x"}}, "b": {"lables": {}}}"#;
    std::fs::write(&path, nodes).unwrap();
    let path = path.to_str().unwrap();
    let done = wsman(&["simulate", "--nodes-file", path]).expect(2);
    for line in [
        "nodes.json is not valid\n",
        "nodes.a-1: makes the node \"a-1\", which another makes\n",
        "nodes.a-1.capacity.cpu: is \"x\"; must be a number",
        "nodes.b.lables: unknown key; did you mean \"labels\"?\n",
    ] {
        assert!(done.stderr.contains(line), "{}", done.stderr);
    }
}

#[test]
fn both_spellings_of_names_are_read() {
    let server = Server::start(vec![]);
    run_with(
        &server,
        &["start", "-f", "-"],
        r#"{"id": "a", "service_prefix": "p", "spec": {"workspace_image": "i"}}"#,
    )
    .expect(0);
    run_with(
        &server,
        &["start", "-f", "-"],
        "id: a\nservicePrefix: p\nspec:\n  workspaceImage: i\n",
    )
    .expect(0);
    let requests = server.requests("StartWorkspace");
    assert_eq!(requests[0], requests[1]);
}
