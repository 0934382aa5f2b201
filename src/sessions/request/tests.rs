//! Requests and their violations.

use serde_json::{Value, json};

use super::*;

fn rules() -> SessionRules {
    SessionRules {
        default_pools: [("driver".to_owned(), "drivers".to_owned())].into(),
        image_prefixes: vec!["example.com/".to_owned()],
        max_components: 4,
        ..SessionRules::default()
    }
}

fn valid() -> Value {
    json!({"id": "s1", "spec": {"components": [
        {"name": "driver", "role": "driver", "image": "example.com/driver:1"},
        {"name": "server", "role": "server", "image": "example.com/server:1", "pool": "big",
         "env": {"A": "1"}, "ports": [{"name": "rpc", "port": 10000}]},
    ]}})
}

fn parse(value: Value) -> Result<SessionRequest, Error> {
    SessionRequest::parse(serde_json::from_value(value).unwrap(), &rules())
}

#[test]
fn a_valid_request_is_completed_with_defaults() {
    let request = parse(valid()).unwrap();
    let spec = &request.spec;
    assert_eq!(
        (spec.queue.as_str(), spec.decider.as_str()),
        ("default", "driver")
    );
    assert_eq!(spec.components[0].pool, "drivers");
    assert_eq!(spec.deadline.as_ref().unwrap().seconds, 3_600);
    assert_eq!(request.decider().unwrap().image, "example.com/driver:1");
}

#[test]
fn the_fingerprint_is_that_of_what_was_asked_for() {
    let again = parse(valid()).unwrap();
    assert_eq!(parse(valid()).unwrap().fingerprint, again.fingerprint);
    let mut other = valid();
    other["spec"]["components"][0]["image"] = "example.com/driver:2".into();
    assert_ne!(parse(other).unwrap().fingerprint, again.fingerprint);
}

#[test]
fn an_allowed_image_is_that_image_with_any_tag_and_no_longer_name() {
    let rules = SessionRules {
        image_prefixes: vec![
            "example.com/bench".to_owned(),
            "example.com/lib/".to_owned(),
        ],
        ..rules()
    };
    for (image, is_allowed) in [
        ("example.com/bench", true),
        ("example.com/bench:1", true),
        ("example.com/bench@sha256:0", true),
        ("example.com/bench-evil", false),
        ("example.com/bench/x", false),
        ("example.com/lib/x:1", true),
        ("example.com/library/x", false),
    ] {
        let mut request = valid();
        request["spec"]["components"][0]["image"] = image.into();
        request["spec"]["components"][1]["image"] = image.into();
        let request = serde_json::from_value(request).unwrap();
        let parsed = SessionRequest::parse(request, &rules);
        assert_eq!(parsed.is_ok(), is_allowed, "{image}");
    }
}

