//! Cases in testdata/request, and that no message at all does harm.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::golden::{self, Case};
use crate::proto::contentservice::{self as content, workspace_initializer::Spec};

/// A case has a request, changes to the configuration, and enum numbers that proto3 JSON rejects.
fn answer(mut case: Case) -> (String, Value) {
    let settings = golden::settings(&case.take("config"), &Value::Null);
    let manager = settings.expect("the configuration is valid").manager;
    let mut request: wsman::StartWorkspaceRequest =
        serde_json::from_value(case.take("request")).expect("a request");
    let numbers: Map<String, Value> =
        serde_json::from_value(case.take("numbers")).unwrap_or_default();
    for (field, number) in numbers {
        let number = i32::try_from(number.as_i64().unwrap()).unwrap();
        let spec = request.spec.get_or_insert_default();
        match field.as_str() {
            "type" => request.r#type = number,
            "admission" => spec.admission = number,
            "feature_flag" => spec.feature_flags.push(number),
            "visibility" => spec.ports[0].visibility = number,
            "protocol" => spec.ports[0].protocol = number,
            other => panic!("{other} cannot be set"),
        }
    }
    // Sizes are shorter than values.
    let long: Map<String, Value> = serde_json::from_value(case.take("long")).unwrap_or_default();
    for (name, bytes) in long {
        let value = "x".repeat(usize::try_from(bytes.as_u64().unwrap()).unwrap());
        let variable = wsman::EnvironmentVariable {
            name,
            value,
            secret: None,
        };
        request.spec.get_or_insert_default().envvars.push(variable);
    }
    match parse(request, &manager) {
        Ok(request) => {
            let summary = json!({"id": request.id, "prefix": request.prefix(), "type": request.kind.as_str_name()});
            ("VALID".to_owned(), summary)
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

#[test]
fn requests() {
    golden::check("request", answer);
}

#[test]
fn the_fingerprint_ignores_what_is_output_only() {
    let request = |text: &str| {
        let mut value =
            json!({"id": "a", "metadata": {"owner": "o"}, "spec": {"ports": [{"port": 1}]}});
        json_patch::merge(&mut value, &serde_json::from_str(text).unwrap());
        parse_lenient(serde_json::from_value(value).unwrap()).fingerprint
    };
    let plain = request("{}");
    // Fingerprints on pods must stay comparable in later versions.
    assert_eq!(
        plain,
        "9eaf21e43b0ae3dbb7190c3750b93232099e55cdbcf78855b0f2842330c006fe"
    );
    assert_eq!(
        plain,
        request(r#"{"metadata": {"startedAt": "2026-01-01T00:00:00Z"}}"#)
    );
    assert_eq!(
        plain,
        request(r#"{"spec": {"ports": [{"port": 1, "url": "https://x"}]}}"#)
    );
    assert_ne!(plain, request(r#"{"spec": {"ports": [{"port": 2}]}}"#));
    assert_ne!(plain, request(r#"{"metadata": {"owner": "p"}}"#));
    let (ab, ba) = (r#"{"a": "1", "b": "2"}"#, r#"{"b": "2", "a": "1"}"#);
    let annotated = |map: &str| request(&format!(r#"{{"metadata": {{"annotations": {map}}}}}"#));
    assert_eq!(annotated(ab), annotated(ba));
}

#[test]
fn an_answer_stays_small() {
    let manager = golden::settings(&Value::Null, &Value::Null)
        .unwrap()
        .manager;
    let spec = wsman::StartWorkspaceSpec {
        envvars: vec![
            wsman::EnvironmentVariable {
                name: "=".repeat(1000),
                ..Default::default()
            };
            10_000
        ],
        ..Default::default()
    };
    let request = wsman::StartWorkspaceRequest {
        spec: Some(spec),
        ..Default::default()
    };
    let Err(Error::Invalid {
        message,
        violations,
    }) = parse(request, &manager)
    else {
        panic!("it is invalid")
    };
    assert!(message.len() < 10_000 && violations.len() <= 32);
}

fn initializer() -> impl Strategy<Value = content::WorkspaceInitializer> {
    let git = (".{0,5}", any::<bool>()).prop_map(|(location, config)| content::GitInitializer {
        checkout_location: location,
        config: config.then(content::GitConfig::default),
        ..Default::default()
    });
    let leaf = prop_oneof![
        Just(None),
        git.clone().prop_map(|git| Some(Spec::Git(git))),
        prop::collection::vec(git, 0..3).prop_map(|git| {
            Some(Spec::Prebuild(content::PrebuildInitializer {
                prebuild: None,
                git,
            }))
        }),
    ]
    .prop_map(|spec| content::WorkspaceInitializer { spec });
    leaf.prop_recursive(12, 32, 2, |inner| {
        prop::collection::vec(inner, 1..3).prop_map(|initializer| content::WorkspaceInitializer {
            spec: Some(Spec::Composite(content::CompositeInitializer {
                initializer,
            })),
        })
    })
}

prop_compose! {
    fn any_spec()(
        texts in prop::collection::vec(".{0,8}|[a-z]{0,8}", 8),
        numbers in prop::collection::vec(any::<i32>(), 4),
        ports in prop::collection::vec(any::<u32>(), 0..4),
        env in prop::collection::vec(("[a-zA-Z_=. ]{0,6}", ".{0,6}", any::<bool>()), 0..4),
        initializer in prop::option::of(initializer()),
    ) -> wsman::StartWorkspaceSpec {
        let env: Vec<_> = env.into_iter().map(|(name, value, secret)| wsman::EnvironmentVariable {
            name, value, secret: secret.then(Default::default),
        }).collect();
        wsman::StartWorkspaceSpec {
            workspace_image: texts[0].clone(),
            workspace_location: texts[1].clone(),
            class: texts[2].clone(),
            timeout: texts[3].clone(),
            closed_timeout: texts[4].clone(),
            ssh_public_keys: vec![texts[5].clone()],
            git: Some(wsman::GitSpec { username: texts[6].clone(), email: texts[7].clone() }),
            admission: numbers[0] % 3,
            feature_flags: numbers[1..].to_vec(),
            ports: ports.into_iter().map(|port| wsman::PortSpec { port, ..Default::default() }).collect(),
            sys_envvars: env.clone(),
            envvars: env,
            initializer,
            ..Default::default()
        }
    }
}

proptest! {
    #[test]
    fn no_message_makes_it_panic(
        id in ".{0,8}|[a-z0-9-]{0,70}",
        prefix in ".{0,8}",
        kind in any::<i32>(),
        spec in prop::option::of(any_spec()),
        metadata in prop::option::of((".{0,8}", ".{0,8}", prop::collection::btree_map(".{0,8}", ".{0,8}", 0..3))),
    ) {
        let manager = golden::settings(&Value::Null, &Value::Null).unwrap().manager;
        let metadata = metadata.map(|(owner, meta_id, annotations)| wsman::WorkspaceMetadata {
            owner, meta_id, annotations, ..Default::default()
        });
        let request = wsman::StartWorkspaceRequest {
            id, service_prefix: prefix, metadata, spec, r#type: kind % 6,
        };
        let lenient = parse_lenient(request.clone());
        let tokens = crate::workspaces::plan::Tokens { cli_api: String::new(), owner: String::new() };
        let _ = crate::workspaces::plan::plan(&lenient, &manager, &tokens);
        if let Err(Error::Invalid { message, violations }) = parse(request, &manager) {
            prop_assert!(message.starts_with("invalid start workspace request: ") && !violations.is_empty());
        }
    }

    #[test]
    fn an_accepted_id_selects_exactly_one_workspace(id in ".{0,8}|[a-z0-9,=!()-]{0,8}") {
        let manager = golden::settings(&Value::Null, &Value::Null).unwrap().manager;
        let request = wsman::StartWorkspaceRequest { id: id.clone(), ..Default::default() };
        let Err(Error::Invalid { violations, .. }) = parse(request, &manager) else { panic!("it is incomplete") };
        let accepted = violations.iter().all(|violation| violation.field != "id");
        prop_assert_eq!(accepted, names::is_dns_label(&id));
    }
}
