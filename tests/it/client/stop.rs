//! `stop`: of one, of several, of an owner's and of all workspaces, and how it waits.

use tonic::Status;

use super::*;
use WorkspacePhase::*;

fn both() -> Server {
    Server::start(vec![workspace("a", Running, 1), workspace("b", Running, 2)])
}

#[test]
fn stop_passes_its_policy_on() {
    let server = both();
    check(
        "stop_table",
        &run(&server, &["stop", "a", "b"]).expect(0).stdout,
    );
    run(&server, &["stop", "a", "--now"]).expect(0);
    check(
        "stop_json",
        &run(&server, &["stop", "a", "b", "--abort", "-o", "json"])
            .expect(0)
            .stdout,
    );
    let policies: Vec<_> = server
        .requests("StopWorkspace")
        .iter()
        .map(|request| request["policy"].clone())
        .collect();
    assert_eq!(
        serde_json::json!(policies),
        serde_json::json!([null, null, "IMMEDIATELY", "ABORT", "ABORT"])
    );
    run(&server, &["stop", "a", "--now", "--abort"]).expect(2);
    run(&server, &["stop"]).expect(2);
}

#[test]
fn stop_waits_for_each_workspace() {
    let server = Server::start(vec![
        workspace("a", Running, 1),
        workspace("b", Running, 2),
        workspace("c", Stopped, 3),
    ]);
    let mut stop = spawn(&server, &["stop", "--wait", "a", "b", "c", "absent"]);
    for _ in 0..3 {
        assert!(stop.line().starts_with("Stopping "));
    }
    assert_eq!(stop.line(), "There is no absent");
    assert!(stop.line().starts_with("Stopped c after "));
    server.update(workspace("a", Stopping, 11));
    server.update(workspace("a", Stopped, 12));
    assert!(stop.line().starts_with("Stopped a after "));
    server.state().workspaces.clear();
    server.cut(None);
    assert!(stop.line().starts_with("Stopped b after "));
    stop.done().expect(0);
}

#[test]
fn stop_tries_every_workspace() {
    let server = both();
    server.state().errors.insert(
        "StopWorkspace",
        Status::failed_precondition("under maintenance"),
    );
    let done = run(&server, &["stop", "a", "b"]).expect(4);
    assert_eq!(server.requests("StopWorkspace").len(), 2);
    assert!(
        done.stderr.contains("error: a: under maintenance")
            && done.stderr.contains("error: b: under maintenance")
    );
}

#[test]
fn stop_prints_ids_that_do_not_exist() {
    let server = both();
    let done = run(&server, &["stop", "a", "tpyo"]).expect(0);
    assert_eq!(done.stdout, "Stopping a\nThere is no tpyo\n");
    let done = run(&server, &["stop", "a", "tpyo", "--strict", "-o", "json"]).expect(3);
    assert_eq!(done.stdout.lines().count(), 1, "{}", done.stdout);
    assert_eq!(
        done.stderr,
        "There is no tpyo\n{\"error\":{\"exit_code\":3,\"message\":\"no such workspace: tpyo\"}}\n"
    );
    run(&server, &["stop", "a", "b", "--strict"]).expect(0);
}

#[test]
fn stopping_many_has_to_be_confirmed() {
    let server = both();
    server
        .state()
        .workspaces
        .push(workspace("gone", Stopped, 3));
    for which in [&["--all"][..], &["--owner", "alice"]] {
        let args = [&["stop"], which].concat();
        let done = run(&server, &args).expect(2);
        let whose = if which.len() == 1 { "" } else { " of alice" };
        assert_eq!(
            done.stderr,
            format!(
                "error: this stops 2 workspaces{whose} on {}: a, b\nhint: pass --yes to do it\n",
                server.address
            )
        );
        assert_eq!(server.requests("StopWorkspace").len(), 0);
    }
    let done = run(&server, &["stop", "--owner", "alice", "--yes"]).expect(0);
    assert_eq!(done.stdout, "Stopping a\nStopping b\n");
    let filter = serde_json::json!({"mustMatch": {"owner": "alice"}});
    assert_eq!(server.requests("GetWorkspaces").last(), Some(&filter));
    server.state().workspaces.clear();
    let done = run(&server, &["stop", "--all", "--yes"]).expect(0);
    assert_eq!(done.stdout, "There is no workspace to stop\n");
    run(&server, &["stop", "--all", "--strict"]).expect(3);
    run(&server, &["stop", "--all", "a"]).expect(2);
    run(&server, &["stop", "--all", "--owner", "x"]).expect(2);
}
