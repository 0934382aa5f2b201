//! Table of pods and their next steps.

use serde_json::{Value, json};

use super::Kind::{Init, Main, Sidecar};
use super::*;

const NOW: &str = "2026-01-01T00:01:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn member(kind: Kind, name: &str, state: Value, more: Value) -> Member {
    let mut status = json!({
        "name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
    });
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        status[key] = value;
    }
    let status = serde_json::from_value(status).unwrap();
    Member { kind, status }
}

fn fresh(kind: Kind, name: &str) -> Member {
    member(kind, name, json!({ "waiting": {} }), json!({}))
}

fn running(kind: Kind, name: &str) -> Member {
    let state = json!({ "running": { "startedAt": NOW } });
    member(kind, name, state, json!({ "started": true }))
}

fn ended(kind: Kind, name: &str, code: i32, restarts: i32) -> Member {
    let state = json!({ "terminated": { "exitCode": code, "startedAt": NOW, "finishedAt": NOW } });
    member(kind, name, state, json!({ "restartCount": restarts }))
}

fn check(policy: RestartPolicy, members: &[Member], expected: &str) {
    check_with(policy, members, |_| {}, expected);
}

/// The next steps of the members, such as `start a, back off b @1s`.
fn check_with(
    policy: RestartPolicy,
    members: &[Member],
    edit: impl FnOnce(&mut View<'_>),
    expected: &str,
) {
    check_ending(policy, members, &[], edit, expected);
}

fn check_ending(
    policy: RestartPolicy,
    members: &[Member],
    stops: &[(&str, Stop)],
    edit: impl FnOnce(&mut View<'_>),
    expected: &str,
) {
    let stops = stops
        .iter()
        .map(|(name, stop)| ((*name).to_owned(), *stop))
        .collect();
    let mut view = View {
        members,
        policy,
        mounted: true,
        ending: None,
        stops: &stops,
        not_before: Timestamp::MIN,
        back_off: SignedDuration::from_secs(1),
        now: now(),
    };
    edit(&mut view);
    let at = view.now;
    let plan = next(&view);
    let name = |index: usize| members[index].status.name.as_str();
    let acts = plan.acts.iter().map(|act| match act {
        Act::Mount => "mount".to_owned(),
        Act::Start(index) => format!("start {}", name(*index)),
        Act::BackOff(index) => format!("back off {}", name(*index)),
        Act::End => "end".to_owned(),
        Act::Terminate(index) => format!("terminate {}", name(*index)),
        Act::Kill(index) => format!("kill {}", name(*index)),
        Act::Finish { succeeded: true } => "succeeded".to_owned(),
        Act::Finish { succeeded: false } => "failed".to_owned(),
    });
    let mut text = acts.collect::<Vec<_>>().join(", ");
    if let Some(wake) = plan.wake {
        text += &format!(" @{}s", wake.duration_since(at).as_secs());
    }
    assert_eq!(text.trim(), expected);
}

use RestartPolicy::{Always, Never, OnFailure};

#[test]
fn volumes_come_first() {
    let members = [fresh(Main, "m")];
    check_with(Never, &members, |view| view.mounted = false, "mount");
    let later = |view: &mut View<'_>| {
        view.mounted = false;
        view.not_before = view.now + SignedDuration::from_secs(3);
    };
    check_with(Never, &members, later, "@3s");
}

#[test]
fn init_containers_run_one_after_the_other() {
    let main = || fresh(Main, "m");
    check(
        Never,
        &[fresh(Init, "a"), fresh(Init, "b"), main()],
        "start a",
    );
    check(Never, &[running(Init, "a"), fresh(Init, "b"), main()], "");
    check(
        Never,
        &[ended(Init, "a", 0, 0), fresh(Init, "b"), main()],
        "start b",
    );
    check(
        Never,
        &[ended(Init, "a", 0, 0), ended(Init, "b", 0, 0), main()],
        "start m",
    );
    check(
        Never,
        &[ended(Init, "a", 1, 0), fresh(Init, "b"), main()],
        "end",
    );
    check(
        OnFailure,
        &[ended(Init, "a", 1, 0), fresh(Init, "b"), main()],
        "start a",
    );
    check(
        Always,
        &[ended(Init, "a", 1, 1), fresh(Init, "b"), main()],
        "back off a",
    );
}

#[test]
fn the_next_container_starts_when_a_sidecar_has_started() {
    let main = || fresh(Main, "m");
    let members = [fresh(Sidecar, "s"), fresh(Sidecar, "t"), main()];
    check(Never, &members, "start s");
    let state = json!({ "running": { "startedAt": NOW } });
    let starting = member(Sidecar, "s", state, json!({ "started": false }));
    check(Never, &[starting, fresh(Sidecar, "t"), main()], "");
    check(
        Never,
        &[running(Sidecar, "s"), fresh(Sidecar, "t"), main()],
        "start t",
    );
    check(Never, &[running(Sidecar, "s"), main()], "start m");
}

#[test]
fn a_sidecar_restarts_while_the_pod_runs() {
    let main = || running(Main, "m");
    check(Never, &[ended(Sidecar, "s", 0, 0), main()], "start s");
    check(Never, &[ended(Sidecar, "s", 3, 2), main()], "back off s");
    let last = json!({ "terminated": { "exitCode": 3, "startedAt": NOW, "finishedAt": NOW } });
    let waits = member(
        Sidecar,
        "s",
        json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
        json!({ "restartCount": 2, "lastState": last }),
    );
    check(Never, &[waits, main()], "@2s");
}

#[test]
fn a_container_restarts_by_its_policy() {
    check(Always, &[ended(Main, "m", 0, 0)], "start m");
    check(OnFailure, &[ended(Main, "m", 0, 0)], "end");
    check(OnFailure, &[ended(Main, "m", 1, 0)], "start m");
    check(Never, &[ended(Main, "m", 1, 0)], "end");
    check(Never, &[ended(Main, "m", 1, 0), running(Main, "other")], "");
    check(Always, &[ended(Main, "m", 1, 2)], "back off m");
    let long = json!({ "terminated": { "exitCode": 1, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:30:00Z" } });
    let stable = member(Main, "m", long, json!({ "restartCount": 5 }));
    let after = |view: &mut View<'_>| view.now = "2026-01-01T00:30:01Z".parse().unwrap();
    check_with(Always, &[stable], after, "start m");
}

fn in_grace(view: &mut View<'_>) {
    view.ending = Some(view.now + SignedDuration::from_secs(10));
}

fn late(view: &mut View<'_>) {
    view.ending = Some(view.now);
}

#[test]
fn containers_end_before_sidecars_and_those_in_reverse() {
    let both = || [running(Sidecar, "s"), running(Sidecar, "t")];
    let [s, t] = both();
    check_ending(
        Never,
        &[s, t, running(Main, "m")],
        &[],
        in_grace,
        "terminate m",
    );
    let terminated = Stop::Terminated(now());
    let [s, t] = both();
    check_ending(
        Never,
        &[s, t, running(Main, "m")],
        &[("m", terminated)],
        in_grace,
        "@10s",
    );
    let [s, t] = both();
    check_ending(
        Never,
        &[s, t, ended(Main, "m", 0, 0)],
        &[],
        in_grace,
        "terminate t",
    );
    let [s, _] = both();
    let members = [s, ended(Sidecar, "t", 0, 0), ended(Main, "m", 0, 0)];
    check_ending(
        Never,
        &members,
        &[("t", terminated)],
        in_grace,
        "terminate s",
    );
    let members = [ended(Sidecar, "s", 7, 0), ended(Main, "m", 0, 0)];
    check_ending(Never, &members, &[], in_grace, "succeeded");
}

#[test]
fn what_outlives_the_grace_period_is_killed() {
    let main = || [running(Sidecar, "s"), running(Main, "m")];
    let terminated = Stop::Terminated(now() - SignedDuration::from_secs(10));
    check_ending(Never, &main(), &[("m", terminated)], late, "kill m");
    check_ending(Never, &main(), &[("m", Stop::Killed)], late, "");
    let sidecars = || {
        [
            running(Sidecar, "s"),
            running(Sidecar, "t"),
            ended(Main, "m", 137, 0),
        ]
    };
    check_ending(Never, &sidecars(), &[], late, "terminate t, terminate s");
    let just = Stop::Terminated(now());
    check_ending(
        Never,
        &sidecars(),
        &[("t", terminated), ("s", just)],
        late,
        "kill t @2s",
    );
}

#[test]
fn a_pod_fails_with_its_containers() {
    check_ending(Never, &[ended(Main, "m", 1, 0)], &[], in_grace, "failed");
    let members = [ended(Init, "a", 1, 0), fresh(Main, "m")];
    check_ending(Never, &members, &[], in_grace, "failed");
    let running = [running(Init, "a"), fresh(Main, "m")];
    check_ending(Never, &running, &[], in_grace, "terminate a");
}
