//! Refusals as they come over the wire, and what remains of them.

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
fn a_status_keeps_what_it_says_and_takes_the_pause_of_the_header() {
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
