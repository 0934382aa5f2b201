//! The kubelet's writes, field by field.

use serde_json::json;

use super::*;

const NOW: &str = "2026-01-01T00:01:00Z";

fn report(pod: Value, annotations: &[(&str, &str)], act: Act) -> Value {
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let pairs = annotations
        .iter()
        .map(|(k, v)| (format!("{}{k}", crate::script::PREFIX), (*v).to_owned()));
    let (script, _) = Script::read(&pairs.collect());
    let place = Place {
        ip: "10.0.0.1".to_owned(),
    };
    let report = of(
        &pod,
        &act,
        &script,
        &Pace::default(),
        &place,
        NOW.parse().unwrap(),
    );
    Value::Object(report.status)
}

fn pod() -> Value {
    json!({
        "metadata": { "name": "p", "namespace": "n", "uid": "u" },
        "spec": { "restartPolicy": "Never", "containers": [{ "name": "main", "image": "img" }] },
    })
}

#[test]
fn an_accepted_pod_has_the_kubelets_first_report() {
    let unready = |kind: &str| {
        json!({
            "type": kind, "status": "False", "lastTransitionTime": NOW,
            "reason": "ContainersNotReady", "message": "containers with unready status: [main]",
        })
    };
    let expected = json!({
        "phase": "Pending", "startTime": NOW, "hostIP": "10.0.0.1", "hostIPs": [{ "ip": "10.0.0.1" }],
        "conditions": [
            { "type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": NOW },
            { "type": "Initialized", "status": "True", "lastTransitionTime": NOW },
            unready("Ready"), unready("ContainersReady"),
        ],
        "containerStatuses": [{
            "name": "main", "image": "img", "imageID": "", "ready": false, "started": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ContainerCreating" } },
        }],
    });
    assert_eq!(report(pod(), &[], Act::Accept), expected);
}

#[test]
fn a_condition_is_sent_only_when_it_changes() {
    let mut ready = pod();
    ready["status"] = json!({
        "conditions": [
            { "type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "m" },
            { "type": "ContainersReady", "status": "True" },
        ],
        "containerStatuses": [{ "name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0 }],
    });
    let expected = json!({ "conditions": [
        { "type": "Ready", "status": "True", "lastTransitionTime": NOW, "reason": null, "message": null },
    ] });
    assert_eq!(report(ready, &[], Act::Ready(Vec::new())), expected);
}

#[test]
fn a_rejected_pod_has_no_containers() {
    let status = report(pod(), &[], Act::Reject("OutOfcpu".to_owned(), None));
    let expected = json!({
        "phase": "Failed", "reason": "OutOfcpu", "startTime": NOW,
        "message": "Pod was rejected: Node didn't have enough resource: cpu, requested: 4000, used: 62000, capacity: 64000",
    });
    assert_eq!(status, expected);
}

#[test]
fn an_open_readiness_gate_keeps_the_pod_unready() {
    let mut gated = pod();
    gated["spec"]["readinessGates"] = json!([{ "conditionType": "example.com/gate" }]);
    let status = report(gated, &[], Act::Accept);
    let mut started = pod();
    started["spec"]["readinessGates"] = json!([{ "conditionType": "example.com/gate" }]);
    started["status"] = status;
    let conditions = report(started, &[], Act::Start)["conditions"].clone();
    let find = |kind: &str| {
        let all = conditions.as_array().unwrap();
        all.iter()
            .find(|c| c["type"] == kind)
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(find("ContainersReady")["status"], "True");
    assert_eq!(find("Ready")["reason"], "ReadinessGatesNotReady");
}

#[test]
fn a_restart_keeps_the_last_end() {
    let mut ended = pod();
    ended["spec"]["restartPolicy"] = json!("Always");
    let last = json!({ "exitCode": 3, "reason": "Error", "finishedAt": NOW });
    ended["status"] = json!({ "phase": "Running", "containerStatuses": [{
        "name": "main", "image": "img", "imageID": "", "ready": false, "restartCount": 1, "state": { "terminated": last },
    }] });
    let status = &report(ended, &[], Act::Start)["containerStatuses"][0];
    assert_eq!(status["restartCount"], 2);
    assert_eq!(status["lastState"]["terminated"], last);
    assert_eq!(status["state"]["running"]["startedAt"], NOW);
}

#[test]
fn a_pod_that_is_active_for_too_long_fails() {
    let mut late = pod();
    late["spec"]["initContainers"] = json!([{ "name": "init", "image": "i" }]);
    let status = |name: &str, state: Value| json!({ "name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
    let running = json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } });
    late["status"] = json!({
        "initContainerStatuses": [status("init", running.clone())],
        "containerStatuses": [status("main", json!({ "waiting": { "reason": "PodInitializing" } }))],
    });
    let early = report(late.clone(), &[], Act::Deadline { killed: false });
    assert_eq!(
        (&early["phase"], &early["reason"], &early["message"]),
        (
            &json!("Failed"),
            &json!("DeadlineExceeded"),
            &json!("Pod was active on the node longer than the specified deadline")
        )
    );
    let end = &early["initContainerStatuses"][0]["state"]["terminated"];
    assert_eq!(end["exitCode"], 137);
    // It never began, and has no end either.
    let state = &early["containerStatuses"][0]["state"];
    assert_eq!(
        state,
        &json!({ "waiting": { "reason": "PodInitializing" } })
    );

    let done = json!({ "terminated": { "exitCode": 0 } });
    late["status"] = json!({
        "conditions": [{ "type": "Initialized", "status": "True" }],
        "initContainerStatuses": [status("init", done)],
        "containerStatuses": [status("main", running)],
    });
    let end = |annotations: &[(&str, &str)], killed| {
        let report = report(late.clone(), annotations, Act::Deadline { killed });
        let end = &report["containerStatuses"][0]["state"]["terminated"];
        (end["exitCode"].clone(), end["reason"].clone())
    };
    assert_eq!(end(&[], false), (json!(0), json!("Completed")));
    let stubborn = end(&[("exit-code", "143")], false);
    assert_eq!(stubborn, (json!(143), json!("Error")));
    assert_eq!(end(&[], true), (json!(137), json!("Error")));
}
