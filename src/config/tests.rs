//! Cases in testdata/config: from a text or an object to settings or problems.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::golden::{self, Case};
use crate::workspaces::classes::describe_classes;

/// A case has either `text`, or `config` (the whole file), or `patch` (changes to example-config.json), or `each`: a
/// patch by name, all with the same outcome.
fn answer(mut case: Case) -> (String, Value) {
    if let Value::Object(patches) = case.take("each") {
        let files = case.take("files");
        let mut outcomes = BTreeSet::new();
        let lines = patches.into_iter().map(|(name, patch)| {
            let resolved = golden::resolve(&golden::example(&patch).to_string(), &files);
            let (outcome, problems) = match resolved {
                Ok((_, warnings)) => ("VALID", warnings),
                Err(problems) => ("INVALID", problems),
            };
            outcomes.insert(outcome);
            (name, lines(&problems))
        });
        let lines: serde_json::Map<_, _> = lines.collect();
        return (Vec::from_iter(outcomes).join("+"), lines.into());
    }
    let (text, config, patch) = (case.take("text"), case.take("config"), case.take("patch"));
    let files = case.take("files");
    let resolved = match (text.as_str(), config.is_null()) {
        (Some(text), _) => golden::resolve(text, &files),
        (None, false) => golden::resolve(&config.to_string(), &files),
        (None, true) => golden::resolve(&golden::example(&patch).to_string(), &files),
    };
    let show = case.take("show");
    match resolved {
        Ok((settings, warnings)) => {
            let parts = show.as_array().into_iter().flatten();
            let parts = parts.map(|part| part.as_str().expect("a name"));
            let shown = parts.map(|part| (part.to_owned(), shown(&settings, part)));
            let mut shown = shown.collect::<serde_json::Map<_, _>>();
            if !warnings.is_empty() {
                shown.insert("warnings".to_owned(), lines(&warnings));
            }
            ("VALID".to_owned(), shown.into())
        }
        Err(problems) => ("INVALID".to_owned(), lines(&problems)),
    }
}

fn lines(problems: &[Problem]) -> Value {
    let line = |problem: &Problem| match problem.severity {
        Severity::Error => problem.to_string(),
        Severity::Warning => format!("warning: {problem}"),
    };
    problems.iter().map(line).collect()
}

/// One part of the settings, in a form for comparison.
fn shown(settings: &Settings, part: &str) -> Value {
    let manager = &settings.manager;
    match part {
        "classes" => serde_json::to_value(describe_classes(manager)).unwrap(),
        "default" => json!(format!("{:?}", manager.classes[settings::DEFAULT_CLASS])),
        "guest" => json!(format!("{:?}", settings.guest)),
        "nodes" => json!(format!("{:?}", manager.nodes)),
        "kubernetes" => json!(format!("{:?}", settings.kubernetes)),
        "messagebus" => json!(format!("{:?}", settings.message_bus)),
        "imagebuilder" => json!(format!("{:?}", settings.image_builder)),
        "unknownclass" => json!(format!("{:?}", manager.unknown_class)),
        "rpc" => json!(format!("{:?}", settings.rpc)),
        "sessions" => json!(format!("{:?}", settings.sessions)),
        "services" => json!(format!("{:?}", manager.services)),
        "timeouts" => json!(format!("{:?}", manager.timeouts)),
        "addresses" => json!([
            settings.health_addr,
            settings.prometheus_addr,
            settings.pprof_addr
        ]),
        other => panic!("{other} cannot be shown"),
    }
}

#[test]
fn configurations() {
    golden::check("config", answer);
}

#[test]
fn the_example_is_valid_and_harmless() {
    let settings = golden::settings(&Value::Null, &Value::Null).unwrap();
    let embedded = Kubernetes::Embedded {
        listen: "127.0.0.1:0".to_owned(),
        processes: None,
        nodes: Vec::new(),
    };
    assert_eq!(settings.kubernetes, embedded);
    assert_eq!(settings.manager.nodes, Nodes::Plain);
    assert_eq!(settings.message_bus, None);
    assert_eq!(settings.manager.classes.len(), 2);
    for addr in [Some(settings.rpc.addr), settings.health_addr] {
        let port = addr
            .unwrap()
            .strip_prefix("127.0.0.1:")
            .unwrap()
            .parse::<u16>()
            .unwrap();
        assert!(port > 1024);
    }
}