/// Each change of a valid request has exactly one violation, of that field and with the value in it.
#[test]
fn each_fault_names_its_field_and_value() {
    for (pointer, value, field, text) in [
        ("/id", json!("A"), "id", "\"A\""),
        ("/id", json!("a".repeat(41)), "id", "40"),
        (
            "/spec/components/0/name",
            json!("x_y"),
            "spec.components[0].name",
            "x_y",
        ),
        (
            "/spec/components/1/name",
            json!("driver"),
            "spec.components[1].name",
            "not unique",
        ),
        (
            "/spec/components/1/name",
            json!("n".repeat(64)),
            "spec.components[1].name",
            "no DNS label",
        ),
        (
            "/spec/components/1/role",
            json!(""),
            "spec.components[1].role",
            "no DNS label",
        ),
        (
            "/spec/components/1/image",
            json!(""),
            "spec.components[1].image",
            "no image",
        ),
        (
            "/spec/components/1/image",
            json!("evil.com/a"),
            "spec.components[1].image",
            "evil.com/a",
        ),
        (
            "/spec/components/1/pool",
            json!(""),
            "spec.components[1].pool",
            "server",
        ),
        (
            "/spec/components/1/pool",
            json!("a b"),
            "spec.components[1].pool",
            "a b",
        ),
        (
            "/spec/components/1/env",
            json!({"=": ""}),
            "spec.components[1].env",
            "=",
        ),
        (
            "/spec/components/1/ports/0/port",
            json!(0),
            "spec.components[1].ports[0].port",
            "0",
        ),
        (
            "/spec/components/1/ports/0/port",
            json!(65_536),
            "spec.components[1].ports[0].port",
            "65536",
        ),
        (
            "/spec/components/1/ports/0/name",
            json!("123"),
            "spec.components[1].ports[0].name",
            "123",
        ),
        (
            "/spec/components/1/secrets",
            json!([{"secret": "s", "path": "a"}]),
            "spec.components[1].secrets[0].path",
            "\"a\"",
        ),
        (
            "/spec/components/0/role",
            json!("other"),
            "spec.decider",
            "0 components",
        ),
        ("/spec/decider", json!("nobody"), "spec.decider", "nobody"),
        ("/spec/queue", json!("fast"), "spec.queue", "default"),
        ("/spec/priority", json!(1_001), "spec.priority", "1001"),
        ("/spec/deadline", json!("0s"), "spec.deadline", "1 s"),
        ("/spec/deadline", json!("-5s"), "spec.deadline", "-5"),
        ("/spec/ttl", json!("9999999s"), "spec.ttl", "9999999"),
        ("/spec/labels", json!({"a/b": "c"}), "spec.labels", "a/b"),
        (
            "/spec/peers",
            json!({"variable": "1 b"}),
            "spec.peers.variable",
            "1 b",
        ),
        (
            "/spec/peers",
            json!({"port": 70_000}),
            "spec.peers.port",
            "70000",
        ),
        (
            "/spec/deadline",
            json!("0s"),
            "spec.deadline",
            "not from 1 s",
        ),
        ("/spec/deadline", json!("-5s"), "spec.deadline", "is -5."),
        ("/spec/ttl", json!("0s"), "spec.ttl", "not from 1 s"),
        ("/spec/ttl", json!("604801s"), "spec.ttl", "to 604800 s"),
        (
            "/spec/peers",
            json!({"file": "peers"}),
            "spec.peers.file",
            "\"peers\"",
        ),
        (
            "/spec/peers",
            json!({"file": "/etc/"}),
            "spec.peers.file",
            "/etc/",
        ),
        (
            "/spec/peers",
            json!({"role_order": ["a", "a"]}),
            "spec.peers.role_order[1]",
            "not unique",
        ),
        (
            "/spec/peers",
            json!({"role_order": ["A"]}),
            "spec.peers.role_order[0]",
            "\"A\"",
        ),
        (
            "/spec/components/0/env",
            json!({"WSMAN_PEERS": "x"}),
            "spec.components[0].env",
            "WSMAN_PEERS",
        ),
        (
            "/spec/components/1/env",
            json!({"A": "a\0"}),
            "spec.components[1].env",
            "\"A\" has a NUL",
        ),
        (
            "/spec/components/1/annotations",
            json!({"wsman.dev/stop": "x"}),
            "spec.components[1].annotations",
            "wsman.dev/ is reserved",
        ),
        (
            "/spec/components/1/annotations",
            json!({"kubernetes.io/x": "x"}),
            "spec.components[1].annotations",
            "kubernetes.io/ is reserved",
        ),
        (
            "/spec/components/1/annotations",
            json!({"a b": "x"}),
            "spec.components[1].annotations",
            "a b",
        ),
        (
            "/spec/components/1/annotations",
            json!({"a": "x".repeat(50_000)}),
            "spec.components[1].annotations",
            "50001 bytes",
        ),
        (
            "/spec/components/1/requests",
            json!({"cpu": "two"}),
            "spec.components[1].requests",
            "two",
        ),
        (
            "/spec/components/1/requests",
            json!({"cpu": "-1"}),
            "spec.components[1].requests",
            "-1",
        ),
        (
            "/spec/components/1/requests",
            json!({"c p u": "1"}),
            "spec.components[1].requests",
            "c p u",
        ),
        (
            "/spec/components/1/ports",
            json!([{"name": "a", "port": 1}, {"name": "b", "port": 1}]),
            "spec.components[1].ports[1].port",
            "1 is not unique",
        ),
        (
            "/spec/components/1/secrets",
            json!([{"secret": "a", "path": "/a"}, {"secret": "b", "path": "/a"}]),
            "spec.components[1].secrets[1].path",
            "/a",
        ),
        (
            "/spec/components",
            json!([]),
            "spec.components",
            "at least one",
        ),
    ] {
        let mut request = valid();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = request.pointer_mut(parent).unwrap();
        match key.parse::<usize>() {
            Ok(at) => parent[at] = value.clone(),
            Err(_) => parent[key] = value.clone(),
        }
        let Err(Error::Invalid { violations, .. }) = parse(request) else {
            panic!("{pointer} = {value} is valid");
        };
        let of_field = violations.iter().find(|violation| violation.field == field);
        let why = &of_field
            .unwrap_or_else(|| panic!("{pointer} = {value}: {violations:?}"))
            .why;
        assert!(why.contains(text), "{pointer} = {value}: {why}");
    }
}

/// JSON has enums by name, gRPC by number.
#[test]
fn numbers_that_are_of_no_enum_are_refused() {
    let mut request: StartSessionRequest = serde_json::from_value(valid()).unwrap();
    request.dry_run = 7;
    request.spec.as_mut().unwrap().engine = 9;
    let error = SessionRequest::parse(request, &rules()).unwrap_err();
    let wanted = "invalid request: dry_run: 7 is no DryRun; spec.engine: 9 is no Engine";
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn what_is_not_served_yet_is_refused_by_name() {
    let mut request = valid();
    request["spec"]["engine"] = "KUEUE".into();
    request["spec"]["requeue"] = true.into();
    let error = parse(request).unwrap_err();
    let wanted = "invalid request: spec.engine: KUEUE is not served yet; spec.requeue: true is not served yet";
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn a_session_has_few_labels() {
    let mut request = valid();
    let labels = (0..33).map(|n| (format!("l{n}"), json!("x")));
    request["spec"]["labels"] = labels.collect::<serde_json::Map<_, _>>().into();
    let error = parse(request).unwrap_err().to_string();
    assert!(
        error.contains("spec.labels: has 33 labels; at most 32"),
        "{error}"
    );
}

#[test]
fn all_faults_are_listed_at_once() {
    let mut request = valid();
    request["id"] = "".into();
    request["spec"]["priority"] = 5_000.into();
    request["spec"]["components"][1]["image"] = "".into();
    let Err(Error::Invalid { violations, .. }) = parse(request) else {
        panic!("it is valid");
    };
    let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["id", "spec.components[1].image", "spec.priority"]);
}

#[test]
fn too_many_components_are_refused_with_the_limit() {
    let mut request = valid();
    let server = request["spec"]["components"][1].clone();
    let components = request["spec"]["components"].as_array_mut().unwrap();
    components.extend((0..8).map(|n| {
        let mut server = server.clone();
        server["name"] = format!("s{n}").into();
        server
    }));
    let error = parse(request).unwrap_err();
    assert!(
        error.to_string().contains("10 components; at most 4"),
        "{error}"
    );
}
