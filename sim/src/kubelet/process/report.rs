//! The status of a pod whose containers are processes, as a patch of what the API server has; pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use super::fields::LOOPBACK;
use super::order::{Kind, Member, has_started, is_initialized};
use crate::kubelet::pod::Pod;
use crate::kubelet::report::conditions::{self, Wanted};
use crate::script::last_exit;

/// The end of a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finished {
    pub(crate) succeeded: bool,
    /// Why, if not because of its containers.
    pub(crate) reason: Option<(&'static str, String)>,
    /// No container of it ran.
    pub(crate) refused: bool,
}

/// The statuses that were written last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Written {
    init: Value,
    main: Value,
}

/// The fields that differ from the pod's status, and what is known of the written statuses after that.
pub(crate) fn patch(
    pod: &Pod,
    members: &[Member],
    finished: Option<&Finished>,
    written: &Written,
    host_ip: &str,
    now: Timestamp,
) -> (Map<String, Value>, Written) {
    let mut status = Map::new();
    let mut set = |key: &str, value: Value| {
        status.insert(key.to_owned(), value);
    };
    if pod.status.start_time.is_none() {
        set("startTime", json!(Time(now)));
        set("hostIP", json!(host_ip));
        set("hostIPs", json!([{ "ip": host_ip }]));
    }
    let started = |kind| {
        let mut all = members.iter().filter(move |member| member.kind == kind);
        all.any(|member| has_started(&member.status))
    };
    let any = started(Kind::Main) || started(Kind::Sidecar) || started(Kind::Init);
    if any && pod.status.pod_ip.is_none() {
        set("podIP", json!(LOOPBACK));
        set("podIPs", json!([{ "ip": LOOPBACK }]));
    }
    let phase = match finished {
        Some(finished) if finished.succeeded => "Succeeded",
        Some(_) => "Failed",
        None if started(Kind::Main) => "Running",
        None => "Pending",
    };
    if pod.status.phase.as_deref() != Some(phase) || pod.status.start_time.is_none() {
        set("phase", json!(phase));
    }
    let reason = finished.and_then(|finished| finished.reason.as_ref());
    if let Some((reason, message)) = reason
        && pod.status.reason.as_deref() != Some(*reason)
    {
        set("reason", json!(reason));
        set("message", json!(message));
    }
    let refused = finished.is_some_and(|finished| finished.refused);
    let statuses = |main: bool| -> Vec<&ContainerStatus> {
        let all = members.iter();
        all.filter(|member| (member.kind == Kind::Main) == main && !refused)
            .map(|member| &member.status)
            .collect()
    };
    let now_written = Written {
        init: json!(statuses(false)),
        main: json!(statuses(true)),
    };
    if now_written.init != written.init && !statuses(false).is_empty() {
        set("initContainerStatuses", now_written.init.clone());
    }
    if now_written.main != written.main && !statuses(true).is_empty() {
        set("containerStatuses", now_written.main.clone());
    }
    if !refused {
        let conditions = match finished {
            Some(_) => conditions::changes(pod, &conditions::finished(phase), now),
            None => running(pod, members, any, now),
        };
        if !conditions.is_empty() {
            set("conditions", json!(conditions));
        }
    }
    (status, now_written)
}

