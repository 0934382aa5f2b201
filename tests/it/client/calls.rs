//! The verbs that are one call: their request and their output.

use serde_json::{Value, json};

use super::*;

/// Runs a verb; the one request it makes, and all it prints in each format.
#[track_caller]
fn call(args: &[&str], rpc: &str) -> (Value, String) {
    let server = Server::start(vec![]);
    let text = run(&server, args).expect(0).stdout;
    let json = run(&server, &[args, &["-o", "json"]].concat())
        .expect(0)
        .stdout;
    serde_json::from_str::<Value>(&json).unwrap();
    let requests = server.requests(rpc);
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0], requests[1]);
    (requests[0].clone(), text)
}

#[test]
fn any_call_by_its_name() {
    let (request, text) = call(&["call", "MarkActive", r#"{"id": "x"}"#], "MarkActive");
    assert_eq!((request, text.as_str()), (json!({"id": "x"}), "{}\n"));
    let (request, _) = call(&["call", "DescribeCluster"], "DescribeCluster");
    assert_eq!(request, json!({}));
    let server = Server::start(vec![]);
    let wrong = run(&server, &["call", "MarkActive", r#"{"ids": "x"}"#]).expect(2);
    assert!(
        wrong.stderr.contains("ids: unknown field"),
        "{}",
        wrong.stderr
    );
    run(&server, &["call", "MarkPassive"]).expect(2);
    assert!(server.requests("MarkActive").is_empty());
}

#[test]
fn activity() {
    let (request, text) = call(&["mark-active", "x"], "MarkActive");
    assert_eq!(
        (request, text.as_str()),
        (json!({"id": "x"}), "Marked x active\n")
    );
    let (request, text) = call(
        &["mark-active", "x", "--closed", "--if-first"],
        "MarkActive",
    );
    assert_eq!(
        request,
        json!({"id": "x", "closed": true, "ignoreIfActive": true})
    );
    assert_eq!(text, "Marked x closed\n");
}

#[test]
fn timeouts() {
    let (request, text) = call(&["set-timeout", "x", "1h"], "SetTimeout");
    assert_eq!(
        (request, text.as_str()),
        (
            json!({"id": "x", "duration": "1h"}),
            "The timeout of x is 1h, and it has no closed timeout\n"
        )
    );
    let (request, _) = call(&["set-timeout", "x", "0", "--closed"], "SetTimeout");
    assert_eq!(
        request,
        json!({"id": "x", "duration": "0", "type": "CLOSED_TIMEOUT"})
    );
}

#[test]
fn ports() {
    let (request, text) = call(
        &["port", "expose", "x", "3000", "--public", "--https"],
        "ControlPort",
    );
    let spec = json!({"port": 3000, "visibility": "PORT_VISIBILITY_PUBLIC", "protocol": "PORT_PROTOCOL_HTTPS"});
    assert_eq!(request, json!({"id": "x", "expose": true, "spec": spec}));
    assert_eq!(text, "Exposed port 3000 of x\n");
    let mapped = ["port", "expose", "x", "80", "--target", "3000"];
    let (request, _) = call(&mapped, "ControlPort");
    let spec = json!({"port": 80, "target": 3000});
    assert_eq!(request, json!({"id": "x", "expose": true, "spec": spec}));
    let (request, text) = call(&["port", "hide", "x", "3000"], "ControlPort");
    assert_eq!(
        (request, text.as_str()),
        (
            json!({"id": "x", "spec": {"port": 3000}}),
            "Hid port 3000 of x\n"
        )
    );
    let server = Server::start(vec![]);
    for port in ["0", "65536", "-1", "http"] {
        run(&server, &["port", "expose", "x", port]).expect(2);
        run(&server, &["port", "expose", "x", "80", "--target", port]).expect(2);
    }
}

#[test]
fn admission() {
    let (request, text) = call(&["admission", "x", "everyone"], "ControlAdmission");
    assert_eq!(
        (request, text.as_str()),
        (
            json!({"id": "x", "level": "ADMIT_EVERYONE"}),
            "x admits everyone\n"
        )
    );
    let (request, text) = call(&["admission", "x", "owner"], "ControlAdmission");
    assert_eq!(
        (request, text.as_str()),
        (json!({"id": "x"}), "x admits only its owner\n")
    );
}

#[test]
fn a_timeout_that_ends_the_workspace_needs_a_flag() {
    let server = Server::start(vec![]);
    for duration in ["0", "0s", "0h0m", "5s"] {
        let done = run(&server, &["set-timeout", "x", duration]).expect(2);
        assert!(
            done.stderr
                .starts_with(&format!("error: a timeout of {duration} stops x "))
                && done.stderr.ends_with("hint: pass --now to do it\n"),
            "{}",
            done.stderr
        );
    }
    assert!(server.call_names().is_empty());
    run(&server, &["set-timeout", "x", "0", "--now"]).expect(0);
    assert_eq!(
        server.requests("SetTimeout"),
        [json!({"id": "x", "duration": "0"})]
    );
    // The server validates an invalid duration.
    run(&server, &["set-timeout", "x", "soon"]).expect(0);
}

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkhwSFl5uHX+RKdMvZwICCuQYdOLDd3T87WZ0zuLI1w";

#[test]
fn ssh_keys() {
    let server = Server::start(vec![]);
    let keys = format!("# laptop\n{KEY} me@laptop\n\n  no-pty {KEY} me@desk \n");
    let done = run_with(&server, &["ssh-keys", "x", "-f", "-"], &keys).expect(0);
    assert_eq!(done.stdout, "x has 2 SSH keys\n");
    let done = run(&server, &["ssh-keys", "x", "--none"]).expect(0);
    assert_eq!(done.stdout, "x has no SSH keys\n");
    let keys = [format!("{KEY} me@laptop"), format!("no-pty {KEY} me@desk")];
    let expected = json!({"id": "x", "keys": keys});
    assert_eq!(
        server.requests("UpdateSSHKey"),
        [expected, json!({"id": "x"})]
    );
    run(&server, &["ssh-keys", "x"]).expect(2);
    let kinds = ["ssh-keys", "x", "-f", "testdata/ssh/authorized_keys"];
    let done = run(&server, &kinds).expect(0);
    assert_eq!(done.stdout, "x has 15 SSH keys\n");
}

#[test]
fn what_is_no_public_key_never_leaves() {
    let server = Server::start(vec![]);
    let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n";
    let mixed = format!("{KEY} me\n{private}not a key\n");
    let mut all = String::new();
    for text in [private, "not a key", "", "# only a comment\n\n", &mixed] {
        let done = run_with(&server, &["ssh-keys", "x", "-f", "-"], text).expect(2);
        assert!(!done.stderr.contains("b3Blb"), "{}", done.stderr);
        all.push_str(&done.stderr);
    }
    check("ssh_keys_refused", &all);
    assert!(server.call_names().is_empty());
}

#[test]
fn snapshots_and_backups() {
    let (request, text) = call(&["snapshot", "x"], "TakeSnapshot");
    assert_eq!(
        (request, text.as_str()),
        (json!({"id": "x"}), "snapshot@bucket\n")
    );
    let (request, _) = call(&["snapshot", "x", "--no-wait"], "TakeSnapshot");
    assert_eq!(request, json!({"id": "x", "returnImmediately": true}));
    let server = Server::start(vec![]);
    let done = run(&server, &["backup", "x"]).expect(1);
    assert_eq!(
        done.stderr,
        "error: the server does not implement this: no content backend (UNIMPLEMENTED)\n"
    );
}
