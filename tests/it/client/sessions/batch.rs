//! `session run`: a batch of sessions, its report, its logs, and its end by Ctrl-C.

use std::fs;
use std::path::Path;

use super::super::terminal::Terminal;
use super::*;

/// Writes a file of requests: of each its id and its queue.
fn file(folder: &Path, name: &str, sessions: &[(&str, &str)]) -> String {
    let document = |(id, queue): &(&str, &str)| {
        format!(
            "id: {id}\nspec:\n  queue: {queue}\n  components: [{{name: driver, role: driver, image: d}}]\n"
        )
    };
    let documents: Vec<_> = sessions.iter().map(document).collect();
    let path = folder.join(name);
    fs::write(&path, documents.join("---\n")).unwrap();
    path.display().to_string()
}

/// The ids that were started, in their order.
#[track_caller]
fn started(server: &Server, times: usize) -> Vec<String> {
    let asked = server.wait_for("StartSession", times);
    let ids = asked.iter().map(|request| request["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

/// The end of a session that was started.
fn ended(id: &str, phase: Phase) -> Session {
    let mut session = session(id, phase);
    session.status.as_mut().unwrap().version = 99;
    session
}

/// What becomes of each session, as its name says.
fn by_name(started: &Session) -> Vec<Session> {
    let id = &started.id;
    let end = match id.split('-').next().unwrap() {
        "good" => ended(id, Phase::Succeeded),
        "stopped" => ended(id, Phase::Cancelled),
        _ => {
            let mut failed = failed(id);
            failed.status.as_mut().unwrap().version = 99;
            failed
        }
    };
    vec![
        session(id, Phase::Provisioning),
        session(id, Phase::Running),
        end,
    ]
}

/// Without the ends that make ids unique.
fn nameless(text: &str, ids: &[String]) -> String {
    let short = |text: String, id: &String| {
        let (name, _) = id.rsplit_once('-').unwrap();
        text.replace(id.as_str(), &format!("{name}-<unique>"))
    };
    ids.iter().fold(text.to_owned(), short)
}

#[test]
fn row_22_and_30_a_batch_reports_each_session_and_saves_its_logs() {
    let folder = tempfile::tempdir().unwrap();
    let first = file(
        folder.path(),
        "first.yaml",
        &[("good", "ci"), ("bad", "ci"), ("stopped", "other")],
    );
    let second = file(folder.path(), "second.yaml", &[("unknown", "ci")]);
    let server = Server::start(Vec::new());
    server.state().script = Some(by_name);
    let pool = Status::not_found("pool \"gpus\" does not exist; there are drivers, servers");
    server.state().refused = [("unknown", pool)].into();
    server.state().lines = vec![
        line("driver", 1, "connecting"),
        line("driver", 2, "panic: no <route>"),
        line("server-1", 3, "serving"),
    ];
    let logs = folder.path().join("logs");
    let xunit = folder.path().join("report.xml");
    let args = [
        "run",
        &first,
        &second,
        "--logs",
        logs.to_str().unwrap(),
        "--xunit",
        xunit.to_str().unwrap(),
    ];
    let done = run(&server, &args).expect(1);
    assert_eq!(
        done.stderr,
        "error: 4 sessions: 1 succeeded, 1 failed, 1 cancelled, 1 refused\n"
    );
    let ids = started(&server, 4);
    let mut names: Vec<_> = ids
        .iter()
        .map(|id| id.rsplit_once('-').unwrap().0)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["bad", "good", "stopped", "unknown"]);
    let mut saved: Vec<_> = fs::read_dir(&logs).unwrap().collect();
    assert_eq!(saved.len(), 3, "{saved:?}");
    let one = saved.remove(0).unwrap().path();
    let text = |name: &str| fs::read_to_string(one.join(name)).unwrap();
    assert_eq!(text("driver.log"), "connecting\npanic: no <route>\n");
    assert_eq!(text("server-1.log"), "serving\n");
    let report = fs::read_to_string(xunit).unwrap();
    let report = report.replace(folder.path().to_str().unwrap(), "<folder>");
    check("session_run_xunit", &nameless(&report, &ids));
    // One line for each change of each session, of which the last counts here.
    let lines = nameless(&done.stdout, &ids);
    let words = lines
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let good: Vec<_> = words
        .filter(|words| words.get(1) == Some(&"good-<unique>"))
        .collect();
    assert_eq!(
        good.last().unwrap()[2..],
        [
            "SUCCEEDED",
            "queued",
            "5.0s,",
            "provisioned",
            "7.0s,",
            "ran",
            "18.0s"
        ]
    );
    assert!(
        lines.ends_with(&format!("refused; logs are in {}\n", logs.display())),
        "{lines}"
    );
}

#[test]
fn a_queue_has_as_many_sessions_at_once_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let queues = [
        ("a", "x"),
        ("b", "x"),
        ("c", "big"),
        ("d", "big"),
        ("e", "x"),
    ];
    let path = file(folder.path(), "many.yaml", &queues);
    let server = Server::start(Vec::new());
    let args = [
        "run",
        &path,
        "-c",
        "1",
        "-c",
        "big:2",
        "--fixed-ids",
        "--keep",
        "1h",
    ];
    let batch = spawn(&server, &args, "");
    let sorted = |times| {
        let mut ids = started(&server, times);
        ids.sort_unstable();
        ids.concat()
    };
    assert_eq!(sorted(3), "acd");
    server.update(ended("c", Phase::Succeeded));
    server.update(ended("a", Phase::Succeeded));
    assert_eq!(sorted(4), "abcd");
    // A stream that is cut does not cut the batch.
    server.cut();
    server.update(ended("b", Phase::Succeeded));
    assert_eq!(sorted(5), "abcde");
    server.update(ended("d", Phase::Succeeded));
    server.update(ended("e", Phase::Succeeded));
    let done = batch.done().expect(0);
    assert!(
        done.stdout.ends_with("5 sessions: 5 succeeded\n"),
        "{}",
        done.stdout
    );
    let asked = server.wait_for("StartSession", 5);
    assert!(
        asked
            .iter()
            .all(|request| request["spec"]["ttl"] == "3600s")
    );
}

#[test]
fn an_interrupted_batch_stops_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "many.yaml", &[("a", "x"), ("b", "x")]);
    let xunit = folder.path().join("report.xml");
    let server = Server::start(Vec::new());
    let report = xunit.to_str().unwrap();
    let args = ["run", &path, "-c", "1", "--fixed-ids", "--xunit", report];
    let mut batch = spawn(&server, &args, "");
    assert!(batch.line().contains("QUEUED"));
    batch.interrupt();
    let asked = server.wait_for("StopSession", 1);
    assert_eq!(
        asked,
        [json!({"id": "a", "reason": "the batch was interrupted"})]
    );
    server.update(ended("a", Phase::Cancelled));
    let done = batch.done().expect(1);
    assert_eq!(
        done.stderr,
        "interrupted: stopping 1 session; Ctrl-C again leaves them\n\
         error: interrupted: 2 sessions: 1 cancelled, 1 not started\n"
    );
    let report = fs::read_to_string(xunit).unwrap();
    assert!(
        report.contains("<skipped message=\"it was not started"),
        "{report}"
    );
    assert_eq!(started(&server, 1), ["a"]);
}

