//! Sessions as operations.

use serde_json::{Value, json};

use super::*;

fn session(status: Value) -> Session {
    serde_json::from_value(json!({"id": "s", "status": status})).unwrap()
}

fn decoded<T: Message + Default>(any: &Any, name: &str) -> T {
    assert_eq!(
        any.type_url,
        format!("type.googleapis.com/{PACKAGE}.{name}")
    );
    T::decode(any.value.clone()).unwrap()
}

fn event(operation: &Operation) -> (Happened, i64, String) {
    let metadata = operation.metadata.as_ref().unwrap();
    let metadata: TestSessionMetadata = decoded(metadata, "TestSessionMetadata");
    let event = metadata.latest_event.unwrap();
    assert_eq!(event.subject, "sessions/s");
    let time = event.time.as_ref().map_or(0, |time| time.seconds % 60);
    (event.kind(), time, event.description)
}

/// Times of which so many have come, a second apart.
fn times(count: usize) -> Value {
    let names = ["enqueued", "admitted", "running", "finished"];
    let times = names.into_iter().take(count).zip(1..);
    let times = times.map(|(name, second)| {
        let time = format!("2026-01-01T00:00:{second:02}Z");
        (name.to_owned(), json!(time))
    });
    times.collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn the_latest_event_is_that_of_the_phase() {
    for (phase, reason, count, wanted) in [
        ("QUEUED", "", 1, Happened::Queue),
        ("PROVISIONING", "", 2, Happened::Provision),
        ("RUNNING", "", 3, Happened::Run),
        ("INTERRUPTED", "NodeNotReady", 3, Happened::Run),
        ("STOPPING", "Cancelled", 1, Happened::Queue),
        ("SUCCEEDED", "", 4, Happened::Done),
        ("FAILED", "Error", 4, Happened::Error),
        ("FAILED", "Lost", 4, Happened::InternalError),
        ("CANCELLED", "Cancelled", 4, Happened::Error),
    ] {
        let status = json!({"phase": phase, "reason": reason, "times": times(count)});
        let (kind, second, description) = event(&operation(&session(status)));
        assert_eq!((kind, description.as_str()), (wanted, reason), "{phase}");
        assert_eq!(usize::try_from(second).unwrap(), count, "{phase}");
    }
}

#[test]
fn an_operation_ends_with_a_result_or_an_error_that_has_it() {
    for (phase, reason, wanted) in [
        ("SUCCEEDED", "", None),
        ("FAILED", "Error", Some(2)),
        ("FAILED", "DeadlineExceeded", Some(4)),
        ("FAILED", "Lost", Some(13)),
        ("CANCELLED", "Cancelled", Some(1)),
    ] {
        let operation = operation(&session(json!({
            "phase": phase, "reason": reason, "message": "why", "done": true,
            "result": "the end", "times": times(4),
        })));
        assert!(operation.done);
        let (code, result) = match operation.result.unwrap() {
            Ended::Response(result) => (None, result),
            Ended::Error(error) => {
                assert_eq!(error.message, "why");
                (Some(error.code), error.details[0].clone())
            }
        };
        assert_eq!(code, wanted, "{phase} {reason}");
        let result: TestSessionResult = decoded(&result, "TestSessionResult");
        assert_eq!(result.driver_logs, "the end");
        let elapsed = result.time_elapsed.unwrap();
        assert_eq!(elapsed.seconds, 2, "from the admission on");
    }
    let running = operation(&session(json!({"phase": "RUNNING", "times": times(3)})));
    assert!(!running.done && running.result.is_none());
    assert_eq!(running.name, "operations/s");
}

#[test]
fn names_are_checked() {
    assert_eq!(id("operations/s-1").unwrap(), "s-1");
    for wrong in [
        "",
        "s",
        "operations/",
        "operations/A",
        "sessions/s",
        "operations/a/b",
    ] {
        let error = id(wrong).unwrap_err().to_string();
        assert!(error.contains(&format!("name: is {wrong:?}")), "{error}");
    }
}

#[test]
fn pages_have_all_operations_once() {
    let sessions = ["b", "c", "a"].map(|id| Session {
        id: id.to_owned(),
        ..Session::default()
    });
    let mut request = ListOperationsRequest::default();
    let names = |page: &ListOperationsResponse| {
        let names = page
            .operations
            .iter()
            .map(|operation| operation.name.clone());
        names.collect::<Vec<_>>().join(" ")
    };
    let all = page(&sessions, &request).unwrap();
    assert_eq!(names(&all), "operations/a operations/b operations/c");
    assert_eq!(all.next_page_token, "");
    request.page_size = 2;
    let first = page(&sessions, &request).unwrap();
    assert_eq!(names(&first), "operations/a operations/b");
    request.page_token = first.next_page_token;
    let last = page(&sessions, &request).unwrap();
    assert_eq!(names(&last), "operations/c");
    assert_eq!(last.next_page_token, "");
    let wrong = ListOperationsRequest {
        name: "x".to_owned(),
        filter: "done=true".to_owned(),
        page_size: -1,
        ..ListOperationsRequest::default()
    };
    let error = page(&sessions, &wrong).unwrap_err().to_string();
    for part in ["name: is \"x\"", "filter: is \"done", "page_size: is -1"] {
        assert!(error.contains(part), "{error}");
    }
}

fn old(kind: Kind, image: &str) -> scheduling::Component {
    scheduling::Component {
        container_image: image.to_owned(),
        kind: kind.into(),
        pool: "p".to_owned(),
    }
}

#[test]
fn a_test_session_is_a_session_whose_driver_knows_its_workers_and_its_scenario() {
    let request = StartTestSessionRequest {
        scenario: b"\x0a\x01x".to_vec(),
        driver: Some(old(Kind::Driver, "d")),
        workers: vec![
            old(Kind::Client, "c"),
            old(Kind::Server, "s"),
            old(Kind::Client, "c"),
        ],
        ..StartTestSessionRequest::default()
    };
    let started = start(&request, "an-id".to_owned()).unwrap();
    assert_eq!(started.id, "an-id");
    let spec = started.spec.unwrap();
    let components = spec.components.iter();
    let components: Vec<_> = components
        .map(|c| (&*c.name, &*c.role, &*c.image, c.ports.len()))
        .collect();
    let wanted = [
        ("driver", "driver", "d", 0),
        ("client-1", "client", "c", 1),
        ("server-1", "server", "s", 1),
        ("client-2", "client", "c", 1),
    ];
    assert_eq!(components, wanted);
    assert_eq!(spec.components[0].env["SCENARIO_PB"], "CgF4");
    assert_eq!(spec.components[2].env["WORKER_KIND"], "server");
    let peers = spec.peers.unwrap();
    assert_eq!((&*peers.variable, peers.port), ("QPS_WORKERS", 10_000));
    assert_eq!(peers.role_order, ["server", "client"]);
}

#[test]
fn kinds_that_are_not_given_are_refused_by_component() {
    let request = StartTestSessionRequest {
        driver: Some(old(Kind::Unspecified, "d")),
        workers: vec![
            old(Kind::Unspecified, "c"),
            old(Kind::Driver, "d"),
            scheduling::Component {
                kind: 9,
                ..old(Kind::Server, "s")
            },
        ],
        ..StartTestSessionRequest::default()
    };
    let error = start(&request, "s".to_owned()).unwrap_err().to_string();
    for part in [
        "driver.kind: is UNSPECIFIED, not DRIVER",
        "workers[0].kind: is UNSPECIFIED, neither SERVER nor CLIENT",
        "workers[1].kind: is DRIVER",
        "workers[2].kind: is 9",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let none = start(&StartTestSessionRequest::default(), "s".to_owned());
    let none = none.unwrap_err().to_string();
    assert!(none.contains("driver: is missing"), "{none}");
}
