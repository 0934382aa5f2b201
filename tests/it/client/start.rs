//! `start` and `stop`, and how they wait.

use tonic::Status;

use super::*;
use WorkspacePhase::*;

const FILE: &str = "testdata/example-wsspec.json";

/// Replaces the elapsed time in front of each progress line.
fn timeless(text: &str) -> String {
    let line = |line: &str| match line.split_once("s  ") {
        Some((elapsed, rest)) if elapsed.trim().parse::<f64>().is_ok() => {
            format!("  0.0s  {rest}\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn server() -> Server {
    let server = Server::start(vec![]);
    server.state().start_as = Some(saying("waiting for a node", workspace("", Pending, 10)));
    server
}

#[test]
fn the_example_starts_under_a_random_id() {
    let server = server();
    let first = run(&server, &["start", "-f", FILE]).expect(0).stdout;
    run(&server, &["start", "-f", FILE]).expect(0);
    let requests = server.requests("StartWorkspace");
    let ids: Vec<_> = requests
        .iter()
        .map(|request| request["id"].as_str().unwrap())
        .collect();
    assert_ne!(ids[0], ids[1]);
    assert!(
        ids[0].len() == 36 && ids[0].as_bytes()[14] == b'4',
        "{}",
        ids[0]
    );
    check("start_table", &first.replace(ids[0], "<id>"));
    assert_eq!(requests[0]["spec"]["workspaceImage"], "nginx:1.27");
}

#[test]
fn programs_get_the_answer_as_one_object() {
    let server = server();
    check(
        "start_json",
        &run(&server, &["start", "-f", FILE, "--id", "x", "-o", "json"])
            .expect(0)
            .stdout,
    );
    let shown = run(
        &server,
        &[
            "start",
            "-f",
            FILE,
            "--id",
            "x",
            "-o",
            "yaml",
            "--show-token",
        ],
    )
    .expect(0)
    .stdout;
    check("start_yaml", &shown);
}

#[test]
fn flags_win_over_the_file() {
    let server = server();
    let flags = [
        "--id",
        "x",
        "--owner",
        "o",
        "--meta-id",
        "m",
        "--image",
        "i",
        "--class",
        "c",
        "--prefix",
        "p",
    ];
    run(&server, &[&["start", "-f", FILE][..], &flags].concat()).expect(0);
    run_with(
        &server,
        &[&["start", "-f", "-"][..], &flags].concat(),
        "spec: {workspace_location: w}",
    )
    .expect(0);
    let requests = server.requests("StartWorkspace");
    for request in &requests {
        let given = [
            &request["id"],
            &request["metadata"]["owner"],
            &request["metadata"]["metaId"],
        ];
        assert_eq!(given, ["x", "o", "m"]);
        let given = [
            &request["spec"]["workspaceImage"],
            &request["spec"]["class"],
            &request["servicePrefix"],
        ];
        assert_eq!(given, ["i", "c", "p"]);
    }
    assert_eq!(requests[0]["metadata"]["annotations"]["purpose"], "tour");
    assert_eq!(requests[1]["spec"]["workspaceLocation"], "w");
}

#[test]
fn another_class_than_was_asked_for_is_warned_about() {
    let server = server();
    server.state().class = Some("default");
    let start = |class: &[&str]| {
        let args = [&["start", "-f", FILE, "--id", "x"][..], class].concat();
        run(&server, &args).expect(0).stderr
    };
    let warned = start(&["--class", "huge"]);
    assert_eq!(
        warned,
        "warning: the cluster has no class \"huge\"; x got class \"default\"\n"
    );
    assert_eq!(start(&["--class", "default"]), "");
    assert_eq!(start(&["--class", ""]), "");
}

#[test]
fn waiting_ends_at_running() {
    let server = server();
    let start = spawn(&server, &["start", "-f", FILE, "--id", "x", "--wait"]);
    server.wait_for("DescribeWorkspace", 1);
    server.update(saying("pulling", workspace("x", Creating, 11)));
    server.update(saying("still pulling", workspace("x", Creating, 12)));
    server.update(workspace("other", Running, 13));
    server.update(workspace("x", Running, 14));
    check("start_wait", &timeless(&start.done().expect(0).stdout));
    assert_eq!(
        server.call_names(),
        [
            "Subscribe",
            "GetWorkspaces",
            "StartWorkspace",
            "DescribeWorkspace"
        ]
    );
    let filter = serde_json::json!({"mustMatch": {"owner": "alice", "metaId": "example"}});
    assert_eq!(server.requests("Subscribe"), [filter]);
}

#[test]
fn waiting_for_programs_reports_progress_beside_the_result() {
    let server = server();
    let start = spawn(
        &server,
        &["start", "-f", FILE, "--id", "x", "--wait", "-o", "json"],
    );
    server.wait_for("DescribeWorkspace", 1);
    server.update(workspace("x", Running, 14));
    let done = start.done().expect(0);
    serde_json::from_str::<serde_json::Value>(&done.stdout).unwrap();
    assert_eq!(
        timeless(&done.stderr),
        "  0.0s  PENDING       waiting for a node\n  0.0s  RUNNING\n"
    );
}

#[test]
fn a_workspace_that_runs_already_is_not_waited_for() {
    let server = Server::start(vec![workspace("x", Running, 10)]);
    run(&server, &["start", "-f", FILE, "--id", "x", "--wait"]).expect(0);
}

#[test]
fn waiting_ends_when_the_workspace_fails_or_stops() {
    let cases = [
        (
            failed("image not found", workspace("x", Creating, 11)),
            "error: x failed: image not found\n",
        ),
        (
            saying("evicted", workspace("x", Stopping, 11)),
            "error: x stopped before it was running: evicted\n",
        ),
        (
            workspace("x", Stopped, 11),
            "error: x stopped before it was running\n",
        ),
    ];
    for (status, expected) in cases {
        let server = server();
        let start = spawn(&server, &["start", "-f", FILE, "--id", "x", "--wait"]);
        server.wait_for("DescribeWorkspace", 1);
        server.update(status);
        assert_eq!(start.done().expect(1).stderr, expected);
    }
}

#[test]
fn waiting_survives_a_cut() {
    let mut server = server();
    let mut start = spawn(&server, &["start", "-f", FILE, "--id", "x", "--wait"]);
    while !start.line().contains("PENDING") {}
    server.stop();
    server.change(workspace("x", Running, 12));
    server.restart();
    let done = start.done().expect(0);
    assert!(
        done.stdout.lines().last().unwrap().contains("RUNNING"),
        "{}",
        done.stdout
    );
    assert!(
        done.stderr.contains("stream") && done.stderr.contains("reconnect"),
        "{}",
        done.stderr
    );
}

#[test]
fn waiting_notices_what_went_during_a_cut() {
    let server = server();
    let mut start = spawn(&server, &["start", "-f", FILE, "--id", "x", "--wait"]);
    while !start.line().contains("PENDING") {}
    server.state().workspaces.clear();
    server.cut(None);
    let stderr = start.done().expect(1).stderr;
    assert!(
        stderr.ends_with("error: x is gone before it was running\n"),
        "{stderr}"
    );
}

#[test]
fn waiting_survives_a_describe_that_fails() {
    for refusal in [
        Status::unavailable("draining"),
        Status::not_found("not yet"),
    ] {
        let server = server();
        server.state().refusals.insert("DescribeWorkspace", refusal);
        let start = spawn(&server, &["start", "-f", FILE, "--id", "x", "--wait"]);
        server.wait_for("DescribeWorkspace", 1);
        server.update(workspace("x", Running, 12));
        start.done().expect(0);
    }
}

#[test]
fn interrupting_leaves_the_workspace() {
    let server = server();
    let mut start = spawn(&server, &["start", "-f", FILE, "--id", "x", "--wait"]);
    while !start.line().contains("PENDING") {}
    server.update(workspace("x", Creating, 11));
    start.line();
    start.interrupt();
    let stderr = start.done().expect(1).stderr;
    assert!(
        stderr.starts_with("error: interrupted\nhint: the workspace is left as it is"),
        "{stderr}"
    );
    assert!(!server.call_names().contains(&"StopWorkspace"));
}

#[test]
fn waiting_has_an_end() {
    let server = server();
    let done = run(
        &server,
        &[
            "start",
            "-f",
            FILE,
            "--id",
            "x",
            "--wait",
            "--wait-timeout",
            "100ms",
        ],
    )
    .expect(1);
    assert!(
        done.stderr
            .starts_with("error: gave up waiting after 100ms\n"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_refused_start_is_not_waited_for() {
    let server = server();
    server.state().refusals.insert(
        "StartWorkspace",
        Status::already_exists("workspace instance already exists"),
    );
    let done = run(&server, &["start", "-f", FILE, "--id", "x", "--wait"]).expect(4);
    assert_eq!(
        done.stderr,
        "error: x: workspace instance already exists (ALREADY_EXISTS)\n"
    );
}

#[test]
fn stop_passes_its_policy_on() {
    let server = Server::start(vec![]);
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
    for _ in 0..4 {
        assert!(stop.line().starts_with("Stopping "));
    }
    assert!(stop.line().starts_with("Stopped c after "));
    assert_eq!(stop.line(), "There is no absent");
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
    let server = Server::start(vec![]);
    server.state().refusals.insert(
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
