//! Cases in testdata/config: a text or an object in, settings or problems out.

use serde_json::{Value, json};

use super::*;
use crate::golden::{self, Case};
use crate::workspaces::classes::describe_classes;

/// A case holds either `text`, or `config` (the whole file), or `patch` (changes to example-config.json).
fn answer(mut case: Case) -> (String, Value) {
    let (text, config, patch) = (case.take("text"), case.take("config"), case.take("patch"));
    let files = case.take("files");
    let resolved = match (text.as_str(), config.is_null()) {
        (Some(text), _) => parse(text).and_then(|config| config.resolve(&golden::contents(&files))),
        (None, false) => {
            parse(&config.to_string()).and_then(|c| c.resolve(&golden::contents(&files)))
        }
        (None, true) => golden::settings(&patch, &files),
    };
    let show = case.take("show");
    match resolved {
        Ok(settings) => {
            let parts = show.as_array().into_iter().flatten();
            let parts = parts.map(|part| part.as_str().expect("a name"));
            let shown = parts.map(|part| (part.to_owned(), shown(&settings, part)));
            (
                "VALID".to_owned(),
                shown.collect::<serde_json::Map<_, _>>().into(),
            )
        }
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
            ("INVALID".to_owned(), json!(lines))
        }
    }
}

/// One part of the settings, in a form that is easy to compare.
fn shown(settings: &Settings, part: &str) -> Value {
    let manager = &settings.manager;
    match part {
        "classes" => serde_json::to_value(describe_classes(manager)).unwrap(),
        "default" => json!(format!("{:?}", manager.classes[DEFAULT_CLASS])),
        "nodes" => json!(format!("{:?}", manager.nodes)),
        "kubernetes" => json!(format!("{:?}", settings.kubernetes)),
        "messagebus" => json!(format!("{:?}", settings.message_bus)),
        "rpc" => json!(format!("{:?}", settings.rpc)),
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
    };
    assert_eq!(settings.kubernetes, embedded);
    assert_eq!(settings.manager.nodes, Nodes::Plain);
    assert_eq!(settings.message_bus, None);
    assert_eq!(settings.manager.classes.len(), 2);
    for addr in [
        Some(settings.rpc.addr),
        settings.health_addr,
        settings.prometheus_addr,
    ] {
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
fn every_file_is_asked_for_once() {
    let class = json!({"templates": {"defaultPath": "a", "regularPath": "b", "prebuildPath": "a", "imagebuildPath": ""}});
    let config = json!({"manager": {"workspaceClass": {"x": class, "y": class}}});
    assert_eq!(parse(&config.to_string()).unwrap().files(), ["a", "b"]);
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