#[test]
fn the_example_of_sessions_has_the_pools_that_it_names() {
    let text = std::fs::read_to_string(golden::root().join("example-sessions.json")).unwrap();
    let (settings, warnings) = golden::resolve(&text, &Value::Null).unwrap();
    assert_eq!(warnings, []);
    let rules = settings.sessions.expect("sessions");
    let config: Value = serde_json::from_str(&text).unwrap();
    let nodes = config["kubernetes"]["nodes"].as_object().unwrap();
    let pools: BTreeSet<_> = nodes
        .values()
        .map(|node| node["labels"][&rules.pools.label].as_str().unwrap())
        .collect();
    let named = rules.default_pools.values().map(String::as_str);
    assert_eq!(BTreeSet::from_iter(named), pools);
}

#[test]
fn every_named_file_is_listed() {
    let class = json!({"templates": {"defaultPath": "a", "regularPath": "b", "prebuildPath": "a", "imagebuildPath": ""}});
    let config = json!({"manager": {"workspaceClass": {"x": class, "y": class}}});
    let config = parse(&config.to_string()).unwrap();
    let files = config.files().iter().map(|file| file.path.as_str());
    assert_eq!(files.collect::<Vec<_>>(), ["a", "b", "a", "a", "b", "a"]);
}

/// The reference is generated; `UPDATE=1` writes it into the document.
#[test]
fn the_document_lists_every_key() {
    let file = golden::root().join("docs/configuration.md");
    let text = std::fs::read_to_string(&file).expect("the document can be read");
    let (before, rest) = text.split_once("<!-- keys -->\n\n").expect("a mark");
    let (keys, after) = rest.split_once("<!-- end of keys -->").expect("a mark");
    if std::env::var_os("UPDATE").is_some() {
        let new = format!(
            "{before}<!-- keys -->\n\n{}<!-- end of keys -->{after}",
            reference()
        );
        std::fs::write(&file, new).expect("the document can be written");
    } else {
        assert_eq!(keys, reference(), "UPDATE=1 cargo test writes it");
    }

    // Keys in the rest of the document exist too.
    let paths: Vec<String> = keys::outline()
        .into_iter()
        .map(|entry| entry.path)
        .collect();
    let mut named = 0;
    for word in format!("{before}{after}").split('`').skip(1).step_by(2) {
        let block = word.split('.').next().unwrap_or_default();
        if word.contains('.') && paths.iter().any(|path| path == block) {
            let names = |path: &String| path == word || path.starts_with(&format!("{word}.<"));
            assert!(paths.iter().any(names), "{word} is no key");
            named += 1;
        }
    }
    assert!(named > 5, "{named}");
}

#[test]
fn every_key_has_a_description() {
    let keys = keys::outline();
    assert!(keys.len() > 90, "{}", keys.len());
    for entry in keys {
        let key = &entry.key;
        assert!(key.doc.ends_with('.'), "{}", entry.path);
        assert!(!key.doc.contains('|'), "{}: breaks the table", entry.path);
        let is_value = !entry.shape.is_object() && entry.shape != key::Shape::Any;
        assert!(
            !is_value || key.proposal().is_some(),
            "{}: no example",
            entry.path
        );
    }
}

