//! Containers that run until an exec.

use super::*;

#[test]
fn a_container_runs_until_an_exec() {
    let held = ("until-exec", "main");
    let done = ("execs", "main=2026-01-01T00:01:01.5Z");
    check(&[held, ("exit-after", "2s")], running(), "nothing");
    check(&[held, done], running(), "Ready([\"main\"]) @4.5");
    check(&[held, done, ("exit-after", "2s")], running(), "Exit @3.5");
    // Of another container it changes nothing.
    let other = ("until-exec", "other");
    check(&[other, ("exit-after", "2s")], running(), "Exit @2.0");
    let mut init = waiting("PodInitializing");
    merge(
        &mut init,
        json!({
            "spec": { "initContainers": [{ "name": "main" }] },
            "status": {
                "conditions": [],
                "initContainerStatuses": [{
                    "name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { "running": { "startedAt": NOW } },
                }],
            },
        }),
    );
    check(&[held], init.clone(), "nothing");
    check(&[held, done], init, "EndInit(0) @0.0");
    let (_, faults) = read(&[
        ("exec-error", "99"),
        ("execs", "main"),
        ("exec-exit-code", "256"),
    ]);
    assert_eq!(faults.len(), 3, "{faults:?}");
}
