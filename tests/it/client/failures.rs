//! What can go wrong between client and server: the exit code and the line on standard error.

use tonic::transport::Identity;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::*;

#[test]
fn every_grpc_code_has_its_exit_code() {
    let codes = [
        (Code::Cancelled, 1),
        (Code::Unknown, 1),
        (Code::InvalidArgument, 2),
        (Code::DeadlineExceeded, 6),
        (Code::NotFound, 3),
        (Code::AlreadyExists, 4),
        (Code::PermissionDenied, 1),
        (Code::ResourceExhausted, 5),
        (Code::FailedPrecondition, 4),
        (Code::Aborted, 4),
        (Code::OutOfRange, 2),
        (Code::Unimplemented, 1),
        (Code::Internal, 1),
        (Code::Unavailable, 6),
        (Code::DataLoss, 1),
        (Code::Unauthenticated, 1),
    ];
    let server = Server::start(vec![]);
    let mut all = String::new();
    for (code, exit) in codes {
        server
            .state()
            .errors
            .insert("GetWorkspaces", Status::new(code, "because"));
        let done = run(&server, &["list"]).expect(exit);
        assert_eq!(done.stdout, "");
        all.push_str(&done.stderr);
    }
    check(
        "failures",
        &all.replace(&server.address.to_string(), "<address>"),
    );
}

#[test]
fn the_reason_decides_if_the_code_is_unknown() {
    let server = Server::start(vec![]);
    let details =
        ErrorDetails::with_error_info("NOT_FOUND", "wsman", [("id".to_owned(), "x".to_owned())]);
    let status = Status::with_error_details(Code::Unknown, "workspace x does not exist", details);
    server.state().errors.insert("DescribeWorkspace", status);
    let done = run(&server, &["describe", "x"]).expect(3);
    assert_eq!(
        done.stderr,
        "error: workspace x does not exist (UNKNOWN, NOT_FOUND)\n"
    );
}

#[test]
fn every_refused_field_has_its_line() {
    let server = Server::start(vec![]);
    let mut details = ErrorDetails::new();
    details
        .set_error_info("INVALID", "wsman", std::collections::HashMap::new())
        .add_bad_request_violation("spec.workspace_image", "cannot be blank")
        .add_bad_request_violation("spec.ports[1].port", "port 80 is not unique");
    let status = Status::with_error_details(
        Code::InvalidArgument,
        "invalid start workspace request",
        details,
    );
    server.state().errors.insert("StartWorkspace", status);
    let done = run(
        &server,
        &["start", "-f", "testdata/example-wsspec.json", "--id", "x"],
    )
    .expect(2);
    check("failure_fields", &done.stderr);
}

#[test]
fn a_pause_that_the_server_requests_is_printed() {
    let server = Server::start(vec![]);
    let wait = Some(std::time::Duration::from_millis(2_100));
    let details = ErrorDetails::with_retry_info(wait);
    let status = Status::with_error_details(Code::ResourceExhausted, "too many requests", details);
    server.state().errors.insert("GetWorkspaces", status);
    let done = run(&server, &["list"]).expect(5);
    assert_eq!(
        done.stderr,
        "error: too many requests (RESOURCE_EXHAUSTED)\n  try again in 3 s\n"
    );
}

#[test]
fn a_silent_server_is_given_up() {
    let server = Server::start(vec![]);
    server.state().hanging.insert("GetWorkspaces");
    let done = run(&server, &["list", "--timeout", "150ms"]).expect(6);
    assert!(
        done.stderr
            .starts_with("error: no answer within 150ms (DEADLINE_EXCEEDED)\n"),
        "{}",
        done.stderr
    );
    server.state().hanging.clear();
    run(&server, &["list"]).expect(0);
    run(&server, &["start", "-f", "testdata/example-wsspec.json"]).expect(0);
    let state = server.state();
    let timeouts: Vec<_> = state
        .calls
        .iter()
        .map(|(name, _, timeout)| (*name, timeout.as_deref().unwrap()))
        .collect();
    assert_eq!(
        timeouts,
        [
            ("GetWorkspaces", "150000u"),
            ("GetWorkspaces", "30000000u"),
            ("StartWorkspace", "60000000u")
        ]
    );
}

