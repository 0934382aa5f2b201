//! The merge rules, one by one; whole pods with templates are in testdata/pod.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn a_pods_own_values_win_unless_they_are_zero() {
    let pod = json!({"spec": {"a": "own", "b": "", "c": 0, "d": false, "e": 5, "f": true}});
    let template =
        json!({"spec": {"a": "t", "b": "t", "c": 1, "d": true, "e": 9, "f": false, "g": "t"}});
    let merged =
        json!({"spec": {"a": "own", "b": "t", "c": 1, "d": true, "e": 5, "f": true, "g": "t"}});
    assert_eq!(merge(pod, template), merged);
}

#[test]
fn empty_labels_are_filled() {
    let pod = json!({"metadata": {"labels": {"team": "", "app": "gitpod"}}});
    let template = json!({"metadata": {"labels": {"team": "blue", "app": "x", "more": "y"}}});
    let merged = json!({"metadata": {"labels": {"team": "blue", "app": "gitpod", "more": "y"}}});
    assert_eq!(merge(pod, template), merged);
}

#[test]
fn lists_grow() {
    let pod = json!({"spec": {"tolerations": [{"key": "a"}]}});
    let template =
        json!({"spec": {"tolerations": [{"key": "a"}, {"key": "b"}], "volumes": [{"name": "v"}]}});
    let merged = json!({"spec": {
        "tolerations": [{"key": "a"}, {"key": "a"}, {"key": "b"}], "volumes": [{"name": "v"}]}});
    assert_eq!(merge(pod, template), merged);
}

#[test]
fn containers_match_by_name_and_the_template_wins() {
    let pod = json!({"spec": {"containers": [{
        "name": "workspace", "image": "own", "env": [{"name": "a"}], "tty": true,
        "resources": {"limits": {"cpu": "1", "memory": "1G"}}}]}});
    let template = json!({"spec": {"containers": [
        {"name": "workspace", "image": "", "env": [{"name": "b"}], "tty": false, "command": ["x"],
         "resources": {"limits": {"cpu": "5"}}},
        {"name": "other", "image": "dropped"}]}});
    let merged = json!({"spec": {"containers": [{
        "name": "workspace", "image": "own", "env": [{"name": "a"}, {"name": "b"}], "tty": true, "command": ["x"],
        "resources": {"limits": {"cpu": "5", "memory": "1G"}}}]}});
    assert_eq!(merge(pod, template), merged);
}

#[test]
fn containers_of_a_template_without_any_are_the_others() {
    let template = json!({"spec": {"containers": [{"name": "workspace", "tty": true}]}});
    assert_eq!(
        merge(json!({"spec": {"containers": []}}), template.clone()),
        template
    );
    assert_eq!(merge(json!({}), template.clone()), template);
}

#[test]
fn of_a_probe_only_the_question_changes() {
    let pod =
        |probe: Value| json!({"spec": {"containers": [{"name": "w", "readinessProbe": probe}]}});
    let own = json!({"httpGet": {"path": "/"}, "periodSeconds": 1});
    let merged = merge(
        pod(own.clone()),
        pod(json!({"exec": {"command": ["x"]}, "periodSeconds": 9})),
    );
    assert_eq!(
        merged,
        pod(json!({"exec": {"command": ["x"]}, "periodSeconds": 1}))
    );
    assert_eq!(
        merge(pod(own.clone()), pod(json!({"periodSeconds": 9}))),
        pod(own.clone())
    );
    assert_eq!(merge(pod(Value::Null), pod(own.clone())), pod(own));
}

