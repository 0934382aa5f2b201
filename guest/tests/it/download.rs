//! Downloads: whole and with the right digest, or not at all.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::server::{Reply, Server};
use crate::support::Pod;

const DIGEST: &str = "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";

fn download(url: &str, path: &str, digest: &str) -> Value {
    json!({ "download": { "target_location": "in", "files": [{ "url": url, "file_path": path, "digest": digest }] } })
}

fn server() -> Server {
    let failures = AtomicUsize::new(1);
    Server::new("/nowhere".as_ref(), move |request| {
        match request.path.as_str() {
            "/file" => Reply::status("200 OK", "", b"content"),
            "/flaky" if failures.swap(0, Ordering::SeqCst) == 1 => {
                Reply::status("502 Bad Gateway", "", b"")
            }
            "/flaky" => Reply::status("200 OK", "", b"content"),
            "/cut" => Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncontent".to_vec()),
            "/here" => Reply::status("302 Found", "location: /file\r\n", b""),
            "/there" => Reply::status("302 Found", "location: http://localhost:1/file\r\n", b""),
            "/metadata" => Reply::status(
                "302 Found",
                "location: http://169.254.169.254/latest\r\n",
                b"",
            ),
            "/skewed" => Reply::status(
                "403 Forbidden",
                "",
                b"<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>",
            ),
            "/expired" => Reply::status(
                "403 Forbidden",
                "",
                b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
            ),
            "/denied" => Reply::status("403 Forbidden", "", b"<Error><Code>AccessDenied</Code></Error>"),
            _ => Reply::status("404 Not Found", "", b""),
        }
    })
}

#[test]
fn files_arrive_through_redirects_and_failures_that_pass() {
    let server = server();
    for path in ["file", "here", "flaky"] {
        let pod = Pod::new(download(&server.url(path), "a/b", DIGEST));
        let outcome = pod.init_ok();
        assert_eq!(outcome["steps"][0]["bytes"], 7);
        assert_eq!(pod.read("in/a/b"), "content");
        assert_eq!(fs::read_dir(pod.root().join("in/a")).unwrap().count(), 1);
    }
}

#[test]
fn refusals_say_what_and_why_and_leave_no_file() {
    let server = server();
    let zeros = format!("sha256:{}", "0".repeat(64));
    let of = |path: &str| server.url(path);
    for (url, path, digest, why) in [
        (
            of("file"),
            "f",
            zeros.as_str(),
            format!("{} has the digest {DIGEST} instead of {zeros}", of("file")),
        ),
        (
            of("gone"),
            "f",
            DIGEST,
            format!("cannot download {}: it answers 404 Not Found", of("gone")),
        ),
        (
            of("there"),
            "f",
            DIGEST,
            format!(
                "cannot download {}: it redirects to the host localhost, which is not allowed",
                of("there")
            ),
        ),
        (
            of("metadata"),
            "f",
            DIGEST,
            format!(
                "cannot download {}: it redirects to the host 169.254.169.254, which is not allowed",
                of("metadata")
            ),
        ),
        (
            of("file"),
            "../../f",
            DIGEST,
            "path `../../f` leaves its root by `..`".into(),
        ),
        (
            of("file"),
            "f",
            "",
            "the digest \"\" is refused: it must be sha256 and 64 hexadecimal digits".into(),
        ),
    ] {
        let pod = Pod::new(download(&url, path, digest));
        let outcome = pod.init();
        assert_eq!(outcome["message"], why);
        let left = fs::read_dir(pod.root().join("in")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{why}");
    }
}

#[test]
fn a_signed_url_is_refused_for_a_clock_and_its_signature_is_not_repeated() {
    let server = server();
    for (path, why) in [
        (
            "skewed",
            "the clock of this node differs too much from that of the store",
        ),
        (
            "expired",
            "its signature has expired, by the clock of the store",
        ),
        ("denied", "it answers 403 Forbidden"),
    ] {
        let url = server.url(path);
        let signed = format!("{url}?X-Amz-Signature=marker-31c0");
        let message = Pod::new(download(&signed, "f", DIGEST)).init()["message"].clone();
        assert_eq!(message, format!("cannot download {url}: {why}"));
    }
    assert_eq!(server.count(), 3, "none is tried again");
}

#[test]
fn a_size_past_the_limit_and_a_name_of_this_machine_are_refused() {
    let server = server();
    let pod = Pod::new(download(&server.url("file"), "f", DIGEST)).set(
        "download",
        json!({ "max_bytes": 6, "allow_hosts": ["127.0.0.1"] }),
    );
    let message = pod.init()["message"].as_str().unwrap().to_owned();
    assert!(
        message.ends_with("it is larger than the 6 bytes that are allowed"),
        "{message}"
    );

    let pod = Pod::new(download(
        &format!("http://localhost:{}/file", server.port),
        "f",
        DIGEST,
    ));
    let message = pod.init()["message"].as_str().unwrap().to_owned();
    assert!(
        message.ends_with("the address of localhost is that of this machine or link-local"),
        "{message}"
    );
}

#[test]
fn composites_run_in_order_and_may_be_nested() {
    let server = server();
    let one = download(&server.url("file"), "one", DIGEST);
    let two = download(&server.url("file"), "two", DIGEST);
    let nested = json!({ "composite": { "initializer": [two, { "empty": {} }] } });
    let pod = Pod::new(json!({ "composite": { "initializer": [one, nested] } }));
    let outcome = pod.init_ok();
    let names: Vec<_> = outcome["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["name"].clone())
        .collect();
    assert_eq!(names, ["download", "download", "empty"]);
    assert_eq!(
        (pod.read("in/one"), pod.read("in/two")),
        ("content".into(), "content".into())
    );
}
