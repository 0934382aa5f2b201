//! Logs: what is selected, where it is, and what becomes of text, however it is cut.

use serde_json::{Value, json};

use super::*;

fn texts(messages: &[LogsResponse]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| message.text.as_str())
        .collect()
}

fn positions(messages: &[LogsResponse]) -> Vec<(i32, u32)> {
    let positions = messages
        .iter()
        .map(|message| message.position.as_ref().unwrap());
    positions
        .map(|at| (at.time.as_ref().unwrap().nanos, at.ordinal))
        .collect()
}

/// Reads a whole text, which comes in pieces of a size.
fn all(messages: &mut Messages, text: &[u8], size: usize) -> Vec<LogsResponse> {
    messages.read_from();
    let mut found = Vec::new();
    for piece in text.chunks(size) {
        messages.push(piece);
        found.extend(std::iter::from_fn(|| messages.take()));
    }
    found.extend(messages.finish());
    found
}

fn whole(text: &[u8], from: ReadFrom) -> Vec<LogsResponse> {
    all(&mut Messages::new("c", from), text, usize::MAX)
}

const THREE: &[u8] = b"2026-01-01T00:00:00.000000001Z one\n\
    2026-01-01T00:00:00.000000001Z two\n\
    2026-01-01T00:00:00.000000002Z \n";

fn at(nanos: i32) -> Timestamp {
    let base: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Timestamp::new(base.as_second(), nanos).unwrap()
}

#[test]
fn lines_have_times_and_ordinals() {
    let messages = whole(THREE, ReadFrom::default());
    assert_eq!(texts(&messages), ["one", "two", ""]);
    assert_eq!(positions(&messages), [(1, 0), (1, 1), (2, 0)]);
    assert!(
        messages
            .iter()
            .all(|message| !message.truncated && !message.gap)
    );
}

#[test]
fn what_continues_after_any_position_has_neither_gap_nor_repeat() {
    let complete = whole(THREE, ReadFrom::default());
    for (known, message) in complete.iter().enumerate() {
        let position = message.position.as_ref().unwrap();
        let time = read(position.time.as_ref().unwrap()).unwrap();
        let rest = whole(THREE, ReadFrom::after(time, position.ordinal));
        assert_eq!(rest, complete[known + 1..]);
    }
}

#[test]
fn it_continues_by_itself_wherever_a_read_breaks_off() {
    let complete = whole(THREE, ReadFrom::default());
    for length in 0..=THREE.len() {
        let mut messages = Messages::new("c", ReadFrom::default());
        messages.read_from();
        messages.push(&THREE[..length]);
        let mut found: Vec<_> = std::iter::from_fn(|| messages.take()).collect();
        found.extend(all(&mut messages, THREE, usize::MAX));
        assert_eq!(found, complete, "cut after {length} bytes");
    }
}

#[test]
fn a_position_that_is_gone_leaves_one_gap() {
    let messages = whole(THREE, ReadFrom::after(at(0), 3));
    let gaps: Vec<bool> = messages.iter().map(|message| message.gap).collect();
    assert_eq!(gaps, [true, false, false]);
    // A time that was asked for promises no line.
    assert!(
        whole(THREE, ReadFrom::time(at(0)))
            .iter()
            .all(|message| !message.gap)
    );
}

#[test]
fn a_time_selects_the_lines_from_then_on() {
    assert_eq!(texts(&whole(THREE, ReadFrom::time(at(2)))), [""]);
    let second: Timestamp = "2026-01-01T00:00:01Z".parse().unwrap();
    assert_eq!(ReadFrom::time(second).since(), Some(at(0)));
}

#[test]
fn a_long_line_is_split_the_same_way_however_it_comes() {
    // Each character has two bytes, and the first stands alone: no piece ends inside of one.
    let line = format!("x{}", "ä".repeat(LONGEST));
    let text =
        format!("2026-01-01T00:00:00.000000001Z {line}\n2026-01-01T00:00:00.000000001Z end\n");
    let complete = whole(text.as_bytes(), ReadFrom::default());
    let truncated: Vec<bool> = complete.iter().map(|message| message.truncated).collect();
    assert_eq!(truncated, [true, true, false, false]);
    assert_eq!(texts(&complete)[..3].concat(), line);
    assert_eq!(positions(&complete), [(1, 0), (1, 1), (1, 2), (1, 3)]);
    for size in [1021, LONGEST, LONGEST + 1] {
        let mut messages = Messages::new("c", ReadFrom::default());
        assert_eq!(
            all(&mut messages, text.as_bytes(), size),
            complete,
            "{size}"
        );
    }
    let rest = whole(text.as_bytes(), ReadFrom::after(at(1), 0));
    assert_eq!(rest, complete[1..], "it continues inside of a line");
}

#[test]
fn a_line_of_the_longest_length_is_whole() {
    for (more, pieces) in [(0, 1), (1, 2)] {
        let line = "x".repeat(LONGEST + more);
        let text = format!("2026-01-01T00:00:00Z {line}\n");
        assert_eq!(whole(text.as_bytes(), ReadFrom::default()).len(), pieces);
    }
}

#[test]
fn streams_of_a_container_that_overtake_each_other_keep_their_order() {
    let text = b"2026-01-01T00:00:00.000000002Z a\n2026-01-01T00:00:00.000000001Z b\n";
    let messages = whole(text, ReadFrom::default());
    assert_eq!(texts(&messages), ["a", "b"]);
    assert_eq!(positions(&messages), [(2, 0), (2, 1)]);
    assert_eq!(texts(&whole(text, ReadFrom::after(at(2), 0))), ["b"]);
}

