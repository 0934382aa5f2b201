//! `start`, from a file or from flags alone, and how it waits.

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
    for error in [
        Status::unavailable("draining"),
        Status::not_found("not yet"),
    ] {
        let server = server();
        server.state().errors.insert("DescribeWorkspace", error);
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
    server.state().errors.insert(
        "StartWorkspace",
        Status::already_exists("workspace instance already exists"),
    );
    let done = run(&server, &["start", "-f", FILE, "--id", "x", "--wait"]).expect(4);
    assert_eq!(
        done.stderr,
        "error: x: workspace instance already exists (ALREADY_EXISTS)\n\
         hint: --id or --name chooses another\n"
    );
}

#[test]
fn an_image_is_enough() {
    let server = server();
    run(&server, &["start", "--image", "nginx:1.27"]).expect(0);
    let request = server.requests("StartWorkspace").remove(0);
    let id = request["id"].as_str().unwrap().to_owned();
    assert_eq!(
        request,
        serde_json::json!({
            "id": id,
            "servicePrefix": id,
            "metadata": {"owner": "jane", "metaId": id},
            "spec": {
                "workspaceImage": "nginx:1.27",
                "workspaceLocation": "/workspace",
                "initializer": {"empty": {}},
            },
        })
    );
}

#[test]
fn everything_that_people_ask_for_has_a_flag() {
    let server = server();
    let flags = [
        "start",
        "--image",
        "nginx:1.27",
        "--name",
        "tour",
        "--owner",
        "alice",
        "--class",
        "large",
        "--env",
        "A=b",
        "-e",
        "C=d=e",
        "--port",
        "8080:public",
        "-p",
        "9000",
        "--annotation",
        "k=v",
        "--workspace-timeout",
        "30m",
        "--closed-timeout",
        "5m",
        "--max-lifetime",
        "8h",
        "--admission",
        "everyone",
        "--ssh-keys",
        "testdata/ssh/authorized_keys",
    ];
    run(&server, &flags).expect(0);
    let mut request = server.requests("StartWorkspace").remove(0);
    let keys = request["spec"]["sshPublicKeys"].take();
    assert_eq!(keys.as_array().unwrap().len(), 15);
    check("start_flags", &format!("{request:#}\n"));
    // Beside what a file holds; the same name or port is replaced.
    let more = [
        "start",
        "-f",
        FILE,
        "-e",
        "GREETING=hi",
        "-e",
        "B=c",
        "-p",
        "8080",
        "-p",
        "1",
    ];
    run(&server, &more).expect(0);
    let spec = server.requests("StartWorkspace").remove(1)["spec"].take();
    assert_eq!(
        spec["envvars"],
        serde_json::json!([{"name": "GREETING", "value": "hi"}, {"name": "B", "value": "c"}])
    );
    assert_eq!(
        spec["ports"],
        serde_json::json!([{"port": 8080}, {"port": 1}])
    );
    for wrong in [
        &["--port", "0"][..],
        &["--port", "8080:all"],
        &["--env", "A"],
        &["--name", "a", "--id", "b"],
    ] {
        run(&server, &[&["start", "--image", "i"], wrong].concat()).expect(2);
    }
}

#[test]
fn a_prefix_in_use_has_a_hint() {
    use tonic_types::{ErrorDetails, StatusExt};
    let server = server();
    let state = [("state".to_owned(), "NAME_IN_USE".to_owned())];
    let details = ErrorDetails::with_error_info("WRONG_STATE", "wsman.dev", state);
    let why = "the service_prefix \"example\" is taken by workspace tour";
    let status = Status::with_error_details(tonic::Code::FailedPrecondition, why, details);
    server.state().errors.insert("StartWorkspace", status);
    let done = run(&server, &["start", "-f", FILE, "--id", "x"]).expect(4);
    assert_eq!(
        done.stderr,
        "error: x: the service_prefix \"example\" is taken by workspace tour (FAILED_PRECONDITION, WRONG_STATE)\n\
         hint: --prefix NAME chooses another, or stop that workspace\n"
    );
}