fn running(pod: &Pod, members: &[Member], sandbox: bool, now: Timestamp) -> Vec<Value> {
    // Sidecars count for the readiness of a pod, init containers do not.
    let all = members.iter().filter(|member| member.kind != Kind::Init);
    let all: Vec<_> = all.map(|member| member.status.clone()).collect();
    let open = members.iter().filter(|member| match member.kind {
        Kind::Init => last_exit(&member.status) != Some(0),
        Kind::Sidecar => !has_started(&member.status),
        Kind::Main => false,
    });
    let open: Vec<_> = open.map(|member| member.status.name.as_str()).collect();
    debug_assert_eq!(open.is_empty(), is_initialized(members));
    let initialized = conditions::incomplete(&open);
    let readiness = conditions::readiness(pod, &all);
    let mut wanted: Vec<Wanted<'_>> = vec![conditions::sandbox(sandbox), initialized.as_ref()];
    wanted.extend(readiness.iter().map(conditions::Owned::as_ref));
    conditions::changes(pod, &wanted, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:01:00Z";

    fn member(kind: Kind, name: &str, state: Value, started: bool) -> Member {
        let status = json!({
            "name": name, "image": "", "imageID": "", "ready": started, "restartCount": 0, "started": started, "state": state,
        });
        let status = serde_json::from_value(status).unwrap();
        Member { kind, status }
    }

    fn waits(kind: Kind, name: &str) -> Member {
        member(kind, name, json!({ "waiting": {} }), false)
    }

    fn runs(kind: Kind, name: &str) -> Member {
        member(kind, name, json!({ "running": {} }), true)
    }

    fn report(status: &Value, members: &[Member], finished: Option<&Finished>) -> Value {
        let pod = serde_json::from_value(json!({ "status": status })).unwrap();
        let now = NOW.parse().unwrap();
        let written = Written::default();
        Value::Object(patch(&pod, members, finished, &written, "10.0.0.1", now).0)
    }

    fn condition<'a>(report: &'a Value, kind: &str) -> &'a Value {
        let all = report["conditions"].as_array().unwrap();
        all.iter().find(|c| c["type"] == kind).unwrap()
    }

    #[test]
    fn a_pod_runs_when_its_containers_do() {
        let members = [waits(Kind::Sidecar, "s"), waits(Kind::Main, "m")];
        let first = report(&json!({}), &members, None);
        assert_eq!(first["phase"], "Pending");
        assert_eq!(first["startTime"], NOW);
        assert_eq!(
            condition(&first, "Initialized")["message"],
            "containers with incomplete status: [s]"
        );
        let members = [runs(Kind::Sidecar, "s"), waits(Kind::Main, "m")];
        let second = report(&json!({ "startTime": NOW }), &members, None);
        assert_eq!(second["phase"], "Pending");
        assert_eq!(second["podIP"], "127.0.0.1");
        assert_eq!(condition(&second, "Initialized")["status"], "True");
        assert_eq!(condition(&second, "Ready")["status"], "False");
        let members = [runs(Kind::Sidecar, "s"), runs(Kind::Main, "m")];
        let third = report(&json!({ "startTime": NOW }), &members, None);
        assert_eq!(third["phase"], "Running");
        assert_eq!(condition(&third, "Ready")["status"], "True");
    }

    #[test]
    fn nothing_is_written_twice() {
        let pod = json!({ "status": { "startTime": NOW, "phase": "Pending", "conditions": [
            { "type": "PodReadyToStartContainers", "status": "False" },
            { "type": "Initialized", "status": "True" },
            { "type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "containers with unready status: [m]" },
            { "type": "ContainersReady", "status": "False", "reason": "ContainersNotReady", "message": "containers with unready status: [m]" },
        ] } });
        let pod = serde_json::from_value(pod).unwrap();
        let members = [waits(Kind::Main, "m")];
        let now = NOW.parse().unwrap();
        let (first, written) = patch(&pod, &members, None, &Written::default(), "", now);
        assert_eq!(
            first.keys().collect::<Vec<_>>(),
            ["containerStatuses"],
            "{first:?}"
        );
        let (second, _) = patch(&pod, &members, None, &written, "", now);
        assert_eq!(second, Map::new());
    }

    #[test]
    fn a_refused_pod_has_no_containers() {
        let finished = Finished {
            succeeded: false,
            reason: Some(("Unsupported", "a hostPath".to_owned())),
            refused: true,
        };
        let report = report(&json!({}), &[waits(Kind::Main, "m")], Some(&finished));
        let expected = json!({
            "phase": "Failed", "reason": "Unsupported", "message": "a hostPath", "startTime": NOW,
            "hostIP": "10.0.0.1", "hostIPs": [{ "ip": "10.0.0.1" }],
        });
        assert_eq!(report, expected);
    }
}
