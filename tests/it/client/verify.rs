//! `wsman verify` finds the violations of a server, and nothing on a correct one.

use serde_json::Value;

use super::*;
use WorkspacePhase::*;

/// Runs `wsman verify` with further arguments until it ends.
pub(super) fn verify(args: &[&str]) -> Done {
    let output = Command::new(env!("CARGO_BIN_EXE_wsman"))
        .args(["verify", "-o", "json"])
        .args(args)
        .env_remove("WSMAN_HOST")
        .env_remove("WSMAN_AMQP_URL")
        .output()
        .unwrap();
    Done {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The kinds of the violations and the summary, from what was printed.
pub(super) fn found(done: &Done) -> (Vec<String>, Value) {
    let mut lines: Vec<Value> = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let summary = lines.pop().unwrap()["summary"].take();
    let kind = |line: &Value| line["kind"].as_str().unwrap().to_owned();
    (lines.iter().map(kind).collect(), summary)
}

/// Follows a server that sends something once both streams are open, and checks the record as well.
fn follow(act: impl FnOnce(&Server) + Send) -> (Done, Vec<String>, Value) {
    let server = Server::start(vec![
        workspace("a", Running, 10),
        workspace("b", Running, 11),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let record = record.to_str().unwrap();
    let address = server.address.to_string();
    let done = std::thread::scope(|scope| {
        let run = scope.spawn(|| verify(&["-H", &address, "--for", "3s", "--record", record]));
        server.wait_for("Subscribe", 2);
        // Each stream lists once it is open; the first list is that of the start.
        server.wait_for("GetWorkspaces", 4);
        act(&server);
        run.join().unwrap()
    });
    let (kinds, summary) = found(&done);
    let again = verify(&["--check", record]);
    assert_eq!(again.code, done.code, "the record has the same");
    assert_eq!(again.stdout, done.stdout, "the record has the same");
    (done, kinds, summary)
}

#[test]
fn a_server_that_keeps_the_guarantees_passes() {
    let (done, kinds, summary) = follow(|server| {
        server.update(workspace("a", Stopping, 12));
        server.update(workspace("c", Pending, 13));
        server.update(workspace("c", Running, 14));
        server.cut(None);
        server.wait_for("Subscribe", 4);
    });
    done.expect(0);
    assert_eq!(kinds, Vec::<String>::new());
    assert_eq!(summary["workspaces"], 3);
    assert_eq!(summary["reconnects"], 2);
    assert!(summary["updates"].as_u64().unwrap() >= 3, "{summary}");
}

#[test]
fn what_a_server_gets_wrong_is_found_with_its_evidence() {
    let (done, kinds, summary) = follow(|server| {
        server.update(workspace("a", Stopped, 20));
        server.update(workspace("a", Running, 15));
        server.update(workspace("b", Stopping, 21));
        server.update(workspace("b", Stopping, 22));
    });
    for kind in ["REORDERED", "REPEATED"] {
        assert!(kinds.iter().any(|found| found == kind), "{kinds:?}");
    }
    assert_eq!(summary["violations"], kinds.len());
    let first: Value = serde_json::from_str(done.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(first["workspace"], "a");
    assert_eq!(first["evidence"].as_array().unwrap().len(), 2);
    done.expect(1);
}

#[test]
fn a_missing_update_is_found() {
    let (done, kinds, _) = follow(|server| server.change(workspace("a", Stopping, 30)));
    done.expect(1);
    assert!(kinds.iter().all(|kind| kind == "LOST"), "{kinds:?}");
    assert_eq!(kinds.len(), 2, "by both streams");
}

#[test]
fn errors_of_the_server_and_the_record_are_printed() {
    let unreachable = verify(&["-H", "127.0.0.1:1", "--for", "1s"]).expect(6);
    assert!(
        unreachable.stderr.contains("127.0.0.1:1"),
        "{}",
        unreachable.stderr
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    std::fs::write(&path, "{}\n").unwrap();
    let broken = verify(&["--check", path.to_str().unwrap()]).expect(2);
    assert!(broken.stderr.contains("line 1"), "{}", broken.stderr);
}

#[test]
fn nothing_seen_is_nothing_verified() {
    let server = Server::start(vec![]);
    let address = server.address.to_string();
    let done = verify(&["-H", &address, "--for", "1s"]).expect(1);
    assert!(
        done.stderr
            .contains("nothing is verified: no workspace was seen"),
        "{}",
        done.stderr
    );
    let record = tempfile::NamedTempFile::new().unwrap();
    let done = verify(&["--check", record.path().to_str().unwrap()]).expect(1);
    assert!(
        done.stderr.contains("nothing is verified"),
        "{}",
        done.stderr
    );
}
