//! Decides which containers of a pod start or end next; pure.
//!
//! Init containers run one after the other. A sidecar is an init container that restarts always: the next one starts
//! as soon as it has started, and it runs until the other containers have ended. All ends share one grace period:
//! first the containers, then the sidecars one by one, the last started first.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ContainerStatus;

use crate::kubelet::pod::RestartPolicy;
use crate::script::last_exit;

#[cfg(test)]
mod tests;

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Init,
    Sidecar,
    Main,
}

/// A container as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) kind: Kind,
    pub(crate) status: ContainerStatus,
}

/// The signals that a container received in this run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stop {
    Terminated(Timestamp),
    Killed,
}

/// A pod as it is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// In the order of the spec, init containers and sidecars first.
    pub(crate) members: &'a [Member],
    pub(crate) policy: RestartPolicy,
    /// The volumes are there.
    pub(crate) mounted: bool,
    /// The end of the grace period, since the pod ends.
    pub(crate) ending: Option<Timestamp>,
    pub(crate) stops: &'a BTreeMap<String, Stop>,
    /// What failed to be prepared is not tried again before this.
    pub(crate) not_before: Timestamp,
    /// The first backoff of a container that ends again and again.
    pub(crate) back_off: SignedDuration,
    pub(crate) now: Timestamp,
}

/// A step; containers are meant by their index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Act {
    Mount,
    Start(usize),
    /// Show that it waits for its restart.
    BackOff(usize),
    /// No container runs again: start the grace period of the pod.
    End,
    Terminate(usize),
    Kill(usize),
    /// Everything has ended; whether that is a success.
    Finish {
        succeeded: bool,
    },
}

/// What to do now, and when to decide again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Plan {
    pub(crate) acts: Vec<Act>,
    pub(crate) wake: Option<Timestamp>,
}

/// Past the pod's grace period, a sidecar has this long between SIGTERM and SIGKILL.
pub(crate) const MINIMUM_GRACE: SignedDuration = SignedDuration::from_secs(2);
const LONGEST_BACK_OFF: SignedDuration = SignedDuration::from_mins(5);
/// A container that ran this long restarts as if it had not failed before.
const STABLE: SignedDuration = SignedDuration::from_mins(10);

/// The next steps of a pod.
pub(crate) fn next(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    match view.ending {
        None => view.run(&mut plan),
        Some(deadline) => view.end(deadline, &mut plan),
    }
    plan
}

pub(crate) fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|s| s.running.is_some())
}

/// Whether all init containers are done and all sidecars have started, at least once.
pub(crate) fn is_initialized(members: &[Member]) -> bool {
    members.iter().all(|member| match member.kind {
        Kind::Main => true,
        Kind::Init => last_exit(&member.status) == Some(0),
        Kind::Sidecar => has_started(&member.status),
    })
}

/// Whether a container started, now or in an earlier run.
pub(crate) fn has_started(status: &ContainerStatus) -> bool {
    status.started == Some(true) || status.restart_count > 0 || last_exit(status).is_some()
}

impl Plan {
    fn at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

impl View<'_> {
    fn run(&self, plan: &mut Plan) {
        let over = |status| last_exit(status).is_some_and(|code| !self.policy.restarts(code));
        if self.mains().all(|(_, status)| over(status)) {
            return plan.acts.push(Act::End);
        }
        if !self.mounted {
            return self.prepare(Act::Mount, plan);
        }
        for (index, member) in self.members.iter().enumerate() {
            let status = &member.status;
            let running = is_running(status);
            match (member.kind, last_exit(status)) {
                (Kind::Main, _) => break,
                (Kind::Init, Some(0)) => {}
                (Kind::Init, Some(_)) if self.policy == RestartPolicy::Never => {
                    return plan.acts.push(Act::End);
                }
                (Kind::Init, Some(_)) => return self.restart(index, plan),
                (Kind::Sidecar, Some(_)) => self.restart(index, plan),
                (_, None) if !running => return self.prepare(Act::Start(index), plan),
                (Kind::Init, None) => return,
                (Kind::Sidecar, None) if !has_started(status) => return,
                (Kind::Sidecar, None) => {}
            }
        }
        for (index, status) in self.mains().filter(|(_, status)| !is_running(status)) {
            match last_exit(status) {
                None => self.prepare(Act::Start(index), plan),
                Some(code) if self.policy.restarts(code) => self.restart(index, plan),
                Some(_) => {}
            }
        }
    }

