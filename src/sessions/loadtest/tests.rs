//! LoadTests become requests that are valid, or every field that cannot.

use serde_json::{Value, json};

use super::convert;
use crate::proto::named;
use crate::sessions::request::SessionRequest;
use crate::sessions::rules::{QueueRules, SessionRules};

#[test]
fn loadtests_are_converted_or_refused_by_field() {
    crate::golden::check_whole("loadtest", |test| match convert(test) {
        Ok(request) => {
            let name = "wsman.sessions.v1.StartSessionRequest";
            ("CONVERTED".to_owned(), named::encode(name, &request))
        }
        Err(faults) => {
            let line =
                |fault: &crate::error::FieldViolation| format!("{}: {}", fault.field, fault.why);
            let lines: Vec<_> = faults.iter().map(line).collect();
            ("REFUSED".to_owned(), json!(lines))
        }
    });
}

#[test]
fn what_is_converted_can_be_started() {
    let mut rules = SessionRules::default();
    rules
        .queues
        .insert("workers-8core".to_owned(), QueueRules::default());
    for role in ["driver", "server", "client"] {
        rules
            .default_pools
            .insert(role.to_owned(), "machines".to_owned());
    }
    let mut converted = 0;
    for (name, test) in crate::golden::cases("loadtest") {
        if let Ok(request) = convert(&test) {
            SessionRequest::parse(request, &rules)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            converted += 1;
        }
    }
    assert!(converted >= 3, "{converted}");
}

#[test]
fn what_is_no_object_is_refused() {
    for test in [Value::Null, json!([]), json!("LoadTest")] {
        assert!(!convert(&test).unwrap_err().is_empty(), "{test}");
    }
}
