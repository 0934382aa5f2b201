//! The pods of a session.

use serde_json::{Value, json};

use super::*;
use crate::proto::wsman::sessions::v1::{Peers, StartSessionRequest};

fn planned() -> Plan {
    let request: StartSessionRequest = serde_json::from_value(json!({
        "id": "s1",
        "spec": {
            "components": [
                {"name": "c1", "role": "client", "image": "i:1", "pool": "p", "ports": [{"name": "rpc", "port": 7}]},
                {"name": "driver", "role": "driver", "image": "i:1", "pool": "p", "env": {"A": "$(B)"}},
                {"name": "v2", "role": "server", "image": "i:1", "pool": "p"},
                {"name": "v1", "role": "server", "image": "i:1", "pool": "p",
                 "secrets": [{"secret": "key", "path": "/var/key"}]},
            ],
            "peers": {"variable": "QPS_WORKERS", "roleOrder": ["server"]},
            "labels": {"suite": "nightly"},
        },
    }))
    .unwrap();
    let rules = SessionRules::default();
    let request = SessionRequest::parse(request, &rules).unwrap();
    plan(&request, &rules, Timestamp::UNIX_EPOCH).unwrap()
}

fn env(pod: &Pod) -> BTreeMap<String, String> {
    let main = &pod.spec.as_ref().unwrap().containers[0];
    let env = main.env.iter().flatten();
    env.map(|v| (v.name.clone(), v.value.clone().unwrap()))
        .collect()
}

#[test]
fn the_decider_is_the_anchor_and_has_the_spec() {
    let plan = planned();
    let meta = &plan.anchor.metadata;
    assert_eq!(meta.name.as_deref(), Some("s1"));
    let packed = &meta.annotations.as_ref().unwrap()[annotation::SPEC];
    assert_eq!(packed::unpack(packed).unwrap().components.len(), 4);
    let others: Vec<_> = plan
        .members
        .iter()
        .map(|pod| pod.metadata.name.clone().unwrap())
        .collect();
    assert_eq!(others, ["s1.c1", "s1.v2", "s1.v1"]);
}

#[test]
fn the_decider_knows_each_other_component_once_in_the_order_of_roles() {
    let env = env(&planned().anchor);
    assert_eq!(
        env["QPS_WORKERS"],
        "v2.s1.default.svc,v1.s1.default.svc,c1.s1.default.svc:7"
    );
    assert_eq!(env["A"], "$$(B)");
}

#[test]
fn every_pod_is_gated_and_on_a_machine_of_its_own() {
    let plan = planned();
    for pod in plan.members.iter().chain([&plan.anchor]) {
        let value: Value = serde_json::to_value(pod).unwrap();
        assert_eq!(value["spec"]["schedulingGates"], json!([{"name": GATE}]));
        assert_eq!(value["spec"]["nodeSelector"], json!({"pool": "p"}));
        assert_eq!(
            value["metadata"]["labels"]["session.wsman.dev/suite"],
            "nightly"
        );
        assert_eq!(value["metadata"]["annotations"][annotation::MEMBERS], "4");
        assert!(value["spec"]["activeDeadlineSeconds"].as_i64().unwrap() > 0);
    }
}

#[test]
fn a_spec_that_is_too_large_is_refused_with_its_size() {
    let mut spec = SessionSpec::default();
    let mut random = fastrand::Rng::with_seed(1);
    let text: String = std::iter::repeat_with(|| random.alphanumeric())
        .take(400 << 10)
        .collect();
    spec.components.push(Component {
        name: "driver".to_owned(),
        env: [("A".to_owned(), text)].into(),
        ..Component::default()
    });
    let request = SessionRequest {
        id: "s1".to_owned(),
        spec,
        fingerprint: String::new(),
    };
    let error = plan(&request, &SessionRules::default(), Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(
        error.to_string().contains("bytes when it is packed"),
        "{error}"
    );
}

#[test]
fn the_decider_may_have_its_peers_in_a_file() {
    let mut request: StartSessionRequest = serde_json::from_value(json!({
        "id": "s1",
        "spec": {"components": [
            {"name": "driver", "role": "driver", "image": "i:1", "pool": "p"},
            {"name": "a", "role": "server", "image": "i:1", "pool": "p", "ports": [{"name": "rpc", "port": 7}]},
            {"name": "b", "role": "server", "image": "i:1", "pool": "p"},
        ]},
    }))
    .unwrap();
    let peers = Peers {
        file: "/etc/bench/peers".to_owned(),
        ..Peers::default()
    };
    request.spec.as_mut().unwrap().peers = Some(peers);
    let rules = SessionRules::default();
    let request = SessionRequest::parse(request, &rules).unwrap();
    let plan = plan(&request, &rules, Timestamp::UNIX_EPOCH).unwrap();
    let marks = plan.anchor.metadata.annotations.unwrap();
    let lines = "a.s1.default.svc:7\nb.s1.default.svc\n";
    assert_eq!(marks[annotation::PEERS], lines);
    let spec = plan.anchor.spec.unwrap();
    let mounts = spec.containers[0].volume_mounts.as_ref().unwrap();
    let mut mounts = mounts.iter();
    let mount = mounts.find(|mount| mount.mount_path == "/etc/bench/peers");
    assert_eq!(mount.unwrap().sub_path.as_deref(), Some("peers"));
    assert!(spec.volumes.unwrap()[0].downward_api.is_some());
    // One with ports is ready when it listens, the others when they run.
    let specs = plan.members.iter().filter_map(|pod| pod.spec.as_ref());
    let probed = specs.map(|spec| spec.containers[0].readiness_probe.is_some());
    assert_eq!(probed.collect::<Vec<_>>(), [true, false]);
}
