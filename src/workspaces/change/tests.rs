//! Cases in testdata/change: from a call and a workspace as read to the writes, or to an error.

use serde_json::{Map, Value, json};

use super::*;
use crate::action::{Mark, PodChange};
use crate::golden::{self, Case};
use crate::proto::wsman::{PortSpec, SshPublicKeys};
use crate::workspaces::marks::annotation;
use crate::workspaces::services;

/// A key with a comment of this many bytes.
fn key(size: usize) -> String {
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkhwSFl5uHX+RKdMvZwICCuQYdOLDd3T87WZ0zuLI1w";
    format!("{KEY} {}", "k".repeat(size))
}

/// A case has a call and its request, enum numbers that proto3 JSON rejects, and sizes of keys; and of the workspace
/// its marks, its ports or their number, and its phase.
fn answer(mut case: Case) -> (String, Value) {
    let settings = golden::settings(&case.take("config"), &Value::Null);
    let manager = settings.expect("the configuration is valid").manager;
    let request = case.take("request");
    let (numbers, key_sizes) = (case.take("numbers"), case.take("key_sizes"));
    let change = match case.take("call").as_str().unwrap() {
        "SetTimeout" => {
            let mut request: SetTimeoutRequest = serde_json::from_value(request).unwrap();
            number(&numbers, "type", &mut request.r#type);
            Change::timeout(request)
        }
        "ControlAdmission" => {
            let mut request: ControlAdmissionRequest = serde_json::from_value(request).unwrap();
            number(&numbers, "level", &mut request.level);
            Change::admission(request)
        }
        "ControlPort" => {
            let mut request: ControlPortRequest = serde_json::from_value(request).unwrap();
            if let Some(spec) = &mut request.spec {
                number(&numbers, "visibility", &mut spec.visibility);
                number(&numbers, "protocol", &mut spec.protocol);
            }
            Change::port(request)
        }
        "UpdateSSHKey" => {
            let mut request: UpdateSshKeyRequest = serde_json::from_value(request).unwrap();
            let sizes = key_sizes.as_array().into_iter().flatten();
            let sizes = sizes.map(|size| usize::try_from(size.as_u64().unwrap()).unwrap());
            request.keys.extend(sizes.map(key));
            Change::ssh_keys(request)
        }
        other => panic!("{other} changes nothing"),
    };
    let seen = seen(&mut case);
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    match change.and_then(|change| change.actions(&seen, &manager, now)) {
        Ok(actions) => {
            let wrote = actions
                .iter()
                .any(|a| !matches!(a, Action::SyncServices(_)));
            let outcome = if wrote { "WRITES" } else { "NOTHING" };
            (outcome.to_owned(), actions.iter().map(shown).collect())
        }
        Err(Error::Invalid {
            message,
            violations,
        }) => {
            let fields = violations.into_iter().map(|v| json!([v.field, v.why]));
            let fields: Value = fields.collect();
            (
                "INVALID".to_owned(),
                json!({"message": message, "fields": fields}),
            )
        }
        Err(Error::Precondition { state, why }) => ("REFUSED".to_owned(), json!([state, why])),
        Err(Error::Exhausted { why, .. }) => ("EXHAUSTED".to_owned(), json!(why)),
        Err(other) => panic!("{other}"),
    }
}

fn number(numbers: &Value, field: &str, value: &mut i32) {
    if let Some(number) = numbers[field].as_i64() {
        *value = i32::try_from(number).unwrap();
    }
}

/// A workspace of wsman unless its marks differ; a null mark is absent.
fn seen(case: &mut Case) -> Seen {
    let given: BTreeMap<String, Option<String>> =
        serde_json::from_value(case.take("marks")).unwrap_or_default();
    let mut marks = BTreeMap::from(
        [
            (annotation::ID, "foobar"),
            (annotation::SERVICE_PREFIX, "prefix"),
            (annotation::SPEC_SHA256, "0"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    for (key, value) in given {
        match value {
            Some(value) => marks.insert(key, value),
            None => marks.remove(&key),
        };
    }
    if let Some(size) = case.take("initializer_size").as_u64() {
        let long = "i".repeat(usize::try_from(size).unwrap());
        marks.insert(annotation::CONTENT_INITIALIZER.to_owned(), long);
    }
    let mut ports: Vec<PortSpec> = serde_json::from_value(case.take("exposed")).unwrap_or_default();
    let count = case.take("exposed_count").as_u64().unwrap_or(0);
    let url_size = case.take("exposed_url_size").as_u64().unwrap_or(0);
    let url = "u".repeat(usize::try_from(url_size).unwrap());
    ports.extend((0..count).map(|n| PortSpec {
        port: 5000 + u32::try_from(n).unwrap(),
        url: url.clone(),
        ..Default::default()
    }));
    if !ports.is_empty() {
        let text = services::encode_ports(&ports);
        marks.insert(annotation::EXPOSED_PORTS.to_owned(), text);
    }
    let phase = case.take("phase");
    let phase = phase.as_str().unwrap_or("RUNNING");
    Seen {
        pod: pod(),
        owner: pod(),
        version: "7".to_owned(),
        marks,
        phase: WorkspacePhase::from_str_name(phase).unwrap(),
    }
}

fn pod() -> PodRef {
    PodRef {
        name: "ws-foobar".to_owned(),
        uid: "uid".to_owned(),
    }
}

fn shown(action: &Action) -> Value {
    match action {
        Action::Mark(_, mark) => json!({ "mark": marks(mark) }),
        Action::ChangePod(_, PodChange { mark, version, .. }) => {
            json!({ "mark": marks(mark), "version": version })
        }
        Action::SyncServices(_) => json!("align Services"),
        Action::ChangeSecret(_, change) => {
            let set: Map<_, _> = change
                .set
                .iter()
                .map(|(k, v)| (k.clone(), value(k, v)))
                .collect();
            json!({"secret": {"set": set, "remove": change.remove}})
        }
        other => panic!("no call does this: {other:?}"),
    }
}

fn marks(mark: &Mark) -> Value {
    let set: Map<_, _> = mark
        .set
        .iter()
        .map(|(k, v)| (k.clone(), value(k, v)))
        .collect();
    json!({"set": set, "remove": mark.remove})
}

/// Encoded values are decoded, and long ones are replaced by their length.
fn value(key: &str, text: &str) -> Value {
    use base64::Engine;
    use prost::Message;
    let bytes = || base64::prelude::BASE64_STANDARD.decode(text).unwrap();
    match key {
        annotation::EXPOSED_PORTS => {
            let ports = services::decode_ports(text);
            match ports.len() {
                0..4 => json!(ports),
                count => json!(format!("{count} ports")),
            }
        }
        _ if text.len() > 400 => json!(format!("{} bytes", text.len())),
        annotation::SSH_PUBLIC_KEYS => {
            json!(SshPublicKeys::decode(bytes().as_slice()).unwrap().keys)
        }
        _ => json!(text),
    }
}

#[test]
fn changes() {
    golden::check("change", answer);
}

#[test]
fn a_change_that_was_made_is_not_made_again() {
    let settings = golden::settings(&Value::Null, &Value::Null).unwrap();
    let expose = |port, visibility: i32| {
        Change::port(ControlPortRequest {
            id: "foobar".to_owned(),
            expose: true,
            spec: Some(PortSpec {
                port,
                visibility,
                ..Default::default()
            }),
        })
    };
    let keys = |size: usize| {
        Change::ssh_keys(UpdateSshKeyRequest {
            id: "foobar".to_owned(),
            keys: vec![key(size)],
        })
    };
    let timeout = SetTimeoutRequest {
        id: "foobar".to_owned(),
        duration: "0".to_owned(),
        ..Default::default()
    };
    let mut seen = Seen {
        pod: pod(),
        owner: pod(),
        version: "1".to_owned(),
        marks: [
            (annotation::ID, "foobar"),
            (annotation::SERVICE_PREFIX, "p"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        phase: WorkspacePhase::Running,
    };
    let steps = [
        expose(1, 0),
        expose(1, 1),
        expose(2, 0),
        Change::timeout(timeout),
        keys(1),
        keys(100 << 10),
        keys(2),
    ];
    for step in steps {
        let step = step.unwrap();
        let act = |seen: &Seen| step.actions(seen, &settings.manager, Timestamp::UNIX_EPOCH);
        for action in act(&seen).unwrap() {
            if let Action::Mark(_, mark) | Action::ChangePod(_, PodChange { mark, .. }) = action {
                seen.marks.retain(|key, _| !mark.remove.contains(key));
                seen.marks.extend(mark.set);
            }
        }
        let again = act(&seen).unwrap();
        // A Secret is compared where it is.
        let marks = again
            .iter()
            .filter(|a| !matches!(a, Action::ChangeSecret(..)));
        assert_eq!(marks.count(), 0, "{step:?}: {again:?}");
    }
    let size = seen.marks.values().map(String::len).sum::<usize>();
    assert!(size < 48 << 10, "{size}");
}
