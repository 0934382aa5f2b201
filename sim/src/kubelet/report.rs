//! The kubelet's reports: the patch of the pod's status, and the events; pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use containers::{container_id, end, image_id, is_running, pause, phase_of, running, waiting};

use super::Pace;
use super::pod::{Container, Pod, RestartPolicy};
use super::recorder::Note;
use crate::script::{Act, Script, last_exit, never_started, ready_delay};

pub(crate) mod conditions;
pub(crate) mod containers;
pub(crate) mod deadline;
mod sidecars;
#[cfg(test)]
mod tests;

/// A status patch (strategic) and the events that go with it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) status: Map<String, Value>,
    pub(crate) notes: Vec<Note>,
}

/// The node that reports.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) ip: String,
}

/// The kubelet's state of a container whose end it has not seen.
const UNKNOWN_END: &str = "The container could not be located when the pod was terminated";
const EVICTED: &str =
    "The node was low on resource: memory. Threshold quantity: 100Mi, available: 64Mi. ";

/// The report of `act`; empty for acts that do not affect the pod's status.
pub(crate) fn of(
    pod: &Pod,
    act: &Act,
    script: &Script,
    pace: &Pace,
    place: &Place,
    now: Timestamp,
) -> Report {
    let mut draft = Draft {
        pod,
        script,
        pace,
        now,
        report: Report::default(),
        containers: pod.statuses().to_vec(),
        init: pod.init_statuses().to_vec(),
    };
    match act {
        Act::Reject(reason, _) => draft.reject(reason),
        Act::Accept => draft.accept(place),
        Act::Sandbox => draft.sandbox(),
        Act::PullFailed(paused) => draft.pull_failed(*paused),
        Act::StartInit(index) => draft.start_init(*index),
        Act::EndInit(index) => draft.end_init(*index),
        Act::BackOffInit(index) => draft.back_off_init(*index),
        Act::Start => draft.start(),
        Act::Ready(names) => draft.ready(names),
        Act::Exit => draft.exit(),
        Act::BackOff => draft.back_off(),
        Act::Evict => draft.evict(),
        Act::Deadline { killed } => draft.deadline(*killed),
        Act::Unreachable => draft.unreachable(),
        Act::Terminate { killed } => draft.terminate(*killed),
        Act::EndSidecars { killed } => draft.end_sidecars(*killed),
        Act::Schedule | Act::Unschedulable(_) | Act::LoseNode | Act::Confirm => {}
    }
    draft.report
}

/// The events of a deletion, which starts before anything of the pod changes.
pub(crate) fn killing(pod: &Pod) -> Vec<Note> {
    let running = pod.statuses().iter().filter(|s| is_running(s));
    let note =
        |s: &ContainerStatus| Note::normal("Killing", format!("Stopping container {}", s.name));
    running.map(note).collect()
}

struct Draft<'a> {
    pod: &'a Pod,
    script: &'a Script,
    pace: &'a Pace,
    now: Timestamp,
    report: Report,
    containers: Vec<ContainerStatus>,
    init: Vec<ContainerStatus>,
}