#[test]
fn node_selector_terms_are_anded() {
    let pod = |terms: Value| {
        json!({"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}})
    };
    let term = |keys: &[&str]| {
        let keys: Vec<Value> = keys
            .iter()
            .map(|key| json!({"key": key, "operator": "Exists"}))
            .collect();
        json!({ "matchExpressions": keys })
    };
    let two = || pod(json!([term(&["b"]), term(&["c"])]));
    assert_eq!(merge(pod(json!([])), two()), two());
    assert_eq!(
        merge(pod(json!([term(&["a"])])), two()),
        pod(json!([term(&["a", "b", "c"])]))
    );
    let many = pod(json!([term(&["x"]), term(&["y"])]));
    assert_eq!(merge(many.clone(), two()), many);
}

#[test]
fn templates_are_yaml_or_json_pods() {
    let yaml = "metadata: {creationTimestamp: null, uid: x, labels: {a: b}}\nstatus: {}\nunknown: 1\nspec:\n  \
                containers:\n  - name: workspace\n    resources: {requests: {cpu: 1}}\n";
    let pod = read(yaml).unwrap();
    assert_eq!(pod["metadata"], json!({"labels": {"a": "b"}}));
    assert_eq!(
        pod["spec"]["containers"][0]["resources"]["requests"],
        json!({"cpu": "1"})
    );
    assert!(pod.get("status").is_none() && pod.get("unknown").is_none());
    assert!(read("").is_ok() && read("{}").is_ok());
    for text in [
        "{",
        "a: b: c",
        "[]",
        "text",
        r#"{"kind": "Service"}"#,
        r#"{"spec": {"containers": 1}}"#,
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

/// Any JSON, with the keys that have their own rules.
fn any_pod() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "spec",
        "metadata",
        "containers",
        "initContainers",
        "name",
        "readinessProbe",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
        "exec",
        "env",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        "[ab]{0,1}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..4)
                .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn merging_never_panics_and_an_empty_template_changes_nothing(pod in any_pod(), template in any_pod()) {
        let _ = merge(pod.clone(), template);
        if pod.is_object() {
            prop_assert_eq!(merge(pod.clone(), json!({})), pod.clone());
            prop_assert_eq!(merge(json!({}), pod.clone()), pod);
        }
    }

    #[test]
    fn without_lists_merging_twice_is_merging_once(
        pod in prop::collection::btree_map("[abc]", "[xy]{0,1}", 0..4),
        template in prop::collection::btree_map("[abc]", "[xy]{0,1}", 0..4),
    ) {
        let (pod, template) = (json!({"spec": pod}), json!({"spec": template}));
        let once = merge(pod, template.clone());
        prop_assert_eq!(merge(once.clone(), template), once);
    }

    #[test]
    fn reading_never_panics(text in ".{0,80}") {
        let _ = read(&text);
    }
}

fn container() -> impl Strategy<Value = Value> {
    let probe = prop::option::of(prop::sample::select(vec![
        json!({ "httpGet": { "path": "/" }, "periodSeconds": 1 }),
        json!({ "exec": { "command": ["x"] }, "failureThreshold": 9 }),
        json!({ "periodSeconds": 7 }),
    ]));
    let name = prop::sample::select(vec!["workspace", "other"]);
    let env = prop::collection::vec("[AB]", 0..3);
    let parts = (
        name,
        "[xy]{0,1}",
        any::<bool>(),
        env,
        probe,
        prop::option::of("[1-3]"),
    );
    parts.prop_map(|(name, image, tty, env, probe, cpu)| {
        let env: Vec<_> = env
            .into_iter()
            .map(|name| json!({ "name": name }))
            .collect();
        let mut container = json!({ "name": name, "image": image, "tty": tty, "env": env });
        if let Some(probe) = probe {
            container["readinessProbe"] = probe;
        }
        if let Some(cpu) = cpu {
            container["resources"] = json!({ "limits": { "cpu": cpu } });
        }
        container
    })
}

/// Pods as planned, and as people write them into templates.
fn typed_pod() -> impl Strategy<Value = Value> {
    let labels = || prop::collection::btree_map("[abc]", "[xy]{0,1}", 0..4);
    let term = prop::collection::vec("[kl]", 0..3).prop_map(|keys| {
        let keys = keys
            .into_iter()
            .map(|key| json!({ "key": key, "operator": "Exists" }));
        json!({ "matchExpressions": keys.collect::<Vec<_>>() })
    });
    let parts = (
        labels(),
        labels(),
        "[pq]{0,1}",
        any::<bool>(),
        0..3i64,
        prop::collection::vec(container(), 0..3),
        prop::collection::vec("[tu]", 0..3),
        prop::option::of(prop::collection::vec(term, 0..3)),
    );
    parts.prop_map(|(labels, selector, text, flag, number, containers, tolerations, terms)| {
        let mut seen = BTreeSet::new();
        let mut containers = containers;
        containers.retain(|c| seen.insert(c["name"].to_string()));
        let tolerations: Vec<_> = tolerations.into_iter().map(|key| json!({ "key": key })).collect();
        let mut pod = json!({
            "metadata": { "labels": labels },
            "spec": {
                "nodeSelector": selector, "schedulerName": text, "hostNetwork": flag,
                "terminationGracePeriodSeconds": number, "containers": containers, "tolerations": tolerations,
            },
        });
        if let Some(terms) = terms {
            pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                json!({ "nodeSelectorTerms": terms });
        }
        pod
    })
}

/// Checks the rules of docs/protocol.md#pod-templates for everything except containers and terms: the pod keeps its
/// values, gets those that it lacks, and lists are joined.
fn obeys(own: Option<&Value>, template: Option<&Value>, merged: &Value, at: &str) {
    let members = |value: Option<&Value>| {
        value
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    match (own, template, merged) {
        _ if at == "/spec/containers" || at.ends_with("/nodeSelectorTerms") => {}
        (own, template, Value::Object(merged)) => {
            let (own, template) = (members(own), members(template));
            let keys: BTreeSet<&String> = own.keys().chain(template.keys()).collect();
            assert_eq!(keys, merged.keys().collect(), "{at}");
            for key in keys {
                obeys(
                    own.get(key),
                    template.get(key),
                    &merged[key],
                    &format!("{at}/{key}"),
                );
            }
        }
        (own, template, Value::Array(merged)) => {
            let list = |value: Option<&Value>| {
                value.and_then(Value::as_array).cloned().unwrap_or_default()
            };
            assert_eq!([list(own), list(template)].concat(), *merged, "{at}");
        }
        (Some(own), _, merged) if !is_zero(own) => assert_eq!(own, merged, "{at}"),
        (own, template, merged) => assert_eq!(template.or(own), Some(merged), "{at}"),
    }
}

/// The containers are the pod's, with the values of the template's, except for probes.
fn containers_obey(own: &Value, template: &Value, merged: &Value) {
    let list = |pod: &Value| {
        pod["spec"]["containers"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let (own, template, merged) = (list(own), list(template), list(merged));
    if own.is_empty() {
        return assert_eq!(template, merged);
    }
    assert_eq!(own.len(), merged.len());
    for (own, merged) in own.iter().zip(&merged) {
        let Some(template) = template.iter().find(|t| t["name"] == own["name"]) else {
            assert_eq!(own, merged);
            continue;
        };
        for key in ["image", "tty"] {
            let expected = if is_zero(&template[key]) {
                &own[key]
            } else {
                &template[key]
            };
            assert_eq!(expected, &merged[key], "{key}");
        }
        let env = |container: &Value| container["env"].as_array().cloned().unwrap_or_default();
        assert_eq!([env(own), env(template)].concat(), env(merged));
        let cpu = |container: &Value| container.pointer("/resources/limits/cpu").cloned();
        assert_eq!(cpu(template).or(cpu(own)), cpu(merged));
        let every = |container: &Value| container.pointer("/readinessProbe/periodSeconds").cloned();
        if own.get("readinessProbe").is_some() {
            assert_eq!(every(own), every(merged), "how often is the pod's");
        }
    }
}

proptest! {
    #[test]
    fn merging_obeys_its_rules(own in typed_pod(), template in typed_pod()) {
        let merged = merge(own.clone(), template.clone());
        obeys(Some(&own), Some(&template), &merged, "");
        containers_obey(&own, &template, &merged);
        prop_assert!(serde_json::from_value::<Pod>(merged).is_ok());
    }

    #[test]
    fn what_was_read_is_read_again(template in typed_pod()) {
        let read = |value: &Value| super::read(&value.to_string());
        let once = read(&template).unwrap();
        prop_assert_eq!(read(&once), Ok(once.clone()));
        let yaml = serde_saphyr::to_string(&template).unwrap();
        prop_assert_eq!(super::read(&yaml), Ok(once));
    }
}
