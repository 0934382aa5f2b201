//! Error responses on the wire, and what remains of them.

use http::HeaderValue;

use super::*;

fn read(code: u16, headers: &[(&'static str, &str)], body: &str) -> Status {
    let headers = headers.iter().map(|(name, value)| {
        let value = HeaderValue::from_str(value).unwrap();
        (http::HeaderName::from_static(name), value)
    });
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    status(code, &headers.collect(), body.as_bytes(), now)
}

fn pause(status: &Status) -> u32 {
    let details = status.details.as_ref();
    details.map_or(0, |details| details.retry_after_seconds)
}

#[test]
fn a_status_keeps_its_content_and_takes_the_pause_of_the_header() {
    let body = r#"{"kind":"Status","status":"Failure","message":"slow down","reason":"TooManyRequests","code":429}"#;
    let read = read(429, &[("retry-after", "7")], body);
    assert_eq!(
        (read.message.as_str(), read.reason.as_str(), read.code),
        ("slow down", "TooManyRequests", 429)
    );
    assert_eq!(pause(&read), 7);
}

#[test]
fn the_longer_pause_counts() {
    let body = r#"{"message":"slow down","code":429,"details":{"retryAfterSeconds":9}}"#;
    assert_eq!(pause(&read(429, &[("retry-after", "7")], body)), 9);
    assert_eq!(pause(&read(429, &[("retry-after", "11")], body)), 11);
}

#[test]
fn a_text_becomes_the_message_with_its_code() {
    for (code, body, message) in [
        (
            429,
            "Too many requests, please try again later.\n",
            "the answer is 429 Too Many Requests: Too many requests, please try again later.",
        ),
        (
            502,
            "\n  <html>\n<h1>Bad</h1>",
            "the answer is 502 Bad Gateway: <html>",
        ),
        (503, "", "the answer is 503 Service Unavailable"),
        (404, "{}", "the answer is 404 Not Found: {}"),
        (599, "[1]", "the answer is 599: [1]"),
    ] {
        let read = read(code, &[], body);
        assert_eq!((read.message.as_str(), read.code), (message, code));
    }
}

#[test]
fn a_date_counts_from_the_date_of_the_answer_or_else_from_now() {
    let date = "Thu, 01 Jan 2026 00:01:00 GMT";
    assert_eq!(pause(&read(429, &[("retry-after", date)], "")), 60);
    let answered = ("date", "Thu, 01 Jan 2026 00:00:50 GMT");
    assert_eq!(
        pause(&read(429, &[("retry-after", date), answered], "")),
        10
    );
    let answered = ("date", "Thu, 01 Jan 2026 00:02:00 GMT");
    assert_eq!(pause(&read(429, &[("retry-after", date), answered], "")), 0);
    for odd in ["soon", "-1", "1.5", ""] {
        assert_eq!(pause(&read(429, &[("retry-after", odd)], "")), 0, "{odd}");
    }
}

/// Returns why a kubeconfig with the credential plugin `exec` cannot be used.
async fn refused(exec: serde_json::Value) -> String {
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": { "server": "http://127.0.0.1:1" } }],
        "users": [{ "name": "u", "user": { "exec": exec } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    let source = crate::cluster::connect::Source::Kubeconfig(&path);
    let connected = crate::cluster::connect::connect(source, "test").await;
    format!("{:#}", connected.err().unwrap())
}

#[tokio::test]
async fn a_credential_plugin_that_is_missing_is_named_with_its_hint() {
    let api = "client.authentication.k8s.io/v1";
    let error = refused(serde_json::json!({
        "apiVersion": api, "command": "no-such-plugin", "installHint": "brew install no-such-plugin\n",
        "interactiveMode": "Never",
    }));
    assert_eq!(
        error.await,
        "the credential plugin \"no-such-plugin\" of the kubeconfig (exec.command) was not found; \
         its hint: brew install no-such-plugin"
    );
    let error = refused(serde_json::json!({
        "apiVersion": api, "command": "/no/such/plugin", "interactiveMode": "Never",
    }));
    assert_eq!(
        error.await,
        "the credential plugin \"/no/such/plugin\" of the kubeconfig (exec.command) was not found"
    );
}

#[tokio::test]
async fn a_credential_plugin_that_fails_is_named_without_what_may_be_a_token() {
    let script = "echo planted-token; echo 'session expired, log in again' >&2; exit 3";
    let error = refused(serde_json::json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
        "interactiveMode": "Never",
    }));
    assert_eq!(
        error.await,
        "the credential plugin \"sh\" of the kubeconfig (exec.command) ended with exit status: 3: \
         session expired, log in again"
    );
}
