//! Whatever order pods and warnings about them come in, a version of a pod has one status.

use proptest::prelude::*;

use super::*;
use crate::objects::Event;

#[derive(Debug, Clone, Copy)]
struct Warning {
    pod: u8,
    /// 0: the reporter did not know.
    uid: u64,
    name: u8,
    reason: usize,
    second: u8,
    gone: bool,
}

const REASONS: [&str; 5] = [
    "FailedMount",
    "FailedAttachVolume",
    "NetworkNotReady",
    "FailedCreatePodSandBox",
    "FailedScheduling",
];

fn warnings() -> impl Strategy<Value = Vec<Warning>> {
    let one = (
        0..2u8,
        0..3u64,
        0..4u8,
        0..REASONS.len(),
        any::<u8>(),
        prop::bool::weighted(0.1),
    );
    let one = one.prop_map(|(pod, uid, name, reason, second, gone)| Warning {
        pod,
        uid,
        name,
        reason,
        second: second % 60,
        gone,
    });
    prop::collection::vec(one, 0..12)
}

/// The warning as the API server has it at a version; it counts up each time.
fn event(warning: Warning, version: u64) -> Event {
    let pod = format!("ws-{}", warning.pod);
    let uid = match warning.uid {
        0 => String::new(),
        uid => format!("{pod}-{uid}"),
    };
    let value = json!({
        "metadata": { "name": format!("{pod}.{}.{}", warning.uid, warning.name), "resourceVersion": version.to_string() },
        "involvedObject": { "kind": "Pod", "name": pod, "uid": uid },
        "type": "Warning", "reason": REASONS[warning.reason], "message": format!("said {version}"), "count": version % 5,
        "lastTimestamp": format!("2026-01-01T00:00:{:02}Z", warning.second),
    });
    serde_json::from_value(value).expect("an event")
}

/// A pod in a new state: a pod that has ended, or was removed, is followed by a new one of its name.
fn pods(states: &[(u8, u8, bool)]) -> Vec<(bool, Pod)> {
    let mut uids = [1u64; 2];
    let mut there = [false; 2];
    let mut past = Vec::new();
    for (number, (at, state, removed)) in states.iter().enumerate() {
        let (slot, version) = (usize::from(at % 2), number as u64 + 1);
        let pod = pod(&format!("ws-{slot}"), uids[slot], version, *state);
        if *removed && there[slot] {
            uids[slot] += 1;
        }
        there[slot] = !removed || !there[slot];
        past.push((there[slot], pod));
    }
    past
}

/// Takes in both streams, each in its order, merged as `pods_first` says; pods are read again where the index asks.
fn index(pods: &[(bool, Pod)], warnings: &[Warning], pods_first: &[bool]) -> Index {
    let mut index = Index::default();
    let (mut pods, mut warnings) = (pods.iter(), warnings.iter().zip(1..));
    let mut current: HashMap<Arc<str>, Pod> = HashMap::new();
    for pod_first in pods_first.iter().copied().chain([true, false].repeat(64)) {
        let changes = if pod_first {
            let Some((lives, pod)) = pods.next() else {
                continue;
            };
            current.insert(pod.metadata.name.as_str().into(), pod.clone());
            match lives {
                true => index.apply_pod(pod),
                false => index.delete_pod(pod),
            }
        } else {
            let Some((warning, version)) = warnings.next() else {
                continue;
            };
            let event = event(*warning, version);
            match warning.gone {
                true => index.delete_event(&event),
                false => index.apply_event(event),
            }
        };
        for name in changes.reread {
            if let Some(pod) = current.get(&name) {
                index.see_pod(pod);
            }
        }
    }
    index
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn a_version_of_a_pod_has_one_status(
        states in prop::collection::vec((any::<u8>(), any::<u8>(), prop::bool::weighted(0.2)), 1..10),
        warnings in warnings(),
        order in prop::collection::vec(any::<bool>(), 0..24),
    ) {
        let pods = pods(&states);
        let merged = index(&pods, &warnings, &order);
        let warnings_first = index(&pods, &warnings, &[false; 16]);
        let pods_first = index(&pods, &warnings, &[true; 16]);
        for other in [&warnings_first, &pods_first] {
            let status = |index: &Index, name: &Arc<str>| index.by_pod(name).map(|group| group.status().read());
            prop_assert_eq!(merged.pods.len(), other.pods.len());
            for name in merged.pods.keys() {
                prop_assert_eq!(status(&merged, name), status(other, name));
            }
        }
    }
}

#[test]
fn warnings_of_strangers_are_bounded() {
    let mut index = Index::default();
    for number in 0..6000u64 {
        let value = json!({
            "metadata": { "name": format!("e{number}"), "resourceVersion": "1" },
            "involvedObject": { "kind": "Pod", "name": format!("other-{number}"), "uid": "1" },
            "type": "Warning", "reason": "FailedMount", "message": "m",
        });
        index.apply_event(serde_json::from_value(value).expect("an event"));
    }
    assert!(index.warnings.of("other-0").is_empty());
    assert_eq!(index.warnings.of("other-5999").len(), 1);
    for number in 0..100u8 {
        let warning = Warning {
            pod: 0,
            uid: 1,
            name: number,
            reason: 0,
            second: number % 60,
            gone: false,
        };
        index.apply_event(event(warning, u64::from(number) + 1));
    }
    assert_eq!(index.warnings.of("ws-0").len(), 8);
}
