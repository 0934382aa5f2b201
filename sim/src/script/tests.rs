//! Table of pods and their next steps.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

mod held;

const NOW: &str = "2026-01-01T00:01:00Z";

/// The next step for a pod, as `act @seconds from now`.
fn check(annotations: &[(&str, &str)], pod: Value, expected: &str) {
    check_on(Host::Ours { spared: false }, annotations, pod, expected);
}

fn check_on(host: Host, annotations: &[(&str, &str)], pod: Value, expected: &str) {
    let mut whole = json!({
        "metadata": { "name": "p", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": {
            "restartPolicy": "Never", "nodeName": "node",
            "containers": [{ "name": "main", "image": "img", "readinessProbe": { "initialDelaySeconds": 3 } }],
        },
    });
    merge(&mut whole, pod);
    let pod: Pod = serde_json::from_value(whole).unwrap();
    let (script, faults) = read(annotations);
    assert_eq!(faults, []);
    let now: Timestamp = NOW.parse().unwrap();
    let mut seen = Seen::default();
    seen.observe(&pod, now);
    let step = next(&pod, &script, &seen, host, &Pace::default(), now);
    let next = step.map_or("nothing".to_owned(), |step| {
        let at = step.at.max(now).duration_since(now).as_secs_f64();
        format!("{:?} @{at:.1}", step.act)
    });
    assert_eq!(next, expected);
}

