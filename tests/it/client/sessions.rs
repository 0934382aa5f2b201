//! `wsman client session` against a scripted server.

mod batch;
mod convert;
mod server;

use serde_json::json;
use server::Server;
use tonic::Status;
use wsman::proto::wsman::sessions::v1::*;

use super::{Done, Running, check};

/// Starts `wsman client session` against the server.
fn spawn(server: &Server, args: &[&str], stdin: &str) -> Running {
    let args = [&["session"][..], args].concat();
    Running::start(&server.address.to_string(), &args, stdin)
}

/// Runs it to its end.
#[track_caller]
fn run(server: &Server, args: &[&str]) -> Done {
    spawn(server, args, "").done()
}

fn at(seconds: i64) -> Option<pbjson_types::Timestamp> {
    let seconds = 1_700_000_000 + seconds;
    Some(pbjson_types::Timestamp { seconds, nanos: 0 })
}

fn spec() -> SessionSpec {
    let component = |name: &str, role: &str| Component {
        name: name.to_owned(),
        role: role.to_owned(),
        image: format!("example/{role}"),
        ..Default::default()
    };
    SessionSpec {
        components: vec![
            component("driver", "driver"),
            component("server-1", "server"),
        ],
        decider: "driver".to_owned(),
        queue: "ci".to_owned(),
        priority: 5,
        deadline: Some(pbjson_types::Duration {
            seconds: 900,
            nanos: 0,
        }),
        labels: [("team".to_owned(), "red".to_owned())].into(),
        ..Default::default()
    }
}

/// A session in a phase; a later phase has a higher version.
fn session(id: &str, phase: Phase) -> Session {
    use Health::*;
    let number = i32::from(phase);
    let health = match phase {
        Phase::Queued => [Waiting; 2],
        Phase::Provisioning => [NotReady, Ready],
        Phase::Running => [Ready; 2],
        Phase::Succeeded => [Completed; 2],
        Phase::Failed => [Broken, Ending],
        _ => [Ending; 2],
    };
    let done = number >= Phase::Succeeded.into();
    let ended = Some(i32::from(phase == Phase::Failed)).filter(|_| done);
    let components = spec().components.into_iter().zip(health);
    let components = components.map(|(component, health)| ComponentStatus {
        pod: format!("{id}-{}", component.name),
        pool: format!("{}s", component.role),
        node: match phase {
            Phase::Queued => String::new(),
            _ => format!("node-{}", component.role),
        },
        health: health.into(),
        exit_code: ended.filter(|_| component.name == "driver"),
        started: at(10).filter(|_| number > Phase::Queued.into()),
        finished: at(30).filter(|_| done),
        name: component.name,
        role: component.role,
        ..Default::default()
    });
    let (reason, message) = match phase {
        Phase::Failed => ("ComponentFailed", "driver exited with 1"),
        Phase::Cancelled => ("StoppedByRequest", "no longer needed"),
        _ => ("", ""),
    };
    let times = Times {
        enqueued: at(0),
        admitted: at(5).filter(|_| number > Phase::Queued.into()),
        running: at(12).filter(|_| number > Phase::Provisioning.into()),
        finished: at(30).filter(|_| done),
        expires: at(3630).filter(|_| done),
    };
    Session {
        id: id.to_owned(),
        spec: Some(spec()),
        status: Some(SessionStatus {
            phase: number,
            reason: reason.to_owned(),
            message: message.to_owned(),
            components: components.collect(),
            times: Some(times),
            done,
            version: 10 + u64::try_from(number).unwrap(),
            exit_code: ended,
            ..Default::default()
        }),
    }
}

fn queued(id: &str) -> Session {
    let mut queued = session(id, Phase::Queued);
    queued.status.as_mut().unwrap().queue = Some(QueueStatus {
        queue: "ci".to_owned(),
        position: 3,
        sessions_ahead: 2,
        machines_ahead: 5,
        blocking_pool: "workers".to_owned(),
        blocking_session: "big-1".to_owned(),
        estimate: Some(pbjson_types::Duration {
            seconds: 230,
            nanos: 0,
        }),
        samples: 12,
        ..Default::default()
    });
    queued
}

fn failed(id: &str) -> Session {
    let mut failed = session(id, Phase::Failed);
    let status = failed.status.as_mut().unwrap();
    status.result = "panic: no route\n".to_owned();
    status.components[0].reason = "Error".to_owned();
    status.components[0].message = "exit code 1".to_owned();
    failed
}

