//! What list, describe and cluster print, for people and for programs.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use serde_json::Value;
use wsman::proto::contentservice::GitStatus;

use super::*;

/// A workspace with every field.
fn complete() -> WorkspaceStatus {
    let started = long_ago();
    let started_at = Some(pbjson_types::Timestamp {
        seconds: started.as_second(),
        nanos: 0,
    });
    WorkspaceStatus {
        id: "6f2c1e0a-3b7d-4f52-9a53-0c1d2e3f4a5b".to_owned(),
        status_version: 4711,
        metadata: Some(WorkspaceMetadata {
            owner: "alice".to_owned(),
            meta_id: "blue-owl".to_owned(),
            started_at,
            annotations: [("purpose".to_owned(), "tour".to_owned())].into(),
            team: Some("red".to_owned()),
            ..Default::default()
        }),
        spec: Some(WorkspaceSpec {
            workspace_image: "nginx:1.27".to_owned(),
            url: "https://blue-owl.ws.example.com".to_owned(),
            exposed_ports: vec![PortSpec {
                port: 8080,
                visibility: PortVisibility::Public.into(),
                url: "https://8080-blue-owl.ws.example.com".to_owned(),
                protocol: PortProtocol::Http.into(),
                ..Default::default()
            }],
            timeout: "30m".to_owned(),
            closed_timeout: "5m".to_owned(),
            class: "default".to_owned(),
            ide_image: Some(IdeImage {
                web_ref: "ide:1".to_owned(),
                supervisor_ref: "sup:1".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        phase: WorkspacePhase::Running.into(),
        conditions: Some(WorkspaceConditions {
            deployed: WorkspaceConditionBool::True.into(),
            pulling_images: WorkspaceConditionBool::False.into(),
            first_user_activity: started_at,
            ..Default::default()
        }),
        message: "ready since a while".to_owned(),
        repo: Some(GitStatus {
            branch: "main".to_owned(),
            total_untracked_files: 3,
            ..Default::default()
        }),
        runtime: Some(WorkspaceRuntimeInfo {
            node_name: "node-1".to_owned(),
            pod_name: "ws-6f2c1e0a-3b7d-4f52-9a53-0c1d2e3f4a5b".to_owned(),
            node_ip: "10.0.0.1".to_owned(),
        }),
        auth: Some(WorkspaceAuthentication {
            admission: AdmissionLevel::AdmitEveryone.into(),
            owner_token: "s3cret".to_owned(),
        }),
        initializer_metrics: Some(InitializerMetrics {
            git: Some(InitializerMetric {
                duration: Some(pbjson_types::Duration {
                    seconds: 2,
                    nanos: 500_000_000,
                }),
                size: 3 << 20,
            }),
            ..Default::default()
        }),
    }
}

fn several() -> Vec<WorkspaceStatus> {
    let timed_out = WorkspaceConditions {
        timeout: "workspace timed out after 30m".to_owned(),
        ..Default::default()
    };
    vec![
        complete(),
        failed(
            "image pull failed",
            saying(
                "pod failed",
                workspace("b-failed", WorkspacePhase::Creating, 3),
            ),
        ),
        WorkspaceStatus {
            conditions: Some(timed_out),
            ..workspace("c-timed-out", WorkspacePhase::Stopping, 4)
        },
        WorkspaceStatus {
            id: "a-bare".to_owned(),
            ..Default::default()
        },
        WorkspaceStatus {
            id: "d-new-phase".to_owned(),
            phase: 77,
            ..Default::default()
        },
    ]
}

/// Replaces the start time, which differs in each run.
fn timeless(text: &str) -> String {
    let started = long_ago().as_second();
    // The clock may have moved on since the server was filled.
    (started - 60..=started).fold(text.to_owned(), |text, second| {
        let time = Timestamp::from_second(second)
            .unwrap()
            .strftime("%Y-%m-%dT%H:%M:%S")
            .to_string();
        text.replace(&time, "<started>")
    })
}

#[test]
fn list_is_a_table_sorted_by_start() {
    let server = Server::start(several());
    check("list_table", &run(&server, &["list"]).expect(0).stdout);
}

#[test]
fn list_for_programs_hides_tokens() {
    let server = Server::start(several());
    let json = run(&server, &["list", "-o", "json"]).expect(0).stdout;
    check("list_json", &timeless(&json));
    let yaml = run(&server, &["list", "-o", "yaml"]).expect(0).stdout;
    check("list_yaml", &timeless(&yaml));
    let as_value: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(as_value, serde_json::from_str::<Value>(&json).unwrap());
    assert!(
        run(&server, &["list", "-o", "json", "--show-token"])
            .expect(0)
            .stdout
            .contains("s3cret")
    );
}

#[test]
fn an_empty_list_is_a_header_or_a_list_without_items() {
    let server = Server::start(vec![]);
    assert_eq!(
        run(&server, &["list"])
            .expect(0)
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>(),
        [
            "ID", "OWNER", "META", "ID", "PHASE", "AGE", "CLASS", "NODE", "MESSAGE"
        ]
    );
    assert_eq!(
        run(&server, &["list", "-o", "json"]).expect(0).stdout,
        "{\n  \"items\": [],\n  \"kind\": \"List\"\n}\n"
    );
    let yaml = run(&server, &["list", "-o", "yaml"]).expect(0).stdout;
    assert_eq!(yaml, "items: []\nkind: List\n");
    assert_eq!(run(&server, &["list", "-o", "name"]).expect(0).stdout, "");
}

#[test]
fn list_passes_its_filter_on() {
    let server = Server::start(vec![]);
    let filter = [
        "--owner",
        "o",
        "--meta-id",
        "m",
        "--annotation",
        "k=v",
        "--annotation",
        "l=w=x",
    ];
    run(&server, &[&["list"][..], &filter].concat()).expect(0);
    let expected = serde_json::json!({"mustMatch": {"owner": "o", "metaId": "m", "annotations": {"k": "v", "l": "w=x"}}});
    assert_eq!(server.requests("GetWorkspaces"), [expected]);
    run(&server, &["list", "--annotation", "novalue"]).expect(2);
}

#[test]
fn describe_shows_all_that_is_set() {
    let server = Server::start(several());
    check(
        "describe_bare",
        &run(&server, &["describe", "a-bare"]).expect(0).stdout,
    );
    server.state().last_activity = (Timestamp::now() - SignedDuration::from_hours(50)).to_string();
    let id = complete().id;
    let text = run(&server, &["describe", &id]).expect(0).stdout;
    let text: String = text
        .lines()
        .map(|line| match line.strip_prefix("Last activity:") {
            Some(rest) => format!("Last activity:{}\n", rest.replace(char::is_numeric, "0")),
            None => format!("{line}\n"),
        })
        .collect();
    check("describe_table", &timeless(&text));
    assert!(
        run(&server, &["describe", &id, "--show-token"])
            .expect(0)
            .stdout
            .contains("s3cret")
    );
}

#[test]
fn describe_for_programs_hides_the_token() {
    let server = Server::start(several());
    let id = complete().id;
    check(
        "describe_json",
        &timeless(
            &run(&server, &["describe", &id, "-o", "json"])
                .expect(0)
                .stdout,
        ),
    );
    check(
        "describe_yaml",
        &timeless(
            &run(&server, &["describe", &id, "-o", "yaml"])
                .expect(0)
                .stdout,
        ),
    );
    assert!(
        run(&server, &["describe", &id, "-o", "yaml", "--show-token"])
            .expect(0)
            .stdout
            .contains("s3cret")
    );
}

#[test]
fn cluster_lists_its_classes() {
    let server = Server::start(vec![]);
    check(
        "cluster_table",
        &run(&server, &["cluster"]).expect(0).stdout,
    );
    check(
        "cluster_yaml",
        &run(&server, &["cluster", "-o", "yaml"]).expect(0).stdout,
    );
}

#[test]
fn no_deceptive_character_reaches_the_terminal() {
    let evil = "a\u{1b}[31mred\u{7}\r\nline \u{202e}desrever\u{2066} \u{9b}2J\u{7f}\u{feff}";
    let status = WorkspaceStatus {
        metadata: Some(WorkspaceMetadata {
            owner: evil.to_owned(),
            annotations: [(evil.to_owned(), evil.to_owned())].into(),
            ..Default::default()
        }),
        ..saying(evil, workspace("evil", WorkspacePhase::Running, 1))
    };
    let server = Server::start(vec![status.clone()]);
    let harmless = |text: &str| {
        let bad =
            |c: &char| *c != '\n' && (c.is_control() || "\u{202e}\u{2066}\u{feff}".contains(*c));
        assert_eq!(text.chars().find(bad), None, "{text:?}");
    };
    for args in [
        &["list"][..],
        &["describe", "evil"],
        &["watch", "--until", "running"],
    ] {
        for format in ["table", "json", "yaml"] {
            harmless(
                &run(&server, &[args, &["-o", format]].concat())
                    .expect(0)
                    .stdout,
            );
        }
    }
    check("list_escaped", &run(&server, &["list"]).expect(0).stdout);
    // Programs still read the server's response.
    for format in ["json", "yaml"] {
        let text = run(&server, &["list", "-o", format]).expect(0).stdout;
        let mut value: Value = serde_saphyr::from_str(&text).unwrap();
        let value: WorkspaceStatus =
            serde_json::from_value(value["items"][0]["status"].take()).unwrap();
        assert_eq!(value, status);
    }
    server
        .state()
        .errors
        .insert("GetWorkspaces", tonic::Status::internal(evil));
    harmless(&run(&server, &["list"]).expect(1).stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let many = (0..5000)
        .map(|n| workspace(&format!("workspace-{n}"), WorkspacePhase::Running, 1))
        .collect();
    let server = Server::start(many);
    for args in [
        &["list"][..],
        &["list", "-o", "json"],
        &["watch", "-o", "json"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wsman"))
            .args(["client", "-H", &server.address.to_string()])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // More is to come than a pipe holds, so that the process is still writing when the reader goes.
        BufReader::with_capacity(16, child.stdout.take().unwrap())
            .read_line(&mut String::new())
            .unwrap();
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        assert_eq!(
            (child.wait().unwrap().code(), stderr.as_str()),
            (Some(0), "")
        );
    }
}

/// The ids of a list, in its order.
fn ids(server: &Server, args: &[&str]) -> Vec<String> {
    let text = run(server, &[&["list", "-o", "name"], args].concat())
        .expect(0)
        .stdout;
    text.lines().map(str::to_owned).collect()
}

#[test]
fn lists_are_sorted_and_filtered() {
    let mut b = workspace("b", WorkspacePhase::Running, 1);
    b.spec.get_or_insert_default().class = "large".to_owned();
    b.metadata.get_or_insert_default().owner = "zoe".to_owned();
    let server = Server::start(vec![
        workspace("c", WorkspacePhase::Pending, 3),
        b,
        workspace("a", WorkspacePhase::Stopping, 2),
    ]);
    assert_eq!(ids(&server, &[]), ["a", "b", "c"]);
    assert_eq!(ids(&server, &["--sort-by", "phase"]), ["c", "b", "a"]);
    assert_eq!(
        ids(&server, &["--sort-by", "owner", "--reverse"]),
        ["b", "c", "a"]
    );
    assert_eq!(ids(&server, &["--sort-by", "class"]), ["a", "c", "b"]);
    assert_eq!(
        ids(&server, &["--phase", "running", "--phase", "PENDING"]),
        ["b", "c"]
    );
    assert_eq!(ids(&server, &["--class", "large"]), ["b"]);
    run(&server, &["list", "--phase", "sleeping"]).expect(2);
    run(&server, &["list", "--sort-by", "colour"]).expect(2);
}

#[test]
fn a_list_goes_on_with_a_row_per_change() {
    let server = Server::start(vec![workspace("a", WorkspacePhase::Creating, 2)]);
    let mut list = spawn(&server, &["list", "-w"]);
    let header = list.line();
    assert!(header.starts_with("ID   OWNER"), "{header}");
    assert!(list.line().contains("CREATING"));
    server.update(workspace("a", WorkspacePhase::Running, 3));
    let row = list.line();
    assert!(row.starts_with("a    alice   blue-owl   RUNNING "), "{row}");
    list.interrupt();
    let done = list.done();
    assert_eq!((done.stdout.lines().count(), done.stderr.as_str()), (3, ""));
    let mut names = spawn(&server, &["list", "-w", "-o", "name"]);
    assert_eq!(names.line(), "a");
    server.update(workspace("b", WorkspacePhase::Running, 4));
    assert_eq!(names.line(), "b");
    names.kill();
}

#[test]
fn wide_tables_and_templates() {
    let server = Server::start(several());
    check(
        "list_wide",
        &run(&server, &["list", "-o", "wide"]).expect(0).stdout,
    );
    let template = r#"jsonpath={range .items[*]}{.status.id}{"\t"}{.status.phase}{"\n"}{end}"#;
    let text = run(&server, &["list", "-o", template]).expect(0).stdout;
    assert_eq!(text.lines().next(), Some("a-bare\t"));
    assert!(text.contains("b-failed\tCREATING\n"), "{text}");
    let describe = [
        "describe",
        "b-failed",
        "-o",
        "jsonpath={.status.conditions.failed}",
    ];
    assert_eq!(
        run(&server, &describe).expect(0).stdout,
        "image pull failed\n"
    );
    assert_eq!(
        run(&server, &["cluster", "-o", "name"]).expect(0).stdout,
        "default\nlarge\n"
    );
    let done = run(&server, &["list", "-o", "jsonpath={.items[}"]).expect(2);
    assert!(done.stderr.contains("invalid template"), "{}", done.stderr);
    let done = run(&server, &["list", "-o", "xml"]).expect(2);
    assert!(
        done.stderr.contains("table, wide, json, yaml, name"),
        "{}",
        done.stderr
    );
}

#[test]
fn programs_find_the_same_names_everywhere() {
    let server = Server::start(several());
    let id = complete().id;
    let read = |args: &[&str]| -> Value {
        let text = run(&server, &[args, &["-o", "json"]].concat())
            .expect(0)
            .stdout;
        serde_json::from_str(&text).unwrap()
    };
    let listed = read(&["list"]);
    let described = read(&["describe", &id]);
    let items = listed["items"].as_array().unwrap();
    let item = items
        .iter()
        .find(|item| item["status"]["id"] == id.as_str())
        .unwrap();
    assert_eq!(item["status"], described["status"]);
    assert_eq!(
        described["status"]["spec"]["exposed_ports"][0]["port"],
        8080
    );
    let watched = run(&server, &["watch", &id, "--until", "running", "-o", "json"])
        .expect(0)
        .stdout;
    let watched: Value = serde_json::from_str(&watched).unwrap();
    assert_eq!(watched["status"], described["status"]);
    assert_eq!(read(&["cluster"])["preferred_workspace_class"], "default");
}