#[test]
fn the_second_interrupt_leaves_the_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "one.yaml", &[("a", "x")]);
    let server = Server::start(Vec::new());
    let mut batch = spawn(&server, &["run", &path], "");
    assert!(batch.line().contains("QUEUED"));
    batch.interrupt();
    server.wait_for("StopSession", 1);
    assert!(batch.line().contains("STOPPING"));
    batch.interrupt();
    let done = batch.done().expect(1);
    assert!(
        done.stderr
            .ends_with("1 session: 1 active\nhint: the sessions go on\n"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_start_without_an_answer_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "one.yaml", &[("good", "x")]);
    let server = Server::start(Vec::new());
    server.state().script = Some(by_name);
    server.state().refused = [("good", Status::unavailable("draining"))].into();
    let batch = spawn(&server, &["run", &path], "");
    let asked = server.wait_for("StartSession", 2);
    assert_eq!(asked[0], asked[1]);
    server.state().refused.clear();
    batch.done().expect(0);
}

#[test]
fn programs_get_a_record_of_each_session() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(
        folder.path(),
        "two.yaml",
        &[("good", "x"), ("refused", "x")],
    );
    let server = Server::start(Vec::new());
    server.state().script = Some(by_name);
    server.state().refused = [("refused", Status::invalid_argument("no"))].into();
    let done = run(&server, &["run", &path, "-o", "json"]).expect(2);
    let records = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let mut records: Vec<serde_json::Value> = records.collect();
    records.sort_by_key(|record| record["id"].to_string());
    assert_eq!(records[0]["status"]["phase"], "SUCCEEDED");
    assert_eq!(records[1]["error"], "no (INVALID_ARGUMENT)");
    assert_eq!(records[1]["file"], path.as_str());
}

#[test]
fn what_a_batch_cannot_do_is_refused_before_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let twice = file(folder.path(), "twice.yaml", &[("a", "x"), ("a", "x")]);
    let server = Server::start(Vec::new());
    for (args, fault) in [
        (
            &["run", &twice, "--fixed-ids"][..],
            "id \"a\" is there twice",
        ),
        (&["run", &twice, "-c", "0"], "must be N or QUEUE:N"),
        (&["run", "/dev/null/x"], "cannot read /dev/null/x"),
        (&["run"], "required arguments"),
    ] {
        let done = run(&server, args).expect(2);
        assert!(done.stderr.contains(fault), "{}", done.stderr);
    }
    assert!(server.state().calls.is_empty());
}

#[test]
fn a_terminal_shows_a_line_for_each_active_session() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "two.yaml", &[("a", "x"), ("b", "x")]);
    let server = Server::start(Vec::new());
    let address = server.address.to_string();
    let args = ["session", "run", &path, "--fixed-ids"];
    let mut terminal = Terminal::at(&address, 60, &args);
    terminal.wait_for("2 sessions: 2 active\r\na  QUEUED");
    server.update(session("a", Phase::Running));
    terminal.wait_for("a  RUNNING       queued 5.0s, provisioned 7.0s, ran ");
    server.update(ended("b", Phase::Succeeded));
    terminal.wait_for("\u{1b}[3A\r\u{1b}[Jb  SUCCEEDED     queued 5.0s");
    server.update(ended("a", Phase::Failed));
    let (code, text) = terminal.done();
    assert_eq!(code, 1, "{text}");
    let end = "2 sessions: 1 succeeded, 1 failed\r\nerror: 2 sessions: 1 succeeded, 1 failed\r\n";
    assert!(text.ends_with(end), "{text}");
}
