//! Cases in testdata/pod, and the invariants of every plan.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::golden::{self, Case};
use crate::proto::contentservice::WorkspaceInitializer;
use crate::proto::wsman;
use crate::workspaces::request;

fn tokens() -> Tokens {
    Tokens {
        cli_api: "cli".to_owned(),
        owner: "owner".to_owned(),
    }
}

/// A case has a request, changes to the configuration, the files in it, and which parts to show.
fn answer(mut case: Case) -> (String, Value) {
    let settings = golden::settings(&case.take("config"), &case.take("files"));
    let manager = settings.expect("the configuration is valid").manager;
    let request: wsman::StartWorkspaceRequest =
        serde_json::from_value(case.take("request")).expect("a request");
    let show = case.take("show");
    let repeat: Map<_, _> = serde_json::from_value(case.take("repeat")).unwrap_or_default();
    let request = request::parse(enlarge(request, &repeat), &manager).expect("a valid request");
    match plan(&request, &manager, &tokens()) {
        Ok(plan) => {
            let kind = request.kind.as_str_name().to_owned();
            let all = as_json(&plan);
            let Some(pointers) = show.as_array() else {
                return (kind, all);
            };
            let shown = pointers.iter().map(|pointer| {
                let pointer = pointer.as_str().expect("a JSON pointer");
                (
                    pointer.to_owned(),
                    all.pointer(pointer).cloned().unwrap_or_default(),
                )
            });
            (kind, shown.collect::<Map<_, _>>().into())
        }
        Err(Error::Invalid {
            message,
            violations,
        }) => {
            let fields: Vec<_> = violations
                .into_iter()
                .map(|v| json!([v.field, v.why]))
                .collect();
            (
                "INVALID".to_owned(),
                json!({"message": message, "fields": fields}),
            )
        }
        Err(other) => panic!("{other}"),
    }
}

/// Repeats texts, which would be too long in a file: {"ssh_public_keys": 1000} repeats each a thousand times.
fn enlarge(
    mut request: wsman::StartWorkspaceRequest,
    repeat: &Map<String, Value>,
) -> wsman::StartWorkspaceRequest {
    let spec = request.spec.get_or_insert_default();
    for (what, times) in repeat {
        let times = usize::try_from(times.as_u64().expect("a number")).unwrap();
        match what.as_str() {
            "ssh_public_keys" => {
                spec.ssh_public_keys
                    .iter_mut()
                    .for_each(|k| *k = k.repeat(times));
            }
            "sys_envvars" => spec
                .sys_envvars
                .iter_mut()
                .for_each(|v| v.value = v.value.repeat(times)),
            "annotations" => {
                let metadata = request.metadata.get_or_insert_default();
                metadata
                    .annotations
                    .values_mut()
                    .for_each(|v| *v = v.repeat(times));
            }
            other => panic!("{other} cannot be repeated"),
        }
    }
    request
}

/// Long values are replaced by their length.
fn as_json(plan: &Plan) -> Value {
    fn shorten(value: &mut Value) {
        match value {
            Value::String(text) if text.len() > 500 => {
                *value = json!(format!("{} bytes", text.len()))
            }
            Value::Array(list) => list.iter_mut().for_each(shorten),
            Value::Object(members) => members.values_mut().for_each(shorten),
            _ => {}
        }
    }
    let dependants: Vec<Value> = plan
        .dependants
        .iter()
        .map(|dependant| match dependant {
            Dependant::Secret(secret) => serde_json::to_value(secret).unwrap(),
            Dependant::Pvc(claim) => serde_json::to_value(claim).unwrap(),
            Dependant::Service(service) => serde_json::to_value(service).unwrap(),
        })
        .collect();
    let mut all = json!({"url": plan.url, "pod": plan.pod, "dependants": dependants});
    shorten(&mut all);
    all
}

#[test]
fn pods() {
    golden::adopt("pod", case_of, |case| answer(case).0);
    golden::check("pod", answer);
}

/// Makes a case of a saved StartWorkspaceRequest or StartWorkspaceSpec.
fn case_of(saved: Value) -> Result<Value, String> {
    let is_request = saved.get("spec").is_some() || saved.get("id").is_some();
    let request = match saved {
        Value::Object(mut request) if is_request => {
            request.entry("id").or_insert_with(|| json!("test"));
            Value::Object(request)
        }
        saved => json!({
            "id": "test",
            "metadata": {"owner": "tester", "metaId": "foobar"},
            "servicePrefix": "foobarservice",
            "type": "REGULAR",
            "spec": saved,
        }),
    };
    let read: wsman::StartWorkspaceRequest =
        serde_json::from_value(request.clone()).map_err(|error| error.to_string())?;
    let manager = golden::settings(&Value::Null, &Value::Null)
        .map_err(|problems| format!("{problems:?}"))?
        .manager;
    request::parse(read, &manager).map_err(|error| error.to_string())?;
    Ok(json!({ "request": request }))
}