fn read(annotations: &[(&str, &str)]) -> (Script, Vec<Fault>) {
    let pairs = annotations
        .iter()
        .map(|(k, v)| (format!("{PREFIX}{k}"), (*v).to_owned()));
    Script::read(&pairs.collect::<BTreeMap<_, _>>())
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// A pod whose container is in this state since `NOW`.
fn with(state: Value, more: Value) -> Value {
    let mut status = json!({
        "phase": "Running", "startTime": NOW,
        "conditions": [
            { "type": "Initialized", "status": "True", "lastTransitionTime": NOW },
            { "type": "PodReadyToStartContainers", "status": "True" },
            { "type": "Ready", "status": "False" },
        ],
        "containerStatuses": [{
            "name": "main", "image": "img", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        }],
    });
    merge(&mut status["containerStatuses"][0], more);
    json!({ "status": status })
}

fn waiting(reason: &str) -> Value {
    with(json!({ "waiting": { "reason": reason } }), json!({}))
}

fn running() -> Value {
    with(json!({ "running": { "startedAt": NOW } }), json!({}))
}

fn ended(code: i32, restarts: i32) -> Value {
    let state = json!({ "terminated": { "exitCode": code, "finishedAt": NOW } });
    with(state, json!({ "restartCount": restarts }))
}

fn deleted(mut pod: Value, grace: i64) -> Value {
    let now: Timestamp = NOW.parse().unwrap();
    let at = (now + SignedDuration::from_secs(grace)).to_string();
    merge(
        &mut pod,
        json!({ "metadata": { "deletionTimestamp": at, "deletionGracePeriodSeconds": grace } }),
    );
    pod
}

fn policy(mut pod: Value, policy: &str) -> Value {
    merge(&mut pod, json!({ "spec": { "restartPolicy": policy } }));
    pod
}

#[test]
fn an_unbound_pod_is_scheduled() {
    let unbound = json!({ "spec": { "nodeName": null } });
    check(&[], unbound.clone(), "Schedule @0.0");
    check(
        &[("schedule-after", "2m")],
        unbound.clone(),
        "Schedule @61.0",
    );
    check(
        &[("unschedulable", "Insufficient cpu")],
        unbound.clone(),
        "Unschedulable(\"Insufficient cpu\") @0.0",
    );
    let mut gated = unbound.clone();
    merge(
        &mut gated,
        json!({ "spec": { "schedulingGates": [{ "name": "g" }] } }),
    );
    check(&[], gated, "nothing");
    check(&[], deleted(unbound, 0), "nothing");
}

#[test]
fn a_bound_pod_is_accepted_or_rejected() {
    check(&[], json!({}), "Accept @0.0");
    check(
        &[("reject", "OutOfcpu")],
        json!({}),
        "Reject(\"OutOfcpu\", None) @0.0",
    );
    check(
        &[("reject", "OutOfcpu"), ("reject-times", "2")],
        json!({}),
        "Reject(\"OutOfcpu\", Some(2)) @0.0",
    );
    check_on(Host::Foreign, &[], json!({}), "nothing");
    check_on(Host::Lost, &[], json!({}), "nothing");
}

#[test]
fn an_accepted_pod_pulls_and_starts() {
    let creating = || waiting("ContainerCreating");
    check(&[], creating(), "Start @0.1");
    check(
        &[("pull-after", "2s"), ("start-after", "1s")],
        creating(),
        "Start @3.0",
    );
    check(&[("failed-mount", "no")], creating(), "nothing");
    check(&[("network-not-ready", "true")], creating(), "nothing");
    check(
        &[("image-pull-error", "no")],
        creating(),
        "PullFailed(false) @0.1",
    );
    check(
        &[("image-pull-error", "no")],
        waiting("ErrImagePull"),
        "PullFailed(true) @0.6",
    );
    check(
        &[("image-pull-error", "no")],
        waiting("ImagePullBackOff"),
        "PullFailed(false) @1.1",
    );
    // The annotation was removed: the pod continues.
    check(&[], waiting("ImagePullBackOff"), "Start @0.1");
    let mut bare = creating();
    merge(
        &mut bare,
        json!({ "status": { "conditions": [{ "type": "Initialized", "status": "True" }] } }),
    );
    check(&[("pull-after", "2s")], bare, "Sandbox @0.1");
}

/// A pod with a deadline that was accepted so many seconds before `NOW`.
fn active(mut pod: Value, since: i64, deadline: i64) -> Value {
    let now: Timestamp = NOW.parse().unwrap();
    let started = (now - SignedDuration::from_secs(since)).to_string();
    merge(
        &mut pod,
        json!({ "spec": { "activeDeadlineSeconds": deadline }, "status": { "startTime": started } }),
    );
    pod
}

#[test]
fn a_pod_that_is_active_for_too_long_ends() {
    let mute = ("never-ready", "true");
    // The wake-up, after which its containers have time to end.
    check(
        &[mute],
        active(running(), 2, 7),
        "Deadline { killed: false } @6.0",
    );
    check(&[], active(running(), 2, 7), "Ready([\"main\"]) @3.0");
    // A deadline that is over when it is first seen counts from then.
    check(
        &[],
        active(running(), 10, 1),
        "Deadline { killed: false } @0.2",
    );
    check(
        &[("ignore-term", "true")],
        active(running(), 10, 1),
        "Deadline { killed: true } @30.0",
    );
    let mut short = active(running(), 10, 1);
    merge(
        &mut short,
        json!({ "spec": { "terminationGracePeriodSeconds": 5 } }),
    );
    check(
        &[("stop-after", "1m")],
        short,
        "Deadline { killed: true } @5.0",
    );
    // Nothing runs that could take time.
    let creating = active(waiting("ContainerCreating"), 10, 1);
    check(
        &[("failed-mount", "no")],
        creating,
        "Deadline { killed: false } @0.0",
    );
    check(
        &[("stuck-terminating", "true")],
        active(running(), 10, 1),
        "nothing",
    );
    check(
        &[],
        active(ended(0, 0), 10, 100),
        "Deadline { killed: false } @91.0",
    );
}

#[test]
fn a_running_pod_gets_ready_and_ends() {
    check(&[], running(), "Ready([\"main\"]) @3.0");
    check(
        &[("ready-after", "5s")],
        running(),
        "Ready([\"main\"]) @5.0",
    );
    check(&[("never-ready", "true")], running(), "nothing");
    check(&[("exit-after", "2s")], running(), "Exit @2.0");
    check(&[("evict-after", "1s")], running(), "Evict @1.0");
    check(&[("node-lost-after", "1s")], running(), "LoseNode @1.0");
    let spared = Host::Ours { spared: true };
    check_on(
        spared,
        &[("node-lost-after", "1s")],
        running(),
        "Ready([\"main\"]) @3.0",
    );
    check(&[], ended(0, 0), "nothing");
}

#[test]
fn a_lost_node_makes_its_pods_unready() {
    let mut ready = running();
    merge(
        &mut ready,
        json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } }),
    );
    check_on(Host::Lost, &[], ready, "Unreachable @0.0");
    check_on(Host::Lost, &[], deleted(running(), 30), "nothing");
    // It comes back: the container was ready all the time.
    let mut back = running();
    back["status"]["containerStatuses"][0]["ready"] = json!(true);
    check(&[], back, "Ready([]) @0.0");
}