/// Ages differ in each run.
fn timeless(text: &str) -> String {
    let line = |line: &str| match line.split_once("Z (") {
        Some((begin, rest)) if rest.ends_with(" ago)") => format!("{begin}Z (<age> ago)\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// A line of a log.
fn line(component: &str, seconds: i64, text: &str) -> LogsResponse {
    LogsResponse {
        position: Some(LogPosition {
            component: component.to_owned(),
            time: at(seconds),
            ordinal: 0,
        }),
        text: text.to_owned(),
        ..Default::default()
    }
}

/// The begin of a line that goes on.
fn part(component: &str, seconds: i64, text: &str) -> LogsResponse {
    LogsResponse {
        truncated: true,
        ..line(component, seconds, text)
    }
}

const FILE: &str = r#"{"id": "bench", "spec": {"components": [{"name": "driver", "role": "driver", "image": "d"}]}}"#;

#[test]
fn sessions_are_described_with_what_stands_ahead_and_what_became_of_each_component() {
    let server = Server::start(vec![queued("small"), failed("broken")]);
    let mut text = String::new();
    for id in ["small", "broken"] {
        text.push_str(&run(&server, &["describe", id]).expect(0).stdout);
    }
    check("session_describe", &timeless(&text));
    let done = run(&server, &["describe", "broken", "-o", "json"]).expect(0);
    let value: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(value["status"]["components"][0]["health"], "BROKEN");
    let done = run(&server, &["describe", "other"]).expect(3);
    assert_eq!(
        done.stderr,
        "error: session other does not exist (NOT_FOUND)\n"
    );
}

#[test]
fn sessions_and_pools_are_listed() {
    let server = Server::start(vec![
        queued("small"),
        session("running", Phase::Running),
        failed("broken"),
    ]);
    server.state().pools = vec![Pool {
        name: "workers".to_owned(),
        capacity: 10,
        in_use: 7,
        free: 3,
        queued: 5,
        elastic: 0,
        default_for: vec!["server".to_owned(), "client".to_owned()],
        fixed: false,
    }];
    let filter = ["--queue", "ci", "--phase", "queued", "-l", "team=red"];
    let list = run(&server, &[&["list", "-o", "wide"][..], &filter].concat()).expect(0);
    let ages = |text: &str| {
        let now = jiff::Timestamp::now().as_second();
        let days = (now - 1_700_000_000) / 86_400;
        let age = format!("{}y", days / 365);
        let shown = text.split_whitespace().find(|word| word.starts_with(&age));
        let shown = shown.expect("an age").to_owned();
        text.replace(&shown, &format!("{:1$}", "<age>", shown.len()))
    };
    check("session_list", &ages(&list.stdout));
    let asked = json!({"filter": {"queue": "ci", "phases": ["QUEUED"], "labels": {"team": "red"}}});
    assert_eq!(server.wait_for("ListSessions", 1), [asked]);
    let names = run(&server, &["list", "-o", "name"]).expect(0).stdout;
    assert_eq!(names, "small\nrunning\nbroken\n");
    check("session_pools", &run(&server, &["pools"]).expect(0).stdout);
    run(&server, &["list", "--phase", "STOPPED"]).expect(2);
}

#[test]
fn a_start_waits_for_the_end_and_its_exit_code_is_that_of_the_session() {
    for (phase, code, end) in [
        (Phase::Succeeded, 0, ""),
        (
            Phase::Failed,
            1,
            "error: bench failed: ComponentFailed: driver exited with 1\n",
        ),
        (
            Phase::Cancelled,
            7,
            "error: bench was cancelled: StoppedByRequest: no longer needed\n",
        ),
    ] {
        let server = Server::start(Vec::new());
        let start = spawn(&server, &["start", "--wait", "-f", "-"], FILE);
        server.wait_for("GetSession", 1);
        server.update(session("bench", Phase::Running));
        server.update(session("other", Phase::Succeeded));
        server.update(session("bench", phase));
        let done = start.done().expect(code);
        assert_eq!(done.stderr, end);
        let words = done.stdout.lines().map(|line| line.split_whitespace());
        let last: Vec<_> = words.filter_map(|mut words| words.nth(1)).collect();
        assert_eq!(last, ["bench", "QUEUED", "RUNNING", phase.as_str_name()]);
    }
}

#[test]
fn an_equal_start_of_a_session_that_ended_has_its_outcome() {
    let server = Server::start(Vec::new());
    server.state().script = Some(|started| vec![session(&started.id, Phase::Failed)]);
    let done = spawn(&server, &["start", "--wait", "-f", "-"], FILE).done();
    assert!(done.expect(1).stderr.starts_with("error: bench failed"));
}

#[test]
fn a_file_is_json_or_yaml_and_its_faults_have_paths() {
    let server = Server::start(Vec::new());
    let yaml = "id: b\nspec:\n  components: [{name: d, role: driver, image: i, skip_port_check: true}]\n  peers: {roleOrder: [server]}\n  deadline: 90s\n";
    spawn(&server, &["start", "-f", "-"], yaml).done().expect(0);
    let spec = json!({
        "components": [{"name": "d", "role": "driver", "image": "i", "skipPortCheck": true}],
        "peers": {"roleOrder": ["server"]},
        "deadline": "90s",
    });
    let asked = server.wait_for("StartSession", 1);
    assert_eq!(asked, [json!({"id": "b", "spec": spec})]);
    for (text, fault) in [
        (
            "id: b\nspec: {component: []}\n",
            "spec.component: unknown field",
        ),
        (r#"{"id": "a", "id": "b"}"#, "duplicate field `id`"),
        (
            r#"{"spec": {"components": [{"ports": [{"port": "x"}]}]}}"#,
            "spec.components[0].ports[0].port: ",
        ),
        ("", "it is empty"),
        ("id: a\n---\nid: b\n", "more than one request"),
        ("{\"id\": \"a\"}\n{\"idd\": \"b\"}", "document 2: idd: "),
    ] {
        let done = spawn(&server, &["start", "-f", "-"], text).done().expect(2);
        assert!(done.stderr.contains(fault), "{text}: {}", done.stderr);
    }
    let done = spawn(&server, &["start", "-f", "-"], "spec: {}").done();
    assert!(done.expect(0).stdout.starts_with("Started session-"));
}

#[test]
fn the_example_is_a_file_that_can_be_started() {
    let server = Server::start(Vec::new());
    let file = "testdata/sessions/three-pods.json";
    let done = run(&server, &["start", "-f", file]).expect(0);
    assert_eq!(done.stdout, "Started three-pods\n");
    let asked = server.wait_for("StartSession", 1);
    let components = asked[0]["spec"]["components"].as_array().unwrap();
    let roles: Vec<_> = components
        .iter()
        .map(|component| &component["role"])
        .collect();
    assert_eq!(roles, ["driver", "server", "client"]);
}

#[test]
fn a_dry_run_starts_nothing() {
    let server = Server::start(Vec::new());
    for (how, number) in [("client", "CLIENT"), ("server", "SERVER")] {
        let dry = format!("--dry-run={how}");
        let done = spawn(&server, &["start", &dry, "-f", "-"], FILE).done();
        assert!(done.expect(0).stdout.contains("nothing was started"));
        let asked = server.wait_for("StartSession", 1);
        assert_eq!(asked.last().unwrap()["dryRun"], number);
    }
    assert!(server.state().sessions.is_empty());
}

#[test]
fn a_watch_continues_with_its_token_and_ends_with_its_session() {
    let server = Server::start(vec![queued("a")]);
    server.update(session("b", Phase::Running));
    let mut watch = spawn(&server, &["watch", "a"], "");
    assert!(watch.line().contains("QUEUED"));
    server.update(session("a", Phase::Provisioning));
    assert!(watch.line().contains("PROVISIONING"));
    server.cut();
    server.update(session("a", Phase::Running));
    assert!(watch.line().contains("RUNNING"));
    server.update(failed("a"));
    let done = watch.done().expect(0);
    let notes: Vec<_> = done.stderr.lines().collect();
    assert_eq!(
        notes,
        [
            "stream lost: going away (UNAVAILABLE); reconnecting",
            "reconnected"
        ]
    );
    let line = |line: &str| format!("<time>{}\n", &line["2026-01-31T12:00:00Z".len()..]);
    let lines: String = done.stdout.lines().map(line).collect();
    check("session_watch", &lines);
    server.wait_for("Subscribe", 2);
}

#[test]
fn a_watch_whose_token_is_too_old_begins_again() {
    let server = Server::start(vec![
        session("a", Phase::Running),
        session("b", Phase::Running),
    ]);
    server.state().forgetful = true;
    let mut watch = spawn(&server, &["watch", "-o", "name"], "");
    assert_eq!([watch.line(), watch.line()], ["a", "b"]);
    server.state().sessions = vec![session("a", Phase::Running), session("c", Phase::Queued)];
    server.cut();
    assert_eq!(watch.line(), "c");
    server.update(session("a", Phase::Succeeded));
    assert_eq!(watch.line(), "a");
    let done = watch.kill();
    assert!(done.stderr.contains("b went while the stream was cut"));
}

#[test]
fn a_phase_that_a_session_cannot_reach_ends_the_watch() {
    let server = Server::start(vec![session("a", Phase::Succeeded)]);
    let done = run(&server, &["watch", "a", "--until", "running"]).expect(1);
    assert_eq!(
        done.stderr,
        "error: a ended before it was RUNNING: SUCCEEDED\n"
    );
    run(&server, &["watch", "a"]).expect(0);
    run(&server, &["watch", "--until", "succeeded"]).expect(0);
    run(&server, &["watch", "x", "--strict"]).expect(3);
}

#[test]
fn sessions_are_stopped_and_awaited() {
    let server = Server::start(vec![
        session("a", Phase::Running),
        session("b", Phase::Succeeded),
    ]);
    let args = ["stop", "a", "b", "--reason", "no longer needed", "--wait"];
    let mut stop = spawn(&server, &args, "");
    assert_eq!(stop.line(), "Stopping a");
    assert_eq!(stop.line(), "b has ended already: SUCCEEDED");
    let asked = server.wait_for("StopSession", 2);
    assert_eq!(asked[0], json!({"id": "a", "reason": "no longer needed"}));
    let mut cancelled = session("a", Phase::Cancelled);
    cancelled.status.as_mut().unwrap().version = 99;
    server.update(cancelled);
    let last = stop.line();
    assert!(
        last.starts_with("a ended after ") && last.ends_with("s: CANCELLED"),
        "{last}"
    );
    stop.done().expect(0);
    run(&server, &["stop", "x"]).expect(3);
}

#[test]
fn logs_continue_after_the_last_line_of_each_component() {
    let server = Server::start(vec![session("a", Phase::Running)]);
    server.state().logs = vec![
        vec![
            Ok(line("driver", 1, "one")),
            Ok(part("server-1", 2, "long ")),
            Ok(line("driver", 3, "two\tx")),
            Err(Status::unavailable("going away")),
        ],
        vec![
            Ok(part("server-1", 2, "long ")),
            Ok(line("server-1", 2, "line")),
            Ok(LogsResponse {
                gap: true,
                ..line("driver", 9, "three")
            }),
        ],
        // The server ended the stream before: it shuts down, and the session runs on.
        vec![Ok(line("driver", 10, "four"))],
    ];
    let logs = spawn(&server, &["logs", "-f", "--tail", "5", "a"], "");
    server.wait_for("Logs", 2);
    server.update(session("a", Phase::Succeeded));
    let done = logs.done().expect(0);
    assert!(
        done.stdout
            .starts_with("driver    one\ndriver    two\tx\nserver-1  long line\ndriver    three\n"),
        "{}",
        done.stdout
    );
    assert!(
        done.stderr
            .contains("stream lost: going away (UNAVAILABLE); reconnecting\nreconnected\n")
    );
    assert!(
        done.stderr
            .contains("driver: lines are missing here, the node keeps only the newest\n")
    );
    let asked = server.wait_for("Logs", 2);
    assert_eq!(asked[0]["tail"], 5);
    assert_eq!(asked[1]["tail"], serde_json::Value::Null);
    // A line that came in part is asked for again.
    let after = json!([{"component": "driver", "time": "2023-11-14T22:13:23+00:00"}]);
    assert_eq!(asked[1]["after"], after);
}

#[test]
fn the_log_of_one_component_is_printed_as_it_is() {
    let server = Server::start(vec![session("a", Phase::Succeeded)]);
    server.state().lines = vec![
        line("driver", 1, "\u{1b}[1mbold\u{1b}[0m"),
        line("server-1", 2, "other"),
    ];
    let done = run(&server, &["logs", "a", "driver"]).expect(0);
    assert_eq!(done.stdout, "\u{1b}[1mbold\u{1b}[0m\n");
    let done = run(
        &server,
        &["logs", "--timestamps", "--since", "10m", "a", "driver"],
    )
    .expect(0);
    assert!(
        done.stdout.starts_with("2023-11-14T22:13:21Z  "),
        "{}",
        done.stdout
    );
    let done = run(&server, &["logs", "-o", "json", "a"]).expect(0);
    assert_eq!(done.stdout.lines().count(), 2);
    run(&server, &["logs", "x"]).expect(3);
    run(&server, &["logs", "a", "--since", "yesterday"]).expect(2);
}
