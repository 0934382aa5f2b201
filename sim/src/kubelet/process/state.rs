//! The states of a pod's containers, as its kubelet has them between two reports; pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, PodSpec};

use super::order::{Kind, Member, is_running};
use crate::kubelet::pod::Pod;
use crate::kubelet::recorder::Note;
use crate::kubelet::report::containers::{container_id, end, pause, running, waiting};
use crate::script::last_exit;

/// The message of containers that ran when their kubelet was stopped.
const RESTARTED: &str = "the node was restarted: no process of it was left";
const UNKNOWN_END: &str = "The container could not be located when the pod was terminated";

/// The containers of a pod, init containers first; continues what an earlier kubelet reported.
pub(crate) fn of(pod: &Pod, spec: &PodSpec, now: Timestamp) -> Vec<Member> {
    let reason = match spec.init_containers.as_deref() {
        None | Some([]) => "ContainerCreating",
        _ => "PodInitializing",
    };
    let known = |container: &Container| {
        let mut all = pod.statuses().iter().chain(pod.init_statuses());
        all.find(|status| status.name == container.name)
    };
    let status = |container: &Container| match known(container) {
        Some(status) => {
            let mut status = status.clone();
            if is_running(&status) {
                end(&mut status, 137, "Error", Some(RESTARTED.to_owned()), now);
            }
            status
        }
        None => ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            started: Some(false),
            state: Some(waiting(reason, None)),
            ..ContainerStatus::default()
        },
    };
    containers(spec)
        .map(|(kind, container)| Member {
            kind,
            status: status(container),
        })
        .collect()
}

/// The containers of a spec in their order.
pub(crate) fn containers(spec: &PodSpec) -> impl Iterator<Item = (Kind, &Container)> {
    let init = spec.init_containers.iter().flatten().map(|container| {
        match container.restart_policy.as_deref() {
            Some("Always") => (Kind::Sidecar, container),
            _ => (Kind::Init, container),
        }
    });
    init.chain(spec.containers.iter().map(|one| (Kind::Main, one)))
}

impl Member {
    /// The number of the run that starts next.
    pub(crate) fn next_run(&self) -> i32 {
        let again = last_exit(&self.status).is_some();
        self.status.restart_count + i32::from(again)
    }

    /// It runs; without a probe it has started and is ready at once.
    pub(crate) fn start(&mut self, pod: &Pod, spec: &Container, now: Timestamp) {
        let run = self.next_run();
        let status = &mut self.status;
        let ended = status.state.take().filter(|s| s.terminated.is_some());
        status.last_state = ended.or(status.last_state.take());
        status.restart_count = run;
        let id = container_id(pod, status);
        status.container_id = Some(id.replace("containerd://", "process://"));
        status.state = Some(running(now));
        let started = spec.startup_probe.is_none() || self.kind == Kind::Init;
        status.started = Some(started);
        status.ready = started && spec.readiness_probe.is_none() && self.kind != Kind::Init;
    }

    /// It could not be started.
    pub(crate) fn fail(&mut self, pod: &Pod, spec: &Container, why: String, now: Timestamp) {
        self.start(pod, spec, now);
        end(&mut self.status, 128, "StartError", Some(why), now);
    }

    /// It ended.
    pub(crate) fn end(&mut self, code: i32, message: Option<String>, now: Timestamp) {
        let reason = if code == 0 { "Completed" } else { "Error" };
        end(&mut self.status, code, reason, message, now);
        self.status.ready = self.kind == Kind::Init && code == 0;
    }

    /// It waits before its restart.
    pub(crate) fn back_off(&mut self, pod: &Pod) -> Note {
        pause(&mut self.status, pod)
    }

    /// It cannot be prepared yet.
    pub(crate) fn hold(&mut self, why: String) {
        let status = &mut self.status;
        let ended = status.state.take().filter(|s| s.terminated.is_some());
        status.last_state = ended.or(status.last_state.take());
        status.state = Some(waiting("CreateContainerConfigError", Some(why)));
    }

    /// The pod is deleted before it could start.
    pub(crate) fn lose(&mut self, now: Timestamp) {
        let state = self.status.state.as_ref();
        if state.is_none_or(|state| state.waiting.is_some()) {
            let message = Some(UNKNOWN_END.to_owned());
            end(
                &mut self.status,
                137,
                "ContainerStatusUnknown",
                message,
                now,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-01-01T00:01:00Z";

    #[test]
    fn what_ran_before_a_restart_has_ended() {
        let spec = json!({ "initContainers": [{ "name": "s", "restartPolicy": "Always" }], "containers": [{ "name": "m" }, { "name": "new" }] });
        let spec = serde_json::from_value(spec).unwrap();
        let status = |name, state| json!({ "name": name, "image": "", "imageID": "", "ready": true, "restartCount": 2, "state": state });
        let pod = json!({ "status": {
            "initContainerStatuses": [status("s", json!({ "running": { "startedAt": NOW } }))],
            "containerStatuses": [status("m", json!({ "terminated": { "exitCode": 3 } }))],
        } });
        let pod = serde_json::from_value(pod).unwrap();
        let members = of(&pod, &spec, NOW.parse().unwrap());
        let kinds: Vec<_> = members.iter().map(|member| member.kind).collect();
        assert_eq!(kinds, [Kind::Sidecar, Kind::Main, Kind::Main]);
        let exits: Vec<_> = members.iter().map(|m| last_exit(&m.status)).collect();
        assert_eq!(exits, [Some(137), Some(3), None]);
        assert!(!members[0].status.ready);
        let runs: Vec<_> = members.iter().map(Member::next_run).collect();
        assert_eq!(runs, [3, 3, 0]);
    }

    #[test]
    fn a_restart_keeps_the_last_end() {
        let spec = json!({ "containers": [{ "name": "m", "readinessProbe": {} }] });
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let pod = Pod::default();
        let now = NOW.parse().unwrap();
        let mut member = of(&pod, &spec, now).remove(0);
        let container = &spec.containers[0];
        member.start(&pod, container, now);
        assert_eq!(
            (member.status.started, member.status.ready),
            (Some(true), false)
        );
        member.end(3, Some("why".to_owned()), now);
        member.back_off(&pod);
        member.hold("no secret".to_owned());
        member.start(&pod, container, now);
        assert_eq!(member.status.restart_count, 1);
        let last = member
            .status
            .last_state
            .clone()
            .unwrap()
            .terminated
            .unwrap();
        assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
        assert_eq!(last.message.as_deref(), Some("why"));
    }
}