    fn prepare(&self, act: Act, plan: &mut Plan) {
        if self.now >= self.not_before {
            plan.acts.push(act);
        } else {
            plan.at(self.not_before);
        }
    }

    /// A restart: at once the first time, then after a growing backoff.
    fn restart(&self, index: usize, plan: &mut Plan) {
        let status = &self.members[index].status;
        let state = status.state.as_ref();
        let waits = state.is_some_and(|state| state.waiting.is_some());
        let state = if waits {
            status.last_state.as_ref()
        } else {
            state
        };
        let terminated = state.and_then(|state| state.terminated.as_ref());
        let finished = terminated.and_then(|t| t.finished_at.as_ref().map(|at| at.0));
        let started = terminated.and_then(|t| t.started_at.as_ref().map(|at| at.0));
        let stable = match (started, finished) {
            (Some(started), Some(finished)) => finished.duration_since(started) >= STABLE,
            _ => false,
        };
        let delay = match status.restart_count {
            0 => SignedDuration::ZERO,
            _ if stable => self.back_off,
            count => {
                let factor = 2_i32.saturating_pow(u32::try_from(count - 1).unwrap_or(0).min(20));
                let delay = self.back_off.checked_mul(factor);
                delay.map_or(LONGEST_BACK_OFF, |delay| delay.min(LONGEST_BACK_OFF))
            }
        };
        let at = (finished.unwrap_or(self.now) + delay).max(self.not_before);
        match () {
            () if at <= self.now => plan.acts.push(Act::Start(index)),
            () if !waits => plan.acts.push(Act::BackOff(index)),
            () => plan.at(at),
        }
    }

    fn end(&self, deadline: Timestamp, plan: &mut Plan) {
        let running = |sidecars: bool| {
            let all = self.members.iter().enumerate();
            all.filter(move |(_, member)| {
                is_running(&member.status) && (member.kind == Kind::Sidecar) == sidecars
            })
        };
        let late = self.now >= deadline;
        if running(false).next().is_some() {
            for (index, member) in running(false) {
                match self.stops.get(&member.status.name) {
                    None => plan.acts.push(Act::Terminate(index)),
                    Some(Stop::Terminated(_)) if late => plan.acts.push(Act::Kill(index)),
                    Some(Stop::Terminated(_)) => plan.at(deadline),
                    Some(Stop::Killed) => {}
                }
            }
            return;
        }
        // In time they end one by one; afterwards all at once.
        let most = if late { usize::MAX } else { 1 };
        let sidecars: Vec<_> = running(true).collect();
        if sidecars.is_empty() {
            let done = |(_, status)| last_exit(status) == Some(0);
            let succeeded = self.mains().all(done);
            return plan.acts.push(Act::Finish { succeeded });
        }
        for (index, member) in sidecars.into_iter().rev().take(most) {
            match self.stops.get(&member.status.name) {
                None => plan.acts.push(Act::Terminate(index)),
                Some(Stop::Terminated(since)) => {
                    let at = deadline.max(*since + MINIMUM_GRACE);
                    match self.now >= at {
                        true => plan.acts.push(Act::Kill(index)),
                        // A sidecar that ended its own time early does not shorten that of the others.
                        false => plan.at(if late { at } else { deadline }),
                    }
                }
                Some(Stop::Killed) => {}
            }
        }
    }

    fn mains(&self) -> impl Iterator<Item = (usize, &ContainerStatus)> {
        let all = self.members.iter().enumerate();
        all.filter(|(_, member)| member.kind == Kind::Main)
            .map(|(index, member)| (index, &member.status))
    }
}
