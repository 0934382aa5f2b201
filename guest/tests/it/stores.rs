//! Stores that are full, that deny, fail, hang or lose answers: the outcome says so, and the last backup stays valid.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use wsman_guest::archive::Limits;
use wsman_guest::data::upload;

use crate::s3::{impatient, restored, save, save_within, servers, settings};
use crate::server::{Reply, Request, Server};

const FIRST: &str = "owner/workspace/0000000001-backup.json@bucket";

/// Passes a request on as it is.
fn pass(port: u16, request: &Request) -> Reply {
    let mut target = request.path.clone();
    if !request.query.is_empty() {
        target = format!("{target}?{}", request.query);
    }
    let mut head = format!("{} {target} HTTP/1.1\r\n", request.method);
    for (name, value) in &request.headers {
        if !name.eq_ignore_ascii_case("connection") {
            head += &format!("{name}: {value}\r\n");
        }
    }
    head += "connection: close\r\n\r\n";
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&request.body).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Reply::Raw(answer)
}

fn is_write(request: &Request, of: &str) -> bool {
    matches!(request.method.as_str(), "PUT" | "POST") && request.path.contains(of)
}

fn refusal(status: &str, code: &str) -> Reply {
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
    Reply::status(status, "content-type: application/xml\r\n", body.as_bytes())
}

/// A store behind `reply`, which answers instead of it or passes on.
fn behind(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    Server::new("/nowhere".as_ref(), reply)
}

/// What a save that failed says, given that the first backup is still the last.
fn failure(outcome: &Value, port: u16, about: &str) -> String {
    assert_eq!(outcome["ok"], false, "{about}: {outcome}");
    assert_eq!(outcome["last"]["name"], FIRST, "{about}: {outcome}");
    assert_eq!(
        restored(port),
        (FIRST.to_owned(), b"before".to_vec()),
        "{about}"
    );
    outcome["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_write_that_is_denied_is_stated_and_the_last_backup_stays() {
    for s3 in servers("a_write_that_is_denied_is_stated_and_the_last_backup_stays") {
        let port = s3.port;
        save(&settings(port, "secret"), b"before");
        for (code, of, why) in [
            ("AccessDenied", "/data/", "access is denied"),
            ("AccessDenied", "-backup.json", "access is denied"),
            (
                "RequestTimeTooSkewed",
                "/data/",
                "the clock of this node differs too much from that of the store",
            ),
        ] {
            let store = behind(move |request| match is_write(request, of) {
                true => refusal("403 Forbidden", code),
                false => pass(port, request),
            });
            let outcome = save(&settings(store.port, "secret"), b"after");
            let message = failure(&outcome, port, s3.name);
            assert!(
                message.starts_with("cannot write owner/workspace/"),
                "{message}"
            );
            assert!(
                message.ends_with(&format!("in the store: {why}")),
                "{message}"
            );
        }
    }
}

#[test]
fn a_store_that_hangs_costs_no_more_than_the_time_for_the_last_backup() {
    for s3 in servers("a_store_that_hangs_costs_no_more_than_the_time_for_the_last_backup") {
        let port = s3.port;
        save(&settings(port, "secret"), b"before");
        let store = behind(move |request| {
            while is_write(request, "/data/") {
                std::thread::park();
            }
            pass(port, request)
        });
        let outcome = save_within(&settings(store.port, "secret"), b"after", "1s");
        let message = failure(&outcome, port, s3.name);
        assert_eq!(message, "the last backup did not finish within 1s");
    }
}

#[test]
fn failures_that_pass_are_tried_again() {
    for s3 in servers("failures_that_pass_are_tried_again") {
        let port = s3.port;
        let failures = AtomicUsize::new(0);
        let store = behind(move |request| {
            // Every second request, whatever it is.
            match failures.fetch_add(1, Ordering::SeqCst) % 2 {
                0 => refusal("503 Service Unavailable", "SlowDown"),
                _ => pass(port, request),
            }
        });
        let outcome = save(&settings(store.port, "secret"), b"after");
        assert_eq!(outcome["backup"]["name"], FIRST, "{}: {outcome}", s3.name);
        assert_eq!(
            restored(store.port),
            (FIRST.to_owned(), b"after".to_vec()),
            "{}",
            s3.name
        );
    }
}

#[tokio::test]
async fn a_full_store_is_called_full() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("file"), "after").unwrap();
    for s3 in servers("a_full_store_is_called_full") {
        let port = s3.port;
        for (status, code) in [
            ("507 Insufficient Storage", "InsufficientStorage"),
            ("403 Forbidden", "QuotaExceeded"),
            ("500 Internal Server Error", "InternalError"),
        ] {
            let store = behind(move |request| match is_write(request, "/data/") {
                true => refusal(status, code),
                false => pass(port, request),
            });
            let stop = CancellationToken::new();
            let of = ("owner", "workspace");
            let store = impatient(store.port);
            let uploading = upload(&store, tree.path(), of, Limits::default(), &stop);
            let error = uploading.await.unwrap_err().to_string();
            match code {
                "InternalError" => assert!(error.contains("500"), "{error}"),
                _ => assert!(error.ends_with("in the store: it is full"), "{error}"),
            }
            assert!(store.latest("owner", "workspace").await.unwrap().is_none());
        }
    }
}

#[test]
fn an_answer_that_is_lost_is_no_failure_of_the_backup() {
    for s3 in servers("an_answer_that_is_lost_is_no_failure_of_the_backup") {
        let port = s3.port;
        let lost = AtomicUsize::new(0);
        let store = behind(move |request| {
            let answer = pass(port, request);
            match is_write(request, "-backup.json") && lost.fetch_add(1, Ordering::SeqCst) == 0 {
                true => Reply::Raw(Vec::new()),
                false => answer,
            }
        });
        let outcome = save(&settings(store.port, "secret"), b"after");
        assert_eq!(outcome["backup"]["name"], FIRST, "{}: {outcome}", s3.name);
        assert_eq!(
            restored(port),
            (FIRST.to_owned(), b"after".to_vec()),
            "{}",
            s3.name
        );
    }
}