#[test]
fn a_container_restarts_by_its_policy() {
    check(&[], policy(ended(1, 0), "Always"), "Start @0.0");
    check(&[], policy(ended(0, 0), "Always"), "Start @0.0");
    check(&[], policy(ended(0, 0), "OnFailure"), "nothing");
    check(&[], policy(ended(1, 0), "OnFailure"), "Start @0.0");
    check(&[], policy(ended(1, 2), "Always"), "BackOff @0.0");
    let paused = || {
        let last = json!({ "terminated": { "exitCode": 1, "finishedAt": NOW } });
        let state = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        policy(
            with(state, json!({ "restartCount": 3, "lastState": last })),
            "Always",
        )
    };
    check(&[], paused(), "Start @4.0");
    check(&[("restart-after", "10s")], paused(), "Start @10.0");
}

#[test]
fn a_deleted_pod_ends_within_its_grace() {
    check(
        &[],
        deleted(running(), 30),
        "Terminate { killed: false } @0.2",
    );
    check(
        &[("stop-after", "7s")],
        deleted(running(), 30),
        "Terminate { killed: false } @7.0",
    );
    check(
        &[("stop-after", "40s")],
        deleted(running(), 30),
        "Terminate { killed: true } @30.0",
    );
    check(
        &[("ignore-term", "true")],
        deleted(running(), 30),
        "Terminate { killed: true } @30.0",
    );
    check(
        &[("ignore-term", "true")],
        deleted(running(), 0),
        "Terminate { killed: true } @2.0",
    );
    check(
        &[("stuck-terminating", "true")],
        deleted(running(), 30),
        "nothing",
    );
    check(
        &[],
        deleted(waiting("ContainerCreating"), 30),
        "Terminate { killed: false } @0.0",
    );
    check(
        &[],
        deleted(json!({}), 30),
        "Terminate { killed: false } @0.0",
    );
}

#[test]
fn the_end_is_confirmed_once() {
    let over = || json!({ "status": { "phase": "Succeeded" } });
    check(&[], over(), "nothing");
    check(&[], deleted(over(), 30), "Confirm @0.0");
    let mut held = deleted(over(), 0);
    merge(&mut held, json!({ "metadata": { "finalizers": ["f"] } }));
    check(&[], held, "nothing");
    check(&[], deleted(over(), 0), "Confirm @2.0");
    check_on(Host::Lost, &[], deleted(over(), 30), "nothing");
}

#[test]
fn init_containers_run_one_by_one() {
    let pod = |first: Value, restarts: i32| {
        let status = |name: &str, state: Value, restarts: i32| json!({ "name": name, "image": "", "imageID": "", "ready": false, "restartCount": restarts, "state": state });
        json!({
            "spec": { "initContainers": [{ "name": "a" }, { "name": "b" }], "restartPolicy": "Always" },
            "status": {
                "phase": "Pending", "startTime": NOW,
                "initContainerStatuses": [status("a", first, restarts), status("b", json!({ "waiting": {} }), 0)],
            },
        })
    };
    let end = |code: i32| json!({ "terminated": { "exitCode": code, "finishedAt": NOW } });
    check(&[], pod(json!({ "waiting": {} }), 0), "StartInit(0) @0.1");
    check(
        &[("init-after", "2s")],
        pod(json!({ "running": { "startedAt": NOW } }), 0),
        "EndInit(0) @2.0",
    );
    check(&[], pod(end(0), 0), "StartInit(1) @0.0");
    check(&[], pod(end(1), 0), "StartInit(0) @0.0");
    check(&[], pod(end(1), 2), "BackOffInit(0) @0.0");
}

