//! Cases recorded from the classic manager that only a call can answer: exposing ports, and the texts of validation.
//! They are read from beside the checkout if they exist; the offline verbs answer the rest.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::{Value, json};
use tonic::Code;
use wsman::proto::wsman::*;

use super::support::cluster;
use super::support::world::World;

#[tokio::test]
async fn ports_are_exposed_as_recorded() {
    let cluster = cluster::embedded().await;
    let world = World::start_with(cluster.client().await, &cluster.namespace, |config| {
        let manager = &mut config["manager"];
        manager["hostURL"] = "gitpod.io".into();
        manager["portUrlTemplate"] =
            "http://{{ .WorkspacePort }}-{{ .ID }}-{{ .Prefix }}-{{ .Host }}".into();
    })
    .await;
    let pods = cluster.api::<Pod>().await;
    for (name, case, golden) in cases("control_port") {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "ws-foobar",
                "labels": { "gpwsman": "true", "workspaceID": "foobar", "workspaceType": "regular" },
                "annotations": {
                    "gitpod/id": "foobar",
                    "gitpod/servicePrefix": "servicePrefix",
                    "gitpod/url": "http://foobar-servicePrefix-gitpod.io",
                },
            },
            "spec": { "containers": [{ "name": "workspace", "image": "workspace" }] },
        }))
        .unwrap();
        let mut updates = world.subscribe().await;
        pods.create(&PostParams::default(), &pod).await.unwrap();
        updates.until("foobar", WorkspacePhase::Running).await;
        let request: ControlPortRequest = serde_json::from_value(case["request"].clone()).unwrap();
        let answer = world.client.clone().control_port(request).await;
        let refused = answer.err().map(|status| status.message().to_owned());
        assert_eq!(refused.as_deref(), golden["error"].as_str(), "{name}");
        let exposed = world.describe("foobar").await.unwrap().spec.unwrap();
        let exposed: Vec<_> = exposed.exposed_ports.iter().map(plain).collect();
        let recorded = golden["postChangeStatus"].as_array().cloned();
        assert_eq!(exposed, recorded.unwrap_or_default(), "{name}");
        pods.delete("ws-foobar", &Default::default()).await.unwrap();
        updates.until("foobar", WorkspacePhase::Stopped).await;
        cluster.gone::<Pod>("ws-foobar").await;
    }
    world.drain().await.unwrap();
}

#[tokio::test]
async fn requests_are_refused_in_the_recorded_words() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    for (name, case, golden) in cases("validate_start") {
        let mut request: StartWorkspaceRequest = serde_json::from_value(known(&case["request"]))
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        // An unknown number has no JSON form.
        request.r#type = i32::try_from(case["request"]["type"].as_i64().unwrap()).unwrap();
        if case["bloatEnv"] == true {
            let bloat = EnvironmentVariable {
                name: "BLOAT".to_owned(),
                value: "x".repeat(2 * 768 * 1024),
                secret: None,
            };
            request.spec.as_mut().unwrap().envvars.push(bloat);
        }
        let answer = world.client.clone().start_workspace(request).await;
        match (golden["error"].as_str(), answer) {
            // A valid request needs content, for which there is no backend.
            (None, answer) => {
                let refused = answer.expect_err(&name);
                assert_eq!(
                    refused.code(),
                    Code::FailedPrecondition,
                    "{name}: {refused}"
                );
            }
            (Some(text), answer) => {
                let refused = answer.expect_err(&name);
                assert_eq!(refused.code(), Code::InvalidArgument, "{name}: {refused}");
                // The limit of a Secret was a thousand times as large by mistake.
                let text = text.split(" (").next().unwrap();
                let text = text.trim_end_matches('.');
                assert!(refused.message().contains(text), "{name}: {refused}");
                assert!(
                    refused
                        .message()
                        .starts_with("invalid start workspace request: "),
                    "{name}: {refused}"
                );
            }
        }
    }
    world.drain().await.unwrap();
}

/// A port as the recording prints it; its URL here has a scheme, there it had none.
fn plain(port: &PortSpec) -> Value {
    let mut value = json!({ "port": port.port });
    for (key, number) in [("visibility", port.visibility), ("protocol", port.protocol)] {
        if number != 0 {
            value[key] = number.into();
        }
    }
    if !port.url.is_empty() {
        value["url"] = port.url.trim_start_matches("http://").into();
    }
    value
}

/// What the protocol still knows of a recorded request.
fn known(request: &Value) -> Value {
    let pick = |from: &Value, keys: &[&str]| -> Value {
        let fields = from.as_object().into_iter().flatten();
        fields
            .filter(|(key, _)| keys.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let mut known = pick(
        request,
        &["id", "service_prefix", "servicePrefix", "metadata"],
    );
    let spec = [
        "workspace_image",
        "feature_flags",
        "initializer",
        "ports",
        "envvars",
        "workspace_location",
        "git",
        "timeout",
        "admission",
    ];
    known["spec"] = pick(&request["spec"], &spec);
    known
}

/// Name, input and expectation of every recorded case of a kind.
fn cases(kind: &str) -> Vec<(String, Value, Value)> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/recorded")
        .join(kind);
    let Ok(files) = std::fs::read_dir(&folder) else {
        eprintln!("no recorded cases of {kind}: nothing is compared");
        return Vec::new();
    };
    let read = |path: &Path| -> Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let mut cases: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, read(&path), read(&path.with_extension("golden")))
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases
}