#[test]
fn a_refused_connection_is_unavailable() {
    let mut server = Server::start(vec![]);
    server.stop();
    for args in [
        &["list"][..],
        &["watch"],
        &["stop", "x", "--wait"],
        &["start", "-f", "testdata/example-wsspec.json", "--wait"],
    ] {
        let done = run(&server, args).expect(6);
        assert!(
            done.stderr.contains("Connection refused"),
            "{}",
            done.stderr
        );
        assert!(
            done.stderr
                .contains(&format!("hint: tried {}", server.address)),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn addresses_that_cannot_work_are_refused() {
    let addresses = [
        "http://user@localhost:8080/rpc",
        "https://localhost:8080/rpc",
        "ftp://localhost:21",
        "localhost",
        ":8080",
        "user@localhost:8080",
        "localhost:8080/rpc",
        "grpcs://localhost:8080",
        "localhost:99999",
        "",
    ];
    let mut all = String::new();
    for address in addresses {
        all.push_str(
            &Running::start(address, &["list"], "")
                .done()
                .expect(2)
                .stderr,
        );
    }
    all.push_str(
        &Running::start("localhost:1", &["list", "--ca", "x"], "")
            .done()
            .expect(2)
            .stderr,
    );
    all.push_str(
        &Running::start("grpcs://localhost:1", &["list", "--ca", "no-such-file"], "")
            .done()
            .expect(2)
            .stderr,
    );
    check("addresses", &all);
    Running::start("localhost:1", &["list", "--timeout", "0s"], "")
        .done()
        .expect(2);
    Running::start("localhost:1", &["list", "--cert", "x"], "")
        .done()
        .expect(2);
}

#[test]
fn tls_checks_the_name_of_the_server() {
    let issued =
        rcgen::generate_simple_self_signed(["ws-manager".to_owned(), "other".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, issued.cert.pem()).unwrap();
    let ca = ca.to_str().unwrap();
    let identity = Identity::from_pem(issued.cert.pem(), issued.signing_key.serialize_pem());
    let server = Server::start_with(vec![], Some(identity));
    let address = format!("grpcs://{}", server.address);
    Running::start(&address, &["list", "--ca", ca], "")
        .done()
        .expect(0);
    Running::start(
        &address,
        &["list", "--ca", ca, "--server-name", "other"],
        "",
    )
    .done()
    .expect(0);
    let done = Running::start(
        &address,
        &["list", "--ca", ca, "--server-name", "wrong"],
        "",
    )
    .done()
    .expect(6);
    assert!(done.stderr.contains("certificate"), "{}", done.stderr);
    let done = run(&server, &["list"]);
    assert!(
        done.code == 6 && done.stderr.contains("with or without TLS"),
        "{}",
        done.stderr
    );
}

#[test]
fn failures_are_json_where_results_are() {
    let server = Server::start(vec![]);
    let details =
        ErrorDetails::with_error_info("NOT_FOUND", "wsman", [("id".to_owned(), "x".to_owned())]);
    let status = Status::with_error_details(Code::Unknown, "workspace x does not exist", details);
    server.state().errors.insert("DescribeWorkspace", status);
    let parse = |done: Done| -> serde_json::Value {
        assert_eq!((done.stdout.as_str(), done.stderr.lines().count()), ("", 1));
        serde_json::from_str(&done.stderr).unwrap()
    };
    let error = parse(run(&server, &["describe", "x", "-o", "json"]).expect(3));
    assert_eq!(
        error["error"],
        serde_json::json!({
            "code": "UNKNOWN",
            "reason": "NOT_FOUND",
            "exit_code": 3,
            "message": "workspace x does not exist (UNKNOWN, NOT_FOUND)",
        })
    );
    let error = parse(run(&server, &["-o", "json", "describe"]).expect(2));
    assert_eq!(error["error"]["exit_code"], 2);
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("required arguments")
    );
    let error = parse(wsman(&["client", "-H", "localhost:1", "list", "--output=json"]).expect(6));
    assert_eq!(error["error"]["code"], "UNAVAILABLE");
    assert!(
        error["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("WSMAN_HOST")
    );
}
