//! Decides the next step of the simulated scheduler and kubelet for a pod, and when; pure.
//!
//! Annotations of a pod set delays and faults. Durations are such as `200ms`, `2s` or `1m30s`.
//!
//! | Annotation `sim.wsman.dev/…` | Value | Effect |
//! |---|---|---|
//! | `schedule-after` | duration | time from creation to the binding |
//! | `unschedulable` | text | never bound: `PodScheduled=False`, "0/N nodes are available: N TEXT. …", event FailedScheduling |
//! | `reject` | reason | the kubelet refuses the pod: Failed with this reason (`OutOfcpu`, `NodeAffinity`, …) |
//! | `reject-times` | number | `reject` only so often for pods of this name and those that one of it owns (counted by its event), then let them run |
//! | `failed-mount` | text | event FailedMount, stays ContainerCreating |
//! | `network-not-ready` | text or `true` | event NetworkNotReady, stays ContainerCreating |
//! | `image-pull-error` | text | ErrImagePull and ImagePullBackOff in turn, with growing pauses |
//! | `pull-after`, `start-after` | duration | time that pulling takes, and then starting |
//! | `init-after` | duration | time that each init container runs |
//! | `init-exit-code` | 0 to 255 | how each init container ends |
//! | `init-message` | text | the termination message of each init container |
//! | `sidecar-stop-after` | duration | time from the end of the containers to that of the native sidecars |
//! | `sidecar-exit-code` | 0 to 255 | how native sidecars end |
//! | `sidecar-message` | text | the termination message of native sidecars |
//! | `ready-after` | duration | time from the start of a container until it is ready (instead of the probe's delay) |
//! | `never-ready` | `true` | it never is; event Unhealthy |
//! | `exit-after` | duration | the containers end by themselves, so long after each start |
//! | `exit-code` | 0 to 255 | exit code of that end, and of the one after a SIGTERM |
//! | `exit-reason` | reason | `OOMKilled` and `ContainerStatusUnknown` (137), `Error` (255), others (1), unless `exit-code` says otherwise |
//! | `termination-message` | text | the containers' termination message |
//! | `restart-after` | duration | pause before a restart (where the restart policy has one), instead of the crash loop's |
//! | `evict-after` | duration | Failed, reason Evicted, so long after the kubelet took the pod |
//! | `node-lost-after` | duration | the node of the pod is lost, so long after the kubelet took the pod; once per pod |
//! | `stop-after` | duration | time from the deletion to the containers' end |
//! | `until-exec` | container | it runs until an exec into it succeeds: an init container ends then, of a container the clocks of `ready-after` and `exit-after` start then |
//! | `exec-exit-code` | 0 to 255 | how an exec ends (0) |
//! | `exec-error` | 400 to 599 | the HTTP status with which an exec fails |
//! | `exec-error-times` | number | `exec-error` only so often; it counts down |
//! | `ignore-term` | `true` | runs until the grace period is over, then 137 |
//! | `stuck-terminating` | `true` | the end is never reported |
//!
//! They apply to all containers of a pod and are read anew at each step: removing one lets the pod go on. Others
//! below the prefix, and values that cannot be read, cause an event `InvalidSimulation` and are ignored otherwise.
//!
//! The API server records an exec that succeeded in `execs`: `CONTAINER=TIME` of each, with commas. `logs` has the output
//! of containers ([`crate::logs`]).
//!
//! On a Node object: `sim.wsman.dev/lost: "true"` makes its kubelet vanish, until it is removed.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ContainerStatus;

use super::kubelet::Pace;
use super::kubelet::pod::{Container, Pod};

pub(crate) use annotations::{
    EXEC_ERROR, EXEC_ERROR_TIMES, EXEC_EXIT_CODE, EXECS, Fault, PREFIX, Script,
};
use ends::conditions_lag;
pub(crate) use ends::{last_exit, never_started, only_sidecars_run};
pub(crate) use seen::{Anchor, Seen};

