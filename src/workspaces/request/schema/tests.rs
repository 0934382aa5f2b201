//! The schema agrees with the readers and the validation: for every case in testdata/request, and for every field with
//! many values.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::Validator;
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::*;
use crate::cli::render;
use crate::config::Manager;
use crate::golden;
use crate::workspaces::request::parse;

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = jsonschema::draft202012::new(&schema());
    schema.expect("the schema compiles")
});

/// Cases that the schema accepts although they are rejected, and why.
const ACCEPTED: [(&str, &str); 5] = [
    ("deep_initializer_INVALID", "a schema does not count levels"),
    (
        "prefix_too_long_for_services_INVALID",
        "the configuration decides whether there are Services",
    ),
    (
        "secrets_too_long_INVALID",
        "a schema does not add up lengths",
    ),
    ("unknown_class_INVALID", "the configuration has the classes"),
    (
        "volume_without_size_INVALID",
        "the configuration has the sizes of volumes",
    ),
];

/// Rules that a schema cannot express: a part of the violation's text, and why. The test meets each of them.
const BEYOND: [(&str, &str); 10] = [
    (
        "invalid request: id: cannot be blank.",
        "is for `wsman client start`, too, which makes an id",
    ),
    ("is not unique", "does not compare the ports of a list"),
    (
        "no class of this cluster",
        "does not know the configuration",
    ),
    (
        "at most 54 of them",
        "does not know whether the configuration has Services",
    ),
    ("is \"9999999h\"", "does not add up numbers with units"),
    ("floating point `1.0`", "takes 1.0 for a whole number"),
    (
        "any variant of untagged enum",
        "takes 1.0 for a whole number",
    ),
    ("input is out of range", "does not know the days of a month"),
    ("data that is no key of this type", "does not decode keys"),
    (
        "duplicate field `snapshot`",
        "does not know which field of a oneof comes first, and one may be null",
    ),
];

fn manager() -> Manager {
    golden::settings(&Value::Null, &Value::Null)
        .unwrap()
        .manager
}

/// Returns why a request is rejected, if it is.
fn fault(request: &Value, manager: &Manager) -> Option<String> {
    match render::decode(&request.to_string()) {
        Ok(request) => parse(request, manager).err().map(|error| error.to_string()),
        Err(why) => Some(why),
    }
}

/// The request of a case as in a file.
fn request(case: &Value) -> Value {
    let mut request = case["request"].clone();
    for (field, number) in case["numbers"].as_object().into_iter().flatten() {
        let target = match field.as_str() {
            "type" => &mut request["type"],
            "feature_flag" => {
                request["spec"]["featureFlags"] = json!([number]);
                continue;
            }
            "visibility" | "protocol" => &mut request["spec"]["ports"][0][field],
            field => &mut request["spec"][field],
        };
        *target = number.clone();
    }
    let long = case["long"].as_object().into_iter().flatten();
    let variables = long.map(|(name, bytes)| {
        let bytes = usize::try_from(bytes.as_u64().unwrap()).unwrap();
        json!({ "name": name, "value": "x".repeat(bytes) })
    });
    let variables: Vec<Value> = variables.collect();
    if !variables.is_empty() {
        request["spec"]["envvars"] = variables.into();
    }
    request
}

#[test]
fn it_is_a_schema_that_describes_every_message() {
    let schema = schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        assert!(definition["description"].is_string(), "{name}");
    }
    let example = &schema["examples"][0];
    let mut whole = example.clone();
    whole["id"] = json!("4f1c2d6e-example");
    for request in [example, &whole] {
        assert!(SCHEMA.is_valid(request));
    }
    assert_eq!(fault(&whole, &manager()), None);
}

#[test]
fn cases_are_judged_alike() {
    let file = std::fs::read_to_string(golden::root().join("testdata/example-wsspec.json"));
    let example: Value = serde_json::from_str(&file.unwrap()).unwrap();
    assert!(SCHEMA.is_valid(&example));
    let mut accepted = BTreeSet::new();
    for (name, case) in golden::cases("request") {
        match (SCHEMA.is_valid(&request(&case)), name.ends_with("_VALID")) {
            (true, false) => _ = accepted.insert(name),
            (accepted, valid) => assert_eq!(accepted, valid, "{name}"),
        }
    }
    let known = ACCEPTED.map(|(name, _)| name.to_owned());
    assert_eq!(accepted, BTreeSet::from(known));
    // The schema also accepts the requests of pods.
    for (name, case) in golden::cases("pod") {
        assert!(SCHEMA.is_valid(&case["request"]), "pod/{name}");
    }
}