#[test]
fn what_has_no_time_or_is_no_text_is_shown() {
    let text =
        b"unable to retrieve container logs for x\n2026-01-01T00:00:00.000000001Z \xff\nrest";
    let messages = whole(text, ReadFrom::default());
    let wanted = [
        "unable to retrieve container logs for x",
        "\u{fffd}",
        "rest",
    ];
    assert_eq!(texts(&messages), wanted);
    assert_eq!(positions(&messages), [(0, 0), (1, 0), (1, 1)]);
}

#[test]
fn the_first_time_is_counted() {
    let mut first = FirstTime::default();
    let counted: Vec<bool> = whole(THREE, ReadFrom::default())
        .iter()
        .map(|message| first.count(message))
        .collect();
    assert_eq!(counted, [true, true, false]);
    assert_eq!((first.time, first.count), (Some(at(1)), 2));
}

fn spec() -> SessionSpec {
    let spec = json!({"components": [{"name": "driver"}, {"name": "server"}]});
    serde_json::from_value(spec).unwrap()
}

fn request(value: Value) -> Result<Vec<Selected>, Error> {
    select(&serde_json::from_value(value).unwrap(), &spec())
}

#[test]
fn all_components_are_selected_or_those_that_are_named() {
    let names = |value| -> Vec<String> {
        let selected = request(value).unwrap();
        selected
            .into_iter()
            .map(|selected| selected.component)
            .collect()
    };
    assert_eq!(names(json!({})), ["driver", "server"]);
    assert_eq!(names(json!({"components": ["server"]})), ["server"]);
}

#[test]
fn a_position_counts_more_than_a_time_before_it_and_than_a_tail() {
    let after = |since: &str| {
        let selected = request(json!({
            "since": since, "tail": 5,
            "after": [{"component": "driver", "time": "2026-01-01T00:00:01Z", "ordinal": 2}],
        }));
        selected.unwrap()
    };
    let time = "2026-01-01T00:00:01Z".parse().unwrap();
    let selected = after("2026-01-01T00:00:00Z");
    assert_eq!(
        (selected[0].from, selected[0].tail),
        (ReadFrom::after(time, 2), None)
    );
    assert_eq!(
        (selected[1].from, selected[1].tail),
        (ReadFrom::time(at(0)), Some(5))
    );
    let later = "2026-01-01T00:00:02Z";
    assert_eq!(after(later)[0].from, ReadFrom::time(later.parse().unwrap()));
}

#[test]
fn each_fault_of_a_request_names_its_field() {
    let position = json!({"component": "driver", "time": "2026-01-01T00:00:00Z"});
    for (value, field) in [
        (json!({"components": ["driver", "driver"]}), "components[1]"),
        (json!({"after": [{"component": "driver"}]}), "after[0].time"),
        (json!({"after": [position, position]}), "after[1].component"),
        (
            json!({"components": ["server"], "after": [position]}),
            "after[0].component",
        ),
    ] {
        let Err(Error::Invalid { violations, .. }) = request(value.clone()) else {
            panic!("{value} is valid")
        };
        let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, [field], "{value}");
    }
    let nanos = LogsRequest {
        since: Some(pbjson_types::Timestamp {
            seconds: 0,
            nanos: -1_500_000_000,
        }),
        ..LogsRequest::default()
    };
    assert!(matches!(
        select(&nanos, &spec()),
        Err(Error::Invalid { .. })
    ));
    let missing = request(json!({"components": ["x"]})).unwrap_err();
    assert_eq!(missing.reason(), "COMPONENT_NOT_FOUND");
    assert!(
        missing.to_string().contains("there is driver, server"),
        "{missing}"
    );
}

#[test]
fn a_log_is_where_its_container_runs_or_ran() {
    let place_of = |component: Value, done: bool| {
        let status = json!({"components": [component], "done": done});
        let status: SessionStatus = serde_json::from_value(status).unwrap();
        match place(&status, "c") {
            Place::NotYet => "not yet",
            Place::Nowhere => "nowhere",
            Place::Running("p") => "running",
            Place::Ended("p") => "ended",
            other => panic!("{other:?}"),
        }
    };
    let with = |more: Value| {
        let mut component = json!({"name": "c", "pod": "p"});
        json_patch::merge(&mut component, &more);
        component
    };
    let time = "2026-01-01T00:00:00Z";
    for (component, done, wanted) in [
        (json!({"name": "other"}), false, "not yet"),
        (json!({"name": "other"}), true, "nowhere"),
        (with(json!({"health": "WAITING"})), false, "not yet"),
        (with(json!({"health": "BROKEN"})), false, "nowhere"),
        (with(json!({"health": "WAITING"})), true, "nowhere"),
        (
            with(json!({"health": "READY", "started": time})),
            false,
            "running",
        ),
        (
            with(json!({"health": "ENDING", "started": time})),
            true,
            "running",
        ),
        (
            with(json!({"health": "BROKEN", "started": time})),
            false,
            "running",
        ),
        (
            with(json!({"health": "BROKEN", "started": time})),
            true,
            "ended",
        ),
        (
            with(json!({"health": "READY", "started": time, "finished": time})),
            false,
            "ended",
        ),
    ] {
        assert_eq!(
            place_of(component.clone(), done),
            wanted,
            "{component} {done}"
        );
    }
}