#[test]
fn saved_requests_become_cases() {
    let folder = tempfile::tempdir().unwrap();
    let example: Value = {
        let text = std::fs::read_to_string(golden::root().join("testdata/example-wsspec.json"));
        serde_json::from_str(&text.unwrap()).unwrap()
    };
    let spec = &example["spec"];
    for (name, saved) in [("cdwp_request", &example), ("cdwp_spec", spec)] {
        let file = folder.path().join(format!("{name}.spec.json"));
        std::fs::write(file, saved.to_string()).unwrap();
    }
    golden::adopt_in(folder.path(), true, case_of, |case| answer(case).0);
    let files = std::fs::read_dir(folder.path()).unwrap();
    let mut files: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        ["cdwp_request_REGULAR.json", "cdwp_spec_REGULAR.json"]
    );
    let refused = case_of(json!({"id": "?", "spec": {}})).unwrap_err();
    assert!(refused.contains("id"), "{refused}");
}

#[test]
fn services_are_rebuilt_from_the_pod_as_planned() {
    let manager = golden::settings(&Value::Null, &Value::Null)
        .unwrap()
        .manager;
    let request = valid("a1", "Prefix");
    let plan = plan(&request, &manager, &tokens()).unwrap();
    let meta = &plan.pod.metadata;
    let rebuilt = services::of_pod(
        &manager.namespace,
        meta.labels.as_ref().unwrap(),
        meta.annotations.as_ref().unwrap(),
        true,
    );
    let planned: Vec<_> = plan
        .dependants
        .iter()
        .filter_map(|dependant| match dependant {
            Dependant::Service(service) => Some((**service).clone()),
            Dependant::Pvc(_) | Dependant::Secret(_) => None,
        })
        .collect();
    assert_eq!(rebuilt, planned);
    assert_eq!(planned.len(), 2);
}

fn valid(id: &str, prefix: &str) -> StartRequest {
    request::parse_lenient(wsman::StartWorkspaceRequest {
        id: id.to_owned(),
        service_prefix: prefix.to_owned(),
        metadata: Some(wsman::WorkspaceMetadata::default()),
        spec: Some(wsman::StartWorkspaceSpec {
            workspace_image: "alpine".to_owned(),
            workspace_location: "/".to_owned(),
            initializer: Some(WorkspaceInitializer::default()),
            ports: vec![wsman::PortSpec {
                port: 8080,
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    })
}

#[test]
fn tokens_are_32_characters_of_the_alphabet_all_equally_likely() {
    let mut counts = std::collections::BTreeMap::new();
    for byte in 0..=u8::MAX {
        if let Some(token) = token(&[byte; 32]) {
            assert_eq!(token.len(), 32);
            *counts.entry(token).or_insert(0) += 1;
        }
    }
    assert_eq!(counts.len(), 65);
    assert!(counts.values().all(|count| *count == 3));
    assert_eq!(token(&[0; 31]), None);
    assert_eq!(token(&[255; 96]), None);
}

proptest! {
    #[test]
    fn a_valid_plan_has_legal_names_and_labels(
        id in "[a-z0-9-]{1,60}",
        prefix in "[a-zA-Z0-9-]{0,60}",
        owner in ".{0,80}",
        meta in "[a-zA-Z0-9._-]{0,70}",
        kind in prop::sample::select(vec![0, 1, 4]),
    ) {
        let manager = golden::settings(&Value::Null, &Value::Null).unwrap().manager;
        let mut given = valid(&id, &prefix);
        given.metadata.owner = owner;
        given.metadata.meta_id = meta;
        let request = wsman::StartWorkspaceRequest {
            id: given.id,
            service_prefix: given.service_prefix,
            metadata: Some(given.metadata),
            spec: Some(given.spec),
            r#type: kind,
        };
        let Ok(request) = request::parse(request, &manager) else { return Ok(()) };
        let plan = plan(&request, &manager, &tokens()).unwrap();
        let metadata = &plan.pod.metadata;
        prop_assert!(names::is_dns_label(metadata.name.as_ref().unwrap()));
        let hostname = plan.pod.spec.as_ref().unwrap().hostname.as_ref();
        prop_assert!(hostname.is_none_or(|name| names::is_dns_label(name)));
        for value in metadata.labels.as_ref().unwrap().values() {
            prop_assert!(names::is_label_value(value), "{value:?}");
        }
        for dependant in &plan.dependants {
            if let Dependant::Service(service) = dependant {
                let name = service.metadata.name.as_ref().unwrap();
                prop_assert!(names::is_dns_label(name) && name.starts_with("ws-"), "{name}");
            }
        }
    }
}