pub(crate) mod annotations;
mod ends;
mod seen;
#[cfg(test)]
mod tests;

/// The next step for a pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) at: Timestamp,
    pub(crate) act: Act,
}

/// All steps of the simulation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// Find a node and bind the pod to it.
    Schedule,
    /// Report that no node fits, for this reason.
    Unschedulable(String),
    /// Reject the pod; at most so many times if a number is given.
    Reject(String, Option<u32>),
    /// Accept the pod: it has a start time, and waiting containers.
    Accept,
    /// The sandbox exists, while the images are pulled.
    Sandbox,
    /// Pulling failed; or, when `true`, backs off after that.
    PullFailed(bool),
    /// Start or end the init container of this index.
    StartInit(usize),
    EndInit(usize),
    /// Back off before the failed init container of this index starts again.
    BackOffInit(usize),
    /// Start all containers, for the first time or again.
    Start,
    /// These containers (by name) pass their probe; the pod's conditions follow.
    Ready(Vec<String>),
    /// The running containers end by themselves.
    Exit,
    /// Back off before the ended containers start again.
    BackOff,
    /// Evict the pod.
    Evict,
    /// The containers ended because the pod was active for too long; killed after the grace period when `true`.
    Deadline {
        killed: bool,
    },
    /// Stop the kubelet of the pod's node.
    LoseNode,
    /// The pod is on a node whose kubelet stopped.
    Unreachable,
    /// The containers ended because the pod is deleted; killed after the grace period when `true`.
    Terminate {
        killed: bool,
    },
    /// The native sidecars end after the containers; killed after the grace period when `true`.
    EndSidecars {
        killed: bool,
    },
    /// Confirm to the API server that nothing of the pod is left.
    Confirm,
}

/// The node of a pod, as far as it is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Host {
    /// Its kubelet is ours and works; `spared` if this pod stopped it before.
    Ours { spared: bool },
    /// Its kubelet is ours and has stopped.
    Lost,
    /// It has another kubelet, or does not exist.
    Foreign,
}

/// The kubelet gives a container at least this long to end, whatever the grace period is.
const MINIMUM_GRACE: SignedDuration = SignedDuration::from_secs(2);
/// A pull or start that takes longer shows the sandbox first; faster ones save that write.
const SANDBOX_SHOWN: SignedDuration = SignedDuration::from_millis(500);
/// A pod that the API server has deleted is gone by then.
const HALF_DELETED: SignedDuration = SignedDuration::from_secs(2);
const LONGEST_BACK_OFF: SignedDuration = SignedDuration::from_mins(5);

/// The next step for `pod`, unless there is none until it changes.
pub(crate) fn next(
    pod: &Pod,
    script: &Script,
    seen: &Seen,
    host: Host,
    pace: &Pace,
    now: Timestamp,
) -> Option<Step> {
    let view = View {
        pod,
        script,
        seen,
        pace,
        now,
    };
    if pod.spec.node_name.is_none() {
        return view.schedule();
    }
    match host {
        Host::Foreign => None,
        Host::Lost => (pod.is_true("Ready") && !pod.is_terminal())
            .then_some(Act::Unreachable)
            .map(|act| view.at_once(act)),
        Host::Ours { .. } if pod.metadata.deletion_timestamp.is_some() => view.end(),
        Host::Ours { .. } if pod.is_terminal() => None,
        Host::Ours { .. } if pod.status.start_time.is_none() => Some(view.admit()),
        Host::Ours { spared } => view.run(spared),
    }
}

/// How long after its start a container is ready; zero means at once.
pub(crate) fn ready_delay(container: &Container, script: &Script, pace: &Pace) -> SignedDuration {
    let probe = container.readiness_probe.as_ref().map(|probe| {
        let delay = SignedDuration::from_secs(probe.initial_delay_seconds.unwrap_or(0).into());
        delay.max(pace.ready)
    });
    script.ready_after.or(probe).unwrap_or_default()
}

