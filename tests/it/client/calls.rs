//! The verbs that are one call: the request they send, and what they say about it.

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
fn ssh_keys() {
    let server = Server::start(vec![]);
    let keys = "# laptop\nssh-ed25519 AAAA me@laptop\n\n  ssh-rsa BBBB me@desk \n";
    let done = run_with(&server, &["ssh-keys", "x", "-f", "-"], keys).expect(0);
    assert_eq!(done.stdout, "x has 2 SSH keys\n");
    let done = run(&server, &["ssh-keys", "x", "--none"]).expect(0);
    assert_eq!(done.stdout, "x has no SSH keys\n");
    let expected =
        json!({"id": "x", "keys": ["ssh-ed25519 AAAA me@laptop", "ssh-rsa BBBB me@desk"]});
    assert_eq!(
        server.requests("UpdateSSHKey"),
        [expected, json!({"id": "x"})]
    );
    run(&server, &["ssh-keys", "x"]).expect(2);
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