impl Draft<'_> {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.report.status.insert(key.to_owned(), value.into());
    }

    fn note(&mut self, note: Note) {
        self.report.notes.push(note);
    }

    fn conditions(&mut self, wanted: &[conditions::Wanted<'_>]) {
        let changed = conditions::changes(self.pod, wanted, self.now);
        if !changed.is_empty() {
            self.set("conditions", changed);
        }
    }

    fn put_containers(&mut self) {
        self.set("containerStatuses", json!(self.containers));
    }

    fn reject(&mut self, reason: &str) {
        let why = match reason {
            "OutOfcpu" => {
                "Node didn't have enough resource: cpu, requested: 4000, used: 62000, capacity: 64000"
            }
            "OutOfmemory" => {
                "Node didn't have enough resource: memory, requested: 8589934592, used: 270582939648, capacity: 274877906944"
            }
            "OutOfpods" => {
                "Node didn't have enough resource: pods, requested: 1, used: 500, capacity: 500"
            }
            "NodeAffinity" => {
                "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
            }
            _ => "the simulation was asked to refuse it",
        };
        self.set("phase", "Failed");
        self.set("reason", reason);
        self.set("message", format!("Pod was rejected: {why}"));
        self.set("startTime", time(self.now));
        self.note(Note::warning(reason, why));
    }

    fn accept(&mut self, place: &Place) {
        let has_init = !self.pod.spec.init_containers.is_empty();
        let reason = match has_init {
            true => "PodInitializing",
            false => "ContainerCreating",
        };
        let fresh = |container: &Container| ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone(),
            started: Some(false),
            state: Some(waiting(reason, None)),
            ..ContainerStatus::default()
        };
        self.containers = self.pod.spec.containers.iter().map(fresh).collect();
        self.init = self.pod.spec.init_containers.iter().map(fresh).collect();
        self.set("phase", "Pending");
        self.set("startTime", time(self.now));
        self.set("hostIP", place.ip.as_str());
        self.set("hostIPs", json!([{ "ip": place.ip }]));
        self.put_containers();
        if has_init {
            self.set("initContainerStatuses", json!(self.init));
        }
        self.conditions(&[
            conditions::sandbox(false),
            self.initialized().as_ref(),
            conditions::unready(&self.containers, "Ready").as_ref(),
            conditions::unready(&self.containers, "ContainersReady").as_ref(),
        ]);
        if let Some(message) = &self.script.failed_mount {
            self.note(Note::warning("FailedMount", message));
        } else if let Some(message) = &self.script.network_not_ready {
            let detail = match message.as_str() {
                "true" => "cni plugin not initialized",
                text => text,
            };
            self.note(Note::warning(
                "NetworkNotReady",
                format!(
                    "network is not ready: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: {detail}"
                ),
            ));
        } else {
            let first = self.pod.spec.init_containers.first();
            let first = first.or(self.pod.spec.containers.first());
            if let Some(container) = first {
                self.note(Note::normal(
                    "Pulling",
                    format!("Pulling image \"{}\"", container.image),
                ));
            }
        }
    }

    fn sandbox(&mut self) {
        self.conditions(&[conditions::sandbox(true)]);
        self.pod_ip();
    }

    /// The address of the sandbox, derived from the uid so that every kubelet finds the same.
    fn pod_ip(&mut self) {
        if self.pod.status.pod_ip.is_none() {
            let digest = Sha256::digest(self.pod.uid());
            let ip = format!("10.{}.{}.{}", 128 | digest[0] >> 1, digest[1], digest[2]);
            self.set("podIPs", json!([{ "ip": ip }]));
            self.set("podIP", ip);
        }
    }

    fn pull_failed(&mut self, paused: bool) {
        let text = self.script.image_pull_error.clone().unwrap_or_default();
        let mut notes = Vec::new();
        for status in self.containers.iter_mut().filter(|s| !is_running(s)) {
            let image = &status.image;
            let (reason, message) = match paused {
                false => ("ErrImagePull", text.clone()),
                true => (
                    "ImagePullBackOff",
                    format!("Back-off pulling image \"{image}\": ErrImagePull: {text}"),
                ),
            };
            notes.push(match paused {
                false => Note::warning(
                    "Failed",
                    format!("Failed to pull image \"{image}\": {text}"),
                ),
                true => Note::normal("BackOff", format!("Back-off pulling image \"{image}\"")),
            });
            notes.push(Note::warning("Failed", format!("Error: {reason}")));
            status.state = Some(waiting(reason, Some(message)));
        }
        self.report.notes.extend(notes);
        self.put_containers();
        self.conditions(&[conditions::sandbox(true)]);
        self.pod_ip();
    }

    fn start_init(&mut self, index: usize) {
        let Some(at) = self.init_at(index) else {
            return;
        };
        self.sandbox();
        self.run_container(at, true);
        self.set("initContainerStatuses", json!(self.init));
        if self.pod.is_sidecar(&self.init[at].name) {
            self.more_conditions(&[self.initialized().as_ref()]);
        }
    }

    fn end_init(&mut self, index: usize) {
        let Some(at) = self.init_at(index) else {
            return;
        };
        let code = self.script.init_exit_code.unwrap_or(0);
        let reason = if code == 0 { "Completed" } else { "Error" };
        let message = self.script.init_message.as_ref();
        let message = message.or(self
            .script
            .termination_message
            .as_ref()
            .filter(|_| code != 0));
        let message = message.cloned();
        end(&mut self.init[at], code, reason, message, self.now);
        self.init[at].ready = code == 0;
        self.set("initContainerStatuses", json!(self.init));
        if code != 0 {
            // `Always` means the same for an init container as `OnFailure`.
            if self.pod.restart_policy() == RestartPolicy::Never {
                self.finish("Failed");
            }
            return;
        }
        self.conditions(&[self.initialized().as_ref()]);
    }

    fn back_off_init(&mut self, index: usize) {
        let Some(at) = self.init_at(index) else {
            return;
        };
        let note = pause(&mut self.init[at], self.pod);
        self.note(note);
        self.set("initContainerStatuses", json!(self.init));
    }

    fn init_at(&self, index: usize) -> Option<usize> {
        let name = &self.pod.spec.init_containers.get(index)?.name;
        self.init.iter().position(|s| s.name == *name)
    }

    fn start(&mut self) {
        let policy = self.pod.restart_policy();
        let mut started = false;
        for at in 0..self.containers.len() {
            let again = last_exit(&self.containers[at]).is_none_or(|code| policy.restarts(code));
            if !is_running(&self.containers[at]) && again {
                self.run_container(at, false);
                started = true;
            }
        }
        if !started {
            return;
        }
        self.set("phase", "Running");
        self.pod_ip();
        self.put_containers();
        let mut wanted = vec![conditions::sandbox(true)];
        let readiness = conditions::readiness(self.pod, &self.containers);
        wanted.extend(readiness.iter().map(conditions::Owned::as_ref));
        self.conditions(&wanted);
        if self.script.never_ready {
            self.note(Note::warning(
                "Unhealthy",
                "Readiness probe failed: HTTP probe failed with statuscode: 503",
            ));
        }
    }

    /// One container of `init` or of the others starts, for the first time or again.
    fn run_container(&mut self, at: usize, is_init: bool) {
        let statuses = if is_init {
            &mut self.init
        } else {
            &mut self.containers
        };
        let status = &mut statuses[at];
        if last_exit(status).is_some() {
            let ended = status.state.take().filter(|s| s.terminated.is_some());
            status.last_state = ended.or(status.last_state.take());
            status.restart_count += 1;
        }
        status.container_id = Some(container_id(self.pod, status));
        status.image_id = image_id(&status.image);
        status.started = Some(true);
        status.state = Some(running(self.now));
        let containers = &self.pod.spec.containers;
        let container = containers.iter().find(|c| c.name == status.name);
        let at_once = container.is_some_and(|c| ready_delay(c, self.script, self.pace).is_zero());
        status.ready = match is_init {
            true => self.pod.is_sidecar(&status.name),
            false => at_once && !self.script.never_ready,
        };
        let notes = [
            Note::normal(
                "Pulled",
                format!("Successfully pulled image \"{}\"", status.image),
            ),
            Note::normal("Created", format!("Created container: {}", status.name)),
            Note::normal("Started", format!("Started container {}", status.name)),
        ];
        self.report.notes.extend(notes);
    }

    fn ready(&mut self, names: &[String]) {
        for status in &mut self.containers {
            status.ready |= names.contains(&status.name);
        }
        if !names.is_empty() {
            self.put_containers();
        }
        let readiness = conditions::readiness(self.pod, &self.containers);
        let wanted: Vec<_> = readiness.iter().map(conditions::Owned::as_ref).collect();
        self.conditions(&wanted);
    }

    fn exit(&mut self) {
        let (code, reason) = self.script.exit();
        let message = self.script.termination_message.clone();
        let message =
            message.or((reason == "ContainerStatusUnknown").then(|| UNKNOWN_END.to_owned()));
        for status in self.containers.iter_mut().filter(|s| is_running(s)) {
            end(status, code, &reason, message.clone(), self.now);
        }
        self.put_containers();
        self.settle();
    }

    /// After an end: the pod is over when no container runs or will run again.
    fn settle(&mut self) {
        let policy = self.pod.restart_policy();
        let over = |s: &ContainerStatus| last_exit(s).is_some_and(|code| !policy.restarts(code));
        if self.containers.iter().all(over) && !self.has_sidecars() {
            self.finish(phase_of(&self.containers));
            return;
        }
        let readiness = conditions::readiness(self.pod, &self.containers);
        let wanted: Vec<_> = readiness.iter().map(conditions::Owned::as_ref).collect();
        self.conditions(&wanted);
    }

    fn back_off(&mut self) {
        let policy = self.pod.restart_policy();
        let mut notes = Vec::new();
        for status in &mut self.containers {
            if last_exit(status).is_some_and(|code| policy.restarts(code)) {
                notes.push(pause(status, self.pod));
            }
        }
        self.report.notes.extend(notes);
        self.put_containers();
    }

    fn evict(&mut self) {
        let names: Vec<_> = self.containers.iter().map(|s| s.name.clone()).collect();
        let usage = names.iter().map(|name| {
            format!(
                "Container {name} was using 512Mi, request is 0, has larger consumption of memory. "
            )
        });
        let message = format!("{EVICTED}{}", usage.collect::<String>());
        self.end_all(137, "Error", None);
        self.end_init_all(true);
        self.finish("Failed");
        self.set("reason", "Evicted");
        self.set("message", message.as_str());
        let disruption = conditions::Wanted {
            kind: "DisruptionTarget",
            status: true,
            reason: Some("TerminationByKubelet"),
            message: Some(&message),
        };
        self.more_conditions(&[disruption]);
        self.note(Note::warning("Evicted", message));
        self.report.notes.extend(killing(self.pod));
    }

    /// The pod keeps its containers' states: nothing newer is known.
    fn unreachable(&mut self) {
        let reason = self.pod.condition("Ready").and_then(|(_, reason)| reason);
        self.conditions(&[conditions::Wanted {
            kind: "Ready",
            status: false,
            reason,
            message: None,
        }]);
        self.note(Note::warning("NodeNotReady", "Node is not ready"));
    }

    fn terminate(&mut self, killed: bool) {
        if never_started(self.pod) {
            self.end_all(137, "ContainerStatusUnknown", Some(UNKNOWN_END));
            self.end_init_all(false);
            self.finish("Failed");
            return;
        }
        let (code, reason) = match killed {
            true => (137, "Error".to_owned()),
            false => self.script.exit(),
        };
        let message = self.script.termination_message.clone();
        self.end_all(code, &reason, message.as_deref());
        match self.has_sidecars() {
            true => self.settle(),
            false => self.finish(phase_of(&self.containers)),
        }
    }

    /// Ends what has not ended yet: running containers as given, the others with an unknown end.
    fn end_all(&mut self, code: i32, reason: &str, message: Option<&str>) {
        for status in &mut self.containers {
            let state = status.state.as_ref();
            if is_running(status) {
                end(status, code, reason, message.map(str::to_owned), self.now);
            } else if state.is_none_or(|s| s.terminated.is_none()) {
                let unknown = Some(UNKNOWN_END.to_owned());
                end(status, 137, "ContainerStatusUnknown", unknown, self.now);
            }
        }
        if !self.containers.is_empty() {
            self.put_containers();
        }
    }

    fn finish(&mut self, phase: &'static str) {
        self.set("phase", phase);
        self.conditions(&conditions::finished(phase));
    }

    fn more_conditions(&mut self, wanted: &[conditions::Wanted<'_>]) {
        let mut changed = conditions::changes(self.pod, wanted, self.now);
        if let Some(Value::Array(before)) = self.report.status.remove("conditions") {
            changed.splice(0..0, before);
        }
        self.set("conditions", changed);
    }
}

fn time(now: Timestamp) -> Value {
    json!(Time(now))
}