struct View<'a> {
    pod: &'a Pod,
    script: &'a Script,
    seen: &'a Seen,
    pace: &'a Pace,
    now: Timestamp,
}

impl View<'_> {
    fn at_once(&self, act: Act) -> Step {
        Step { at: self.now, act }
    }

    fn since(&self, anchor: Anchor, delay: SignedDuration, act: Act) -> Step {
        let at = self.seen.at(anchor).unwrap_or(self.now) + delay;
        Step { at, act }
    }

    fn schedule(&self) -> Option<Step> {
        let (pod, script) = (self.pod, self.script);
        let gated = !pod.spec.scheduling_gates.is_empty();
        if gated || pod.metadata.deletion_timestamp.is_some() || pod.is_terminal() {
            return None;
        }
        let act = match &script.unschedulable {
            Some(reason) => Act::Unschedulable(reason.clone()),
            None => Act::Schedule,
        };
        let delay = script.schedule_after.unwrap_or(self.pace.schedule);
        Some(self.since(Anchor::Created, delay, act))
    }

    fn admit(&self) -> Step {
        let act = match &self.script.reject {
            Some(reason) => Act::Reject(reason.clone(), self.script.reject_times),
            None => Act::Accept,
        };
        self.at_once(act)
    }

    /// A deleted pod: its containers end, then the end is confirmed to the API server, once.
    fn end(&self) -> Option<Step> {
        let (pod, script) = (self.pod, self.script);
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        if pod.is_terminal() {
            let finalizers = pod.metadata.finalizers.as_deref().unwrap_or_default();
            return match (grace, finalizers) {
                // A period of zero means that it was confirmed already, or forced.
                (0, [_, ..]) => None,
                // It deletes in two steps; a client that disconnects between them leaves the object behind.
                (0, []) => Some(self.since(Anchor::Deleted, HALF_DELETED, Act::Confirm)),
                _ => Some(self.at_once(Act::Confirm)),
            };
        }
        if script.stuck_terminating {
            return None;
        }
        let grace = SignedDuration::from_secs(grace).max(MINIMUM_GRACE);
        if only_sidecars_run(pod) {
            let deadline = self.since(Anchor::Deleted, grace, Act::EndSidecars { killed: true });
            let end = self.end_sidecars();
            return Some(if end.at <= deadline.at { end } else { deadline });
        }
        let (delay, killed) = self.stop(never_started(pod), grace);
        Some(self.since(Anchor::Deleted, delay, Act::Terminate { killed }))
    }

    /// How long the containers take to end within this grace period, and whether they are killed then.
    fn stop(&self, idle: bool, grace: SignedDuration) -> (SignedDuration, bool) {
        let stop = self.script.stop_after.unwrap_or(self.pace.stop);
        match () {
            () if idle => (SignedDuration::ZERO, false),
            () if self.script.ignore_term || stop > grace => (grace, true),
            () => (stop, false),
        }
    }

    /// The end of a pod that is active for too long.
    fn deadline(&self) -> Option<Step> {
        let over = self.seen.deadline()?;
        let grace = self.pod.spec.termination_grace_period_seconds.unwrap_or(30);
        let grace = SignedDuration::from_secs(grace).max(MINIMUM_GRACE);
        let running = |s: &ContainerStatus| s.state.as_ref().is_some_and(|s| s.running.is_some());
        let idle = never_started(self.pod) && !self.pod.init_statuses().iter().any(running);
        let (delay, killed) = self.stop(idle, grace);
        Some(Step {
            at: over + delay,
            act: Act::Deadline { killed },
        })
    }

    fn end_sidecars(&self) -> Step {
        let delay = self.script.sidecar_stop_after.unwrap_or(self.pace.stop);
        self.since(Anchor::Ended, delay, Act::EndSidecars { killed: false })
    }

    fn run(&self, spared: bool) -> Option<Step> {
        let script = self.script;
        let mut steps = Vec::with_capacity(4);
        if let Some(over) = self.seen.deadline() {
            let end = self.deadline().filter(|_| !script.stuck_terminating);
            if over <= self.now {
                return end;
            }
            let at_once = |step: Step| Step { at: over, ..step };
            steps.extend(end.map(at_once));
        }
        if let Some(delay) = script.evict_after {
            steps.push(self.since(Anchor::Accepted, delay, Act::Evict));
        }
        if let (Some(delay), false) = (script.node_lost_after, spared) {
            steps.push(self.since(Anchor::Accepted, delay, Act::LoseNode));
        }
        if !never_started(self.pod) {
            steps.extend(self.keep_running());
        } else if script.failed_mount.is_none() && script.network_not_ready.is_none() {
            steps.extend(match self.pod.is_true("Initialized") {
                true => self.start(),
                false => self.initialize(),
            });
        }
        steps.into_iter().min_by_key(|step| step.at)
    }

    fn pull(&self) -> SignedDuration {
        self.script.pull_after.unwrap_or(self.pace.pull)
    }

    fn start(&self) -> Option<Step> {
        let has_init = !self.pod.spec.init_containers.is_empty();
        let anchor = match has_init {
            true => Anchor::Initialized,
            false => Anchor::Accepted,
        };
        if self.script.image_pull_error.is_some() {
            return Some(self.fail_pull(self.since(anchor, self.pull(), Act::Start).at));
        }
        let delay = self.pull() + self.script.start_after.unwrap_or(self.pace.start);
        if !self.pod.is_true("PodReadyToStartContainers") && delay >= SANDBOX_SHOWN {
            return Some(self.since(Anchor::Accepted, self.pace.start, Act::Sandbox));
        }
        Some(self.since(anchor, delay, Act::Start))
    }

    /// Attempts are made at `first` and after a growing backoff; each failure is shown for half of the first
    /// backoff.
    fn fail_pull(&self, first: Timestamp) -> Step {
        let reason = self.pod.statuses().iter().find_map(|status| {
            let waiting = status.state.as_ref()?.waiting.as_ref()?;
            waiting.reason.as_deref()
        });
        let failed = |at| Step {
            at,
            act: Act::PullFailed(false),
        };
        let (mut attempt, mut count) = (first, 0);
        while attempt + self.back_off(count) <= self.now {
            attempt += self.back_off(count);
            count += 1;
        }
        let paused = attempt + self.pace.back_off / 2;
        match reason {
            Some("ErrImagePull") => Step {
                at: paused,
                act: Act::PullFailed(true),
            },
            // Attempts that were missed are not repeated.
            Some("ImagePullBackOff") if self.now >= paused || self.now < first => {
                failed(attempt + self.back_off(count))
            }
            _ => failed(attempt),
        }
    }

    fn initialize(&self) -> Option<Step> {
        let statuses = self.pod.init_statuses();
        for (index, container) in self.pod.spec.init_containers.iter().enumerate() {
            let status = statuses.iter().find(|s| s.name == container.name);
            let state = status.and_then(|s| s.state.as_ref());
            let restarts = status.map_or(0, |s| s.restart_count);
            let running = state.is_some_and(|s| s.running.is_some());
            if running && container.is_sidecar() {
                continue;
            }
            if running {
                let delay = self.script.init_after.unwrap_or(self.pace.init);
                let end = Act::EndInit(index);
                if self.script.is_held(&container.name) {
                    let exec = self.script.execs.get(&container.name);
                    return exec.map(|_| self.at_once(end));
                }
                return Some(self.since(Anchor::Init, delay, end));
            }
            match status.and_then(last_exit) {
                Some(0) if !container.is_sidecar() => {}
                Some(_) => {
                    let paused = state.is_some_and(|s| s.waiting.is_some());
                    return Some(self.again(
                        Anchor::Init,
                        restarts,
                        paused,
                        Act::StartInit(index),
                        Act::BackOffInit(index),
                    ));
                }
                None if index == 0 => {
                    return Some(self.since(Anchor::Accepted, self.pull(), Act::StartInit(index)));
                }
                None => return Some(self.at_once(Act::StartInit(index))),
            }
        }
        None
    }

    /// Containers run, or ran: they become ready, end, and restart.
    fn keep_running(&self) -> Option<Step> {
        let (pod, script) = (self.pod, self.script);
        let mut steps = Vec::with_capacity(4);
        // Containers end together.
        let mut names = pod.statuses().iter().map(|status| status.name.as_str());
        let held = names.find(|name| script.is_held(name));
        let running = |s: &&ContainerStatus| s.state.as_ref().is_some_and(|s| s.running.is_some());
        for status in pod.statuses().iter().filter(running) {
            if let Some(delay) = script.exit_after {
                steps.extend(self.since_exec(held, delay, Act::Exit));
            }
            let container = pod.spec.containers.iter().find(|c| c.name == status.name);
            if let (Some(container), false, false) = (container, status.ready, script.never_ready) {
                let delay = ready_delay(container, script, self.pace);
                let act = Act::Ready(vec![status.name.clone()]);
                let held = script.is_held(&status.name).then_some(status.name.as_str());
                steps.extend(self.since_exec(held, delay, act));
            }
        }
        if conditions_lag(pod) {
            steps.push(self.at_once(Act::Ready(Vec::new())));
        }
        let ended = pod.statuses().iter().filter(|s| !running(s));
        let policy = pod.restart_policy();
        let again = |s: &&ContainerStatus| last_exit(s).is_some_and(|code| policy.restarts(code));
        if let Some(status) = ended.filter(again).max_by_key(|s| s.restart_count) {
            let paused = status.state.as_ref().is_some_and(|s| s.waiting.is_some());
            let restarts = status.restart_count;
            steps.push(self.again(Anchor::Ended, restarts, paused, Act::Start, Act::BackOff));
        }
        if steps.is_empty() && only_sidecars_run(pod) {
            steps.push(self.end_sidecars());
        }
        let first = steps.iter().map(|step| step.at).min()?;
        // Containers that are due together become ready in one write.
        let due = first.max(self.now);
        let mut names = Vec::new();
        for step in &steps {
            match &step.act {
                Act::Ready(more) if step.at <= due => names.extend(more.iter().cloned()),
                _ => {}
            }
        }
        let mut step = steps.into_iter().min_by_key(|step| step.at)?;
        if let Act::Ready(all) = &mut step.act {
            *all = names;
        }
        Some(step)
    }

    /// A step so long after the start of the containers, or after the exec into one that waits for it.
    fn since_exec(&self, held: Option<&str>, delay: SignedDuration, act: Act) -> Option<Step> {
        let start = self.since(Anchor::Started, delay, act.clone());
        let Some(name) = held else {
            return Some(start);
        };
        let at = *self.script.execs.get(name)? + delay;
        let at = at.max(start.at);
        Some(Step { at, act })
    }

    /// A restart: at once the first time, then after a growing backoff.
    fn again(&self, since: Anchor, restarts: i32, paused: bool, start: Act, pause: Act) -> Step {
        let delay = match (self.script.restart_after, restarts) {
            (Some(delay), _) => delay,
            (None, 0) => SignedDuration::ZERO,
            (None, _) => self.back_off(u32::try_from(restarts).unwrap_or(0).saturating_sub(1)),
        };
        if delay > SignedDuration::ZERO && !paused {
            return self.at_once(pause);
        }
        self.since(since, delay, start)
    }

    fn back_off(&self, count: u32) -> SignedDuration {
        let factor = 2_i32.saturating_pow(count.min(20));
        let delay = self.pace.back_off.checked_mul(factor);
        delay.map_or(LONGEST_BACK_OFF, |delay| delay.min(LONGEST_BACK_OFF))
    }
}
