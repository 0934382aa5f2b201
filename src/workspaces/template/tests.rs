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

/// Any JSON, with the keys that have rules of their own.
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