/// An example in the document is valid.
#[test]
fn examples_of_keys_are_read() {
    let patch = |path: &str, value: &Value| {
        let path = path.replace("<id>", "default");
        let path = path.replace("<queue>", "default");
        let method = "/wsman.WorkspaceManager/StartWorkspace";
        let mut patch = value.clone();
        for part in path.rsplit('.') {
            let part = part.replace("<method>", method).replace("<node>", "node");
            patch = json!({ part: patch });
        }
        patch
    };
    for entry in keys::outline() {
        let Some(example) = entry.key.proposal().filter(|_| !entry.shape.is_object()) else {
            continue;
        };
        let config = golden::example(&patch(&entry.path, example));
        let read = parse(&config.to_string()).unwrap();
        let at = entry.path.replace("<id>", "default");
        let at = at.replace("<node>", "node").replace("<queue>", "default");
        let wrong = read
            .problems
            .iter()
            .find(|problem| problem.severity == Severity::Error && problem.path.starts_with(&at));
        assert_eq!(wrong, None, "{}", entry.path);
    }
}

proptest::proptest! {
    #[test]
    fn reading_never_panics(text in "[{}\\[\\]\":,a-z0-9 .]{0,80}") {
        let _ = parse(&text);
    }
}

#[test]
fn a_new_configuration_takes_effect_where_it_can() {
    let settings = |patch: Value| golden::settings(&patch, &Value::Null).expect("a valid case");
    let old = settings(Value::Null);
    let limit = json!({ "/wsman.WorkspaceManager/StartWorkspace": { "bucketSize": 3, "refillInterval": "1s" } });
    let (new, waiting) = old.renew(settings(json!({
        "manager": { "timeouts": { "startup": "7m" }, "maintenanceMode": true },
        "rpcServer": { "ratelimits": limit },
    })));
    assert_eq!(waiting, [""; 0]);
    assert_eq!(new.manager.timeouts.startup.to_string(), "7m0s");
    assert!(new.manager.maintenance_mode);
    assert_eq!(
        new.rpc.rate_limits["/wsman.WorkspaceManager/StartWorkspace"].bucket_size,
        3
    );

    let (new, waiting) = old.renew(settings(json!({
        "manager": { "namespace": "other", "statusVersionOffset": 5, "preferredWorkspaceClass": "large" },
        "rpcServer": { "addr": "127.0.0.1:9" },
        "health": { "addr": "127.0.0.1:10" },
    })));
    assert_eq!(
        waiting,
        [
            "manager.namespace",
            "manager.statusVersionOffset",
            "rpcServer",
            "health"
        ]
    );
    assert_eq!(new.manager.preferred_class, "large");
    assert_eq!(new.manager.namespace, old.manager.namespace);
    assert_eq!(new.manager.status_version_offset, 0);
    assert_eq!(new.rpc, old.rpc);
    assert_eq!(new.health_addr, old.health_addr);
}

#[test]
fn new_rules_of_sessions_take_effect_except_for_what_selects_their_pods() {
    let settings = |patch: Value| golden::settings(&patch, &Value::Null).expect("a valid case");
    let without = settings(Value::Null);
    let old = settings(json!({ "sessions": {} }));
    let (new, waiting) = old.renew(settings(json!({ "sessions": {
        "queues": { "nightly": { "limit": 2 } },
        "pools": { "fixed": { "big": 3 }, "tolerations": ["bench"] },
        "ttl": { "default": "2h" },
    } })));
    assert_eq!(waiting, [""; 0]);
    let rules = new.sessions.expect("rules");
    assert_eq!(rules.queues["nightly"].limit, Some(2));
    assert_eq!(rules.pools.fixed["big"], 3);
    assert_eq!(rules.ttl.default.as_secs(), 7_200);

    let (new, waiting) = old.renew(settings(json!({
        "manager": { "namespace": "other" },
        "sessions": { "installation": "b", "pools": { "label": "type" } },
    })));
    let keys = [
        "manager.namespace",
        "sessions.installation",
        "sessions.pools.label",
    ];
    assert_eq!(waiting, keys);
    assert_eq!(new.sessions, old.sessions);

    for (before, after) in [(&without, &old), (&old, &without)] {
        let (new, waiting) = before.renew(after.clone());
        assert_eq!(
            (new.sessions, waiting),
            (before.sessions.clone(), vec!["sessions"])
        );
    }
}
