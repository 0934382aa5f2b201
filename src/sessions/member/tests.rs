//! The table of health, a pod for each row.

use serde_json::{Value, json};

use super::*;

fn pod(status: Value) -> Pod {
    let pod = json!({
        "metadata": {"name": "s1-a", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": status,
    });
    serde_json::from_value(pod).unwrap()
}

fn main_is(state: Value) -> Value {
    json!({"phase": "Running", "containerStatuses": [{"name": "main", "state": state}]})
}

fn waits(reason: &str) -> Value {
    main_is(json!({"waiting": {"reason": reason, "message": "why"}}))
}

#[test]
fn c11_17_each_row_of_the_health_table() {
    let scheduled = |status: &str, reason: &str| {
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": status, "reason": reason,
            "message": "why", "lastTransitionTime": "2026-01-01T00:01:00Z"}]})
    };
    let ended = |code: i64| main_is(json!({"terminated": {"exitCode": code, "reason": "Error"}}));
    for (status, health, reason) in [
        (ended(0), Health::Completed, ""),
        (ended(3), Health::Broken, "Error"),
        (
            json!({"phase": "Failed", "reason": "Evicted"}),
            Health::Broken,
            "Evicted",
        ),
        (json!({"phase": "Failed"}), Health::Broken, "Failed"),
        (json!({"phase": "Succeeded"}), Health::Completed, ""),
        (
            waits("InvalidImageName"),
            Health::Broken,
            "InvalidImageName",
        ),
        (
            waits("CrashLoopBackOff"),
            Health::Broken,
            "CrashLoopBackOff",
        ),
        (
            waits("ImagePullBackOff"),
            Health::NotReady,
            "ImagePullBackOff",
        ),
        (
            waits("ContainerCreating"),
            Health::NotReady,
            "ContainerCreating",
        ),
        (
            scheduled("False", "Unschedulable"),
            Health::NotReady,
            "Unschedulable",
        ),
        (scheduled("True", ""), Health::NotReady, ""),
        (
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
            Health::Ready,
            "",
        ),
        (json!({}), Health::NotReady, ""),
    ] {
        let judged = judge(&pod(status.clone()));
        assert_eq!(
            (judged.health, &*judged.reason),
            (health, reason),
            "{status}"
        );
    }
}

#[test]
fn an_exit_code_outweighs_the_deadline_of_the_pod() {
    let mut status = main_is(json!({"terminated": {"exitCode": 0}}));
    status["phase"] = "Failed".into();
    status["reason"] = "DeadlineExceeded".into();
    assert_eq!(judge(&pod(status)).health, Health::Completed);
}

#[test]
fn a_gate_and_a_deletion_are_seen_before_the_state() {
    let mut gated = pod(json!({"phase": "Pending"}));
    gated.spec.scheduling_gates = vec![serde_json::from_value(json!({"name": GATE})).unwrap()];
    assert_eq!(judge(&gated).health, Health::Waiting);
    gated.spec.scheduling_gates[0].name = "example.com/other".to_owned();
    assert_eq!(&*judge(&gated).reason, "example.com/other");
    gated.metadata.deletion_timestamp = Some(Timestamp::UNIX_EPOCH);
    assert_eq!(judge(&gated).health, Health::Ending);
}

#[test]
fn c11_19_an_exit_before_the_deadline_that_is_seen_after_it_succeeds() {
    let ended = |at: &str| {
        let pod = json!({
            "spec": {"activeDeadlineSeconds": 60},
            "status": {
                "phase": "Failed", "reason": "DeadlineExceeded", "startTime": "2026-01-01T00:00:00Z",
                "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 0, "finishedAt": at}}}],
            },
        });
        judge(&serde_json::from_value(pod).unwrap()).health
    };
    assert_eq!(ended("2026-01-01T00:00:59Z"), Health::Completed);
    assert_eq!(ended("2026-01-01T00:01:00Z"), Health::Broken);
}

#[test]
fn timeout_counts_from_a_time_on_the_pod() {
    let created: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let judged = judge(&pod(waits("ErrImagePull")));
    assert_eq!(judged.wrong, Some((created, Wrong::Image)));
}

#[test]
fn a_slot_is_free_when_nothing_runs_any_more() {
    let mut status = main_is(json!({"running": {}}));
    status["phase"] = "Failed".into();
    assert!(holds_slot(&pod(status)));
    assert!(!holds_slot(&pod(json!({"phase": "Failed"}))));
    assert!(holds_slot(&pod(json!({"phase": "Running"}))));
}