#[test]
fn every_field_is_judged_alike() {
    let manager = manager();
    let mut met = BTreeSet::new();
    let mut wrong = Vec::new();
    for (base, part) in bases().into_iter().zip(["", "/spec/initializer"]) {
        assert_eq!(fault(&base, &manager), None);
        let pointers = pointers(&base).into_iter();
        for pointer in pointers.filter(|pointer| pointer.starts_with(part)) {
            let with = |value: &Value| {
                let mut request = base.clone();
                *request.pointer_mut(&pointer).unwrap() = value.clone();
                request
            };
            // A field that accepts any text is not tested with all of them.
            let is_free = SCHEMA.is_valid(&with(&json!("\0")));
            let texts = if is_free { Vec::new() } else { texts() };
            for value in texts.into_iter().chain(values()) {
                let request = with(&value);
                match (SCHEMA.is_valid(&request), fault(&request, &manager)) {
                    (true, None) | (false, Some(_)) => {}
                    (false, None) => wrong.push(format!("{pointer} = {value} is refused")),
                    (true, Some(why)) => match BEYOND.iter().find(|(part, _)| why.contains(part)) {
                        Some((part, _)) => _ = met.insert(*part),
                        None => wrong.push(format!("{pointer} = {value} is accepted: {why}")),
                    },
                }
            }
        }
    }
    for (part, why) in BEYOND {
        assert!(met.contains(part), "{part:?} is not met; a schema {why}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn either_spelling_is_accepted_and_no_other_name() {
    let manager = manager();
    let schema = schema();
    let mut seen = BTreeSet::new();
    for base in bases() {
        let message = method::message("wsman.StartWorkspaceRequest").unwrap();
        let other = respell(&base, &message, &mut seen);
        assert_ne!(other, base);
        assert!(SCHEMA.is_valid(&other), "{other:#}");
        assert_eq!(fault(&other, &manager), None);
        for pointer in pointers(&base) {
            let mut unknown = base.clone();
            let object = unknown.pointer_mut(&pointer).and_then(Value::as_object_mut);
            let is_map = pointer.ends_with("/annotations") || pointer.ends_with("/customConfig");
            let Some(object) = object.filter(|_| !is_map) else {
                continue;
            };
            object.insert("unknown".to_owned(), json!(""));
            assert!(!SCHEMA.is_valid(&unknown), "{pointer}");
            assert!(fault(&unknown, &manager).is_some(), "{pointer}");
        }
    }
    // So the requests above have every field.
    for (message, definition) in schema["$defs"].as_object().unwrap() {
        for name in definition["properties"].as_object().into_iter().flatten() {
            assert!(seen.contains(name.0), "{message}.{}", name.0);
        }
    }
    let both = json!({ "servicePrefix": "a", "service_prefix": "a" });
    let mut request = bases().remove(0);
    json_patch::merge(&mut request, &both);
    assert!(!SCHEMA.is_valid(&request));
    assert!(fault(&request, &manager).is_some());
}

/// Returns a message with the names of the proto file, and records all names.
fn respell(value: &Value, message: &MessageDescriptor, seen: &mut BTreeSet<String>) -> Value {
    let mut other = Map::new();
    for (name, value) in value.as_object().unwrap() {
        let field = message.get_field_by_json_name(name).unwrap();
        seen.extend([field.name().to_owned(), name.clone()]);
        let mut inside = |value: &Value| match field.kind() {
            Kind::Message(kind) if value.is_object() && !field.is_map() => {
                respell(value, &kind, seen)
            }
            _ => value.clone(),
        };
        let value = match value {
            Value::Array(items) => items.iter().map(inside).collect(),
            value => inside(value),
        };
        other.insert(field.name().to_owned(), value);
    }
    other.into()
}

/// The paths of all values in a value.
fn pointers(value: &Value) -> Vec<String> {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(at, value)| (at.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    let inside = members.into_iter().flat_map(|(name, value)| {
        let below = pointers(value).into_iter();
        below.map(move |pointer| format!("/{name}{pointer}"))
    });
    std::iter::once(String::new()).chain(inside).collect()
}

fn bases() -> Vec<Value> {
    let digest = format!("a/b:1@sha256:{}", "0a".repeat(32));
    let key =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkhwSFl5uHX+RKdMvZwICCuQYdOLDd3T87WZ0zuLI1w ada";
    let git = json!({
        "remoteUri": "https://example.com/r.git",
        "upstreamRemoteUri": "",
        "targetMode": "REMOTE_BRANCH",
        "cloneTaget": "main",
        "checkoutLocation": "r",
        "config": {
            "customConfig": { "a": "b" },
            "authentication": "BASIC_AUTH",
            "authUser": "u",
            "authPassword": "p",
            "authOts": "",
        },
        "fullClone": true,
    });
    let base = json!({
        "id": "a",
        "servicePrefix": "b",
        "type": "REGULAR",
        "metadata": {
            "owner": "ada",
            "metaId": "m",
            "startedAt": "2026-01-01T00:00:00Z",
            "annotations": { "purpose": "test" },
            "team": "t",
            "project": "p",
            "metrics": { "image": { "totalSize": "9", "workspaceImageSize": 9 } },
        },
        "spec": {
            "workspaceImage": digest,
            "deprecatedIdeImage": "a",
            "featureFlags": ["SSH_CA"],
            "initializer": { "git": git },
            "ports": [{ "port": 8080, "target": 80, "visibility": "PORT_VISIBILITY_PUBLIC", "url": "", "protocol": 1 }],
            "envvars": [{ "name": "A", "value": "", "secret": { "secretName": "s", "key": "k" } }],
            "sysEnvvars": [{ "name": "B", "value": "1", "secret": null }],
            "workspaceLocation": "/workspace",
            "git": { "username": "u", "email": "u@example.com" },
            "timeout": "30m",
            "admission": "ADMIT_EVERYONE",
            "ideImage": { "webRef": "w", "desktopRef": "", "supervisorRef": "s", "desktopPluginRef": "" },
            "class": "large",
            "volumeSnapshot": { "volumeSnapshotName": "n", "volumeSnapshotHandle": "h" },
            "sshPublicKeys": [key],
            "ideImageLayers": ["l"],
            "closedTimeout": "0",
            "maximumLifetime": "36h",
        },
    });
    let mut other = base.clone();
    let file = json!({ "url": "u", "filePath": "f", "digest": "d" });
    other["spec"]["initializer"] = json!({ "composite": { "initializer": [
        { "empty": {} },
        { "snapshot": { "snapshot": "o@b", "fromVolumeSnapshot": false } },
        { "prebuild": { "prebuild": { "snapshot": "o@b" }, "git": [git] } },
        { "download": { "files": [file], "targetLocation": "t" } },
        { "backup": { "checkoutLocation": "c", "fromVolumeSnapshot": false } },
    ] } });
    vec![base, other]
}

const TEXTS: [&str; 45] = [
    "",
    " ",
    "x",
    "X",
    "-x",
    "x-",
    "x_y",
    "..",
    ".x",
    "a/b",
    "a=b",
    "1A",
    "a\nb",
    "\u{85}",
    "\u{e9}",
    "0",
    "-1",
    "+5",
    "007",
    "1.0",
    "65535",
    "65536",
    "22999",
    "023000",
    "99999999999999999999",
    "-9223372036854775808",
    "30m",
    "soon",
    "-5m",
    "8",
    "-0s",
    "9999999h",
    "2026-01-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-01-01 00:00:00.5+01:00",
    "2026-01-01",
    "u:p@host/a",
    "a@sha256:0",
    "a@b@sha256:0",
    "PREBUILD",
    "REMOTE_HEAD",
    "NOOP",
    "default",
    "ssh-rsa AAAA",
    "x AAAA\n",
];

/// Values of all types.
fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(4),
        json!(8),
        json!(-1),
        json!(1.0),
        json!(22999),
        json!(65536),
        json!(4_294_967_296_u64),
        json!(u64::MAX),
        json!([]),
        json!({}),
        json!([null]),
        json!([1]),
        json!([{}]),
        json!(["x"]),
        json!({ "x": "y" }),
        json!({ "x": 1 }),
        json!({ "a/b": "y" }),
        json!([{ "port": 1 }, { "port": 1 }]),
        json!([{ "port": 1 }, { "port": "2" }]),
        json!([{ "name": "", "secret": {} }]),
        json!([{ "name": "x", "secret": {} }]),
        json!([{ "name": "x", "value": "y", "secret": {} }]),
        json!({ "empty": {} }),
        json!({ "empty": {}, "snapshot": {} }),
        json!({ "empty": {}, "snapshot": null }),
        json!({ "empty": null, "snapshot": {} }),
        json!({ "git": {} }),
        json!({ "git": { "config": {} } }),
        json!({ "git": { "config": null } }),
    ]
}

fn texts() -> Vec<Value> {
    let long = [54, 55, 60, 61, 63, 64, 253, 254, 1024, 1025, 4096, 4097];
    let long = long.map(|length| json!("x".repeat(length)));
    TEXTS.iter().map(|text| json!(text)).chain(long).collect()
}