#[test]
fn sidecars_run_beside_the_containers_and_end_after_them() {
    let with = |mut pod: Value, filler: Value, sidecar: Value| {
        let inits = json!([
            { "name": "filler", "image": "img", "state": filler },
            { "name": "sidecar", "image": "img", "state": sidecar },
        ]);
        let spec = json!([
            { "name": "filler", "image": "img" },
            { "name": "sidecar", "image": "img", "restartPolicy": "Always" },
        ]);
        merge(&mut pod["spec"]["initContainers"], spec);
        merge(&mut pod["status"]["initContainerStatuses"], inits);
        pod
    };
    let runs = json!({ "running": { "startedAt": NOW } });
    let done = json!({ "terminated": { "exitCode": 0, "finishedAt": NOW } });
    let mut starting = waiting("PodInitializing");
    starting["status"]["conditions"] = json!([]);
    let fresh = with(starting.clone(), done.clone(), json!({ "waiting": {} }));
    check(&[], fresh, "StartInit(1) @0.0");
    // It has no end of its own.
    check(&[], with(starting, done.clone(), runs.clone()), "nothing");
    check(
        &[],
        with(running(), done.clone(), runs.clone()),
        "Ready([\"main\"]) @3.0",
    );
    let over = with(ended(0, 0), done.clone(), runs.clone());
    let later = [("sidecar-stop-after", "5s")];
    check(&later, over.clone(), "EndSidecars { killed: false } @5.0");
    check(
        &later,
        deleted(over.clone(), 30),
        "EndSidecars { killed: false } @5.0",
    );
    let late = [("sidecar-stop-after", "40s")];
    check(
        &late,
        deleted(over, 30),
        "EndSidecars { killed: true } @30.0",
    );
    // The containers end first.
    let both = deleted(with(running(), done, runs), 30);
    check(&[], both, "Terminate { killed: false } @0.2");
}

#[test]
fn what_cannot_be_read_is_reported_and_ignored() {
    let bad = [
        ("exit-after", "soon"),
        ("exit-code", "256"),
        ("exit-reason", "two words"),
        ("ignore-term", "yes"),
        ("pull-after", "-1s"),
        ("ready-after", "99999h"),
        ("reject", ""),
        ("reject-times", "-1"),
        ("tea", "now"),
    ];
    let (script, faults) = read(&bad);
    assert_eq!(script, Script::default());
    let keys: Vec<_> = faults
        .iter()
        .map(|f| f.key.trim_start_matches(PREFIX))
        .collect();
    assert_eq!(keys, bad.map(|(key, _)| key));
    assert!(faults.iter().all(|fault| !fault.why.is_empty()));
}

#[test]
fn durations_are_those_of_go() {
    for (text, millis) in [
        ("200ms", 200),
        ("1.5s", 1500),
        ("1m30s", 90_000),
        ("1h", 3_600_000),
        ("0", 0),
        ("0s", 0),
    ] {
        let (script, faults) = read(&[("exit-after", text)]);
        assert_eq!(faults, []);
        assert_eq!(
            script.exit_after,
            Some(SignedDuration::from_millis(millis)),
            "{text}"
        );
    }
}

#[test]
fn a_time_is_refined_within_its_second_only() {
    let mut seen = Seen::default();
    let pod: Pod =
        serde_json::from_value(json!({ "metadata": { "creationTimestamp": NOW } })).unwrap();
    let stated: Timestamp = NOW.parse().unwrap();
    seen.observe(&pod, stated + SignedDuration::from_millis(300));
    seen.observe(&pod, stated + SignedDuration::from_millis(800));
    assert_eq!(
        seen.at(Anchor::Created),
        Some(stated + SignedDuration::from_millis(300))
    );
    let mut late = Seen::default();
    late.observe(&pod, stated + SignedDuration::from_secs(60));
    assert_eq!(
        late.at(Anchor::Created),
        Some(stated + SignedDuration::from_millis(999))
    );
}
