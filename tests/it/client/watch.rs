//! `watch` prints every change once: at the start, while it runs, and over lost connections.

use tonic::Status;

use super::*;
use WorkspacePhase::*;

/// Replaces the time at the beginning of each line.
fn timeless(text: &str) -> String {
    let line = |line: &str| {
        let (time, rest) = line.split_once("  ").unwrap();
        time.parse::<Timestamp>().unwrap();
        format!("<time>  {rest}\n")
    };
    text.lines().map(line).collect()
}

/// Id, phase and version of a line.
fn essence(line: &str) -> String {
    line.split_whitespace()
        .skip(1)
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn changes_follow_what_was_there() {
    let server = Server::start(vec![
        workspace("a", Running, 10),
        saying("waiting", workspace("b", Pending, 11)),
    ]);
    let mut watch = spawn(&server, &["watch"]);
    assert_eq!(essence(&watch.line()), "a RUNNING v10");
    assert_eq!(essence(&watch.line()), "b PENDING v11");
    let pulling = WorkspaceConditions {
        pulling_images: WorkspaceConditionBool::True.into(),
        ..Default::default()
    };
    let creating = saying("pulling images", workspace("b", Creating, 12));
    server.update(WorkspaceStatus {
        conditions: Some(pulling),
        ..creating
    });
    server.update(saying("pulling images", workspace("b", Initializing, 13)));
    server.update(failed(
        "out of memory",
        saying("pulling images", workspace("b", Stopping, 14)),
    ));
    for _ in 0..3 {
        watch.line();
    }
    check("watch_table", &timeless(&watch.kill().stdout));
}

#[test]
fn an_update_that_the_list_has_already_is_printed_once() {
    let server = Server::start(vec![workspace("a", Creating, 2)]);
    server.state().during_list = vec![
        workspace("a", Pending, 1),
        workspace("a", Creating, 2),
        workspace("a", Running, 3),
    ];
    let done = run(&server, &["watch", "--until", "running"]).expect(0);
    let lines: Vec<_> = done.stdout.lines().map(essence).collect();
    assert_eq!(lines, ["a CREATING v2", "a RUNNING v3"]);
    assert_eq!(server.call_names(), ["Subscribe", "GetWorkspaces"]);
}

#[test]
fn a_server_without_early_headers_is_watched_too() {
    let server = Server::start(vec![workspace("a", Creating, 2)]);
    server.state().late_headers = true;
    let mut watch = spawn(&server, &["watch", "--until", "running"]);
    assert_eq!(essence(&watch.line()), "a CREATING v2");
    server.update(workspace("a", Running, 3));
    assert_eq!(essence(&watch.line()), "a RUNNING v3");
    watch.done().expect(0);
}

#[test]
fn programs_get_one_object_per_line_or_one_document_per_value() {
    let server = Server::start(vec![workspace("a", Creating, 2)]);
    server.state().during_list = vec![workspace("a", Running, 3)];
    check(
        "watch_json",
        &run(&server, &["watch", "-o", "json", "--until", "running"])
            .expect(0)
            .stdout,
    );
    server.state().workspaces = vec![workspace("a", Creating, 2)];
    server.state().during_list = vec![workspace("a", Running, 3)];
    check(
        "watch_yaml",
        &run(&server, &["watch", "-o", "yaml", "--until", "running"])
            .expect(0)
            .stdout,
    );
}

#[test]
fn one_workspace_is_watched_by_its_id() {
    let server = Server::start(vec![
        workspace("a", Creating, 2),
        workspace("b", Running, 3),
    ]);
    let mut watch = spawn(
        &server,
        &[
            "watch",
            "a",
            "--owner",
            "alice",
            "--no-initial",
            "--until",
            "running",
        ],
    );
    server.wait_for("GetWorkspaces", 1);
    server.update(workspace("b", Stopping, 4));
    server.update(workspace("a", Running, 5));
    assert_eq!(essence(&watch.line()), "a RUNNING v5");
    assert_eq!(watch.done().expect(0).stdout.lines().count(), 1);
    let filter = serde_json::json!({"mustMatch": {"owner": "alice"}});
    assert_eq!(server.requests("Subscribe"), std::slice::from_ref(&filter));
    assert_eq!(server.requests("GetWorkspaces"), [filter]);
}

#[test]
fn a_phase_that_cannot_come_any_more_ends_the_watch() {
    let server = Server::start(vec![workspace("a", Creating, 2)]);
    server.state().during_list = vec![workspace("a", Stopped, 3)];
    let done = run(&server, &["watch", "a", "--until", "running"]).expect(1);
    assert_eq!(done.stderr, "error: a stopped before it was RUNNING\n");
    run(&server, &["watch", "--until", "sleeping"]).expect(2);
}

#[test]
fn a_cut_loses_and_repeats_nothing() {
    let server = Server::start(vec![
        workspace("a", Running, 10),
        workspace("b", Creating, 11),
        workspace("c", Running, 12),
    ]);
    let mut watch = spawn(&server, &["watch"]);
    for _ in 0..3 {
        watch.line();
    }
    server.change(workspace("b", Running, 21));
    server.state().workspaces.retain(|status| status.id != "c");
    server.cut(Some(Status::unavailable("draining")));
    assert_eq!(essence(&watch.line()), "b RUNNING v21");
    server.update(workspace("a", Stopping, 31));
    assert_eq!(essence(&watch.line()), "a STOPPING v31");
    let done = watch.kill();
    assert_eq!(done.stdout.lines().count(), 5, "{}", done.stdout);
    assert!(done.stderr.contains("stream lost"), "{}", done.stderr);
    assert!(
        done.stderr.contains("c went while the stream was cut"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_restarted_server_is_found_again() {
    let mut server = Server::start(vec![workspace("a", Creating, 10)]);
    let mut watch = spawn(&server, &["watch", "--until", "running"]);
    watch.line();
    server.stop();
    server.change(workspace("a", Initializing, 11));
    server.restart();
    assert_eq!(essence(&watch.line()), "a INITIALIZING v11");
    server.update(workspace("a", Running, 12));
    assert_eq!(watch.done().expect(0).stdout.lines().count(), 3);
}

#[test]
fn what_went_during_a_cut_has_stopped() {
    let server = Server::start(vec![workspace("a", Running, 10)]);
    let mut watch = spawn(&server, &["watch", "a", "--until", "stopped"]);
    watch.line();
    server.state().workspaces.clear();
    server.cut(None);
    watch.done().expect(0);
}

#[test]
fn without_reconnect_a_cut_ends_the_watch() {
    for error in [
        None,
        Some(Status::unavailable("draining")),
        Some(Status::unknown("subscription was canceled")),
    ] {
        let server = Server::start(vec![workspace("a", Running, 10)]);
        let mut watch = spawn(&server, &["watch", "--no-reconnect"]);
        watch.line();
        server.cut(error);
        let stderr = watch.done().expect(6).stderr;
        assert!(stderr.starts_with("error: stream "), "{stderr}");
    }
}

#[test]
fn what_no_reconnect_can_mend_ends_the_watch() {
    let server = Server::start(vec![workspace("a", Running, 10)]);
    let mut watch = spawn(&server, &["watch"]);
    watch.line();
    server
        .state()
        .errors
        .insert("Subscribe", Status::permission_denied("token expired"));
    server.cut(None);
    let stderr = watch.done().expect(1).stderr;
    assert!(
        stderr.contains("error: token expired (PERMISSION_DENIED)"),
        "{stderr}"
    );
}

#[test]
fn an_unknown_workspace_is_awaited_and_reported() {
    let server = Server::start(vec![workspace("a", Running, 1)]);
    let done = run(&server, &["watch", "b", "--strict"]).expect(3);
    assert_eq!(done.stderr, "error: no such workspace: b\n");
    let mut watch = spawn(&server, &["watch", "b", "--until", "running"]);
    server.wait_for("GetWorkspaces", 2);
    server.update(workspace("b", Running, 2));
    assert_eq!(essence(&watch.line()), "b RUNNING v2");
    let stderr = watch.done().expect(0).stderr;
    assert_eq!(
        stderr,
        "there is no workspace b yet; waiting for it (--strict does not)\n"
    );
    run(&server, &["watch", "a", "--strict", "--until", "running"]).expect(0);
}

#[test]
fn what_callers_change_is_a_line_in_words() {
    let server = Server::start(vec![workspace("a", Running, 1)]);
    let mut watch = spawn(&server, &["watch", "a"]);
    watch.line();
    let mut status = workspace("a", Running, 2);
    status.spec.get_or_insert_default().timeout = "1h".to_owned();
    server.update(status.clone());
    assert!(watch.line().ends_with("v2          timeout 1h"));
    status.status_version = 3;
    status.auth.get_or_insert_default().admission = AdmissionLevel::AdmitEveryone.into();
    let port = PortSpec {
        port: 8080,
        ..Default::default()
    };
    status.spec.get_or_insert_default().exposed_ports = vec![port];
    server.update(status.clone());
    let line = watch.line();
    assert!(
        line.ends_with("port 8080 exposed: private, http; admits everyone"),
        "{line}"
    );
    status.status_version = 4;
    server.update(status);
    let line = watch.line();
    assert!(
        line.contains("SSH keys changed, or something else"),
        "{line}"
    );
    watch.kill();
}
