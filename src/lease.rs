//! Leader election: the Lease as a state machine. Its input is the Lease, its output the next step.
//!
//! Times are the replica's own, as durations since its start: a holder counts from the start of its last renewal, the
//! others from the moment at which they saw it. Clocks of different hosts are compared only once, when a replica sees
//! its first Lease: a Lease that is expired by its own time is taken if no renewal follows soon.

pub mod identity;

use std::time::Duration;

use jiff::{Timestamp, Unit};
use k8s_openapi::api::coordination::v1 as coordination;

use crate::action::{Action, LeaseUpdate};
use crate::objects::{Lease, LeaseSpec};

/// Name of the Lease in the configured namespace.
pub const NAME: &str = "wsman";
/// A Lease without a renewal for this long may be taken.
pub const DURATION: Duration = Duration::from_secs(15);
/// A holder without a renewal for this long stops, well before another may start.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Interval of attempts.
pub const RETRY: Duration = Duration::from_secs(2);
/// Largest difference between clocks of different hosts.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(5);
/// How long a replica waits for a renewal before it trusts the time in a Lease: a live holder makes two.
pub const LOOKS: Duration = Duration::from_secs(4);
/// Longest duration of a Lease that is honoured, so that a mistake does not stop everything.
const LONGEST: i64 = 300;

/// The state of a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LeaseState {
    /// It does not lead and sees no leader.
    #[default]
    Idle,
    /// Another replica leads.
    Follower { holder: String },
    /// This replica leads.
    Leader {
        /// Until then, unless it renews.
        until: Duration,
    },
}

impl LeaseState {
    /// Whether this replica leads at a moment.
    pub fn holds(&self, now: Duration) -> bool {
        matches!(self, Self::Leader { until } if now < *until)
    }
}

/// The next step.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Read,
    /// Make this update.
    Write(Action),
    /// Wait until then.
    Wait(Duration),
}

/// One replica's part in the election.
#[derive(Debug)]
pub struct Election {
    identity: String,
    seen: Seen,
    /// What was seen may be wrong: the Lease must be read.
    doubtful: bool,
    /// The last attempt to write.
    attempt: Option<Attempt>,
    /// Start of the last attempt that succeeded.
    renewed: Option<Duration>,
    /// No earlier request.
    not_before: Duration,
    /// The identity of a replica that is known to have ended.
    gone: Option<String>,
}

#[derive(Debug)]
enum Seen {
    Never,
    Absent,
    /// The Lease, and since when it is unchanged.
    Lease(Box<Lease>, Since),
}

/// Since when a Lease is unchanged.
#[derive(Debug, Clone, Copy)]
struct Since {
    at: Duration,
    /// It is the first that this replica saw: no renewal was seen.
    first: bool,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    begun: Duration,
    renew_time: Timestamp,
}

impl Election {
    /// Returns the state of a replica; `identity` must be new at every start.
    pub fn new(identity: String) -> Self {
        Self {
            identity,
            seen: Seen::Never,
            doubtful: true,
            attempt: None,
            renewed: None,
            not_before: Duration::ZERO,
            gone: None,
        }
    }

    /// Adds the Lease as read or written now, `None` if there is none.
    pub fn read(&mut self, lease: Option<Lease>, now: Duration) {
        self.doubtful = false;
        match lease {
            Some(lease) => self.see(lease, now),
            None => self.seen = Seen::Absent,
        }
    }

    fn see(&mut self, lease: Lease, now: Duration) {
        let confirmed = self.attempt.filter(|attempt| {
            self.is_ours(&lease.spec) && lease.spec.renew_time == Some(attempt.renew_time)
        });
        if let Some(attempt) = confirmed {
            self.renewed = Some(attempt.begun);
        }
        let since = match &self.seen {
            Seen::Lease(known, since) if known.spec == lease.spec => *since,
            before => Since {
                at: now,
                first: matches!(before, Seen::Never),
            },
        };
        self.seen = Seen::Lease(Box::new(lease), since);
    }

    /// Adds a change from the watch. It may be late: one that is older than the known version is ignored.
    pub fn observe(&mut self, lease: Lease, now: Duration) {
        if !self.knows_newer(lease.metadata.version()) {
            self.see(lease, now);
        }
    }

    /// Notes that there was no Lease at `version`.
    pub fn observe_absence(&mut self, version: u64) {
        if !self.knows_newer(version) {
            self.seen = Seen::Absent;
        }
    }

    /// Notes that another replica was faster, or that the Lease changed unseen.
    pub fn conflict(&mut self) {
        self.doubtful = true;
    }

    /// Notes that a request failed that started at `begun`.
    pub fn fail(&mut self, begun: Duration) {
        self.doubtful = true;
        self.not_before = self.not_before.max(begun + RETRY);
    }

    /// Notes that the replica of an identity has ended: its Lease is free. Returns whether that is new.
    pub fn mark_gone(&mut self, identity: &str) -> bool {
        let news = self.gone.as_deref() != Some(identity);
        self.gone = Some(identity.to_owned());
        news
    }

    /// Returns how long another replica's Lease must be honoured, unless it is renewed.
    pub fn wait(&self, now: Duration, wall: Timestamp) -> Duration {
        let free = match &self.seen {
            Seen::Lease(lease, since) => self.free(lease, *since, now, wall),
            Seen::Never | Seen::Absent => now,
        };
        free.saturating_sub(now)
    }

    /// The moment from which a Lease may be taken.
    fn free(&self, lease: &Lease, since: Since, now: Duration, wall: Timestamp) -> Duration {
        let spec = &lease.spec;
        let holder = &spec.holder_identity;
        if holder.is_empty() || self.is_ours(spec) || self.gone.as_ref() == Some(holder) {
            return now;
        }
        let all = duration(spec);
        let wait = match spec.renew_time.filter(|_| since.first) {
            Some(renewed) => {
                let watched = now.saturating_sub(since.at);
                let age = Duration::try_from(wall.duration_since(renewed)).unwrap_or_default();
                let left = (all + CLOCKS_DIFFER).saturating_sub(age.saturating_sub(watched));
                left.clamp(LOOKS.min(all), all)
            }
            None => all,
        };
        since.at.saturating_add(wait)
    }

    /// Returns the state of this replica.
    pub fn lease_state(&self, now: Duration) -> LeaseState {
        match &self.seen {
            Seen::Lease(lease, _) if self.is_ours(&lease.spec) => {
                let until = self.renewed.map(|renewed| renewed + RENEW_DEADLINE);
                until
                    .filter(|until| now < *until)
                    .map_or(LeaseState::Idle, |until| LeaseState::Leader { until })
            }
            Seen::Lease(lease, _) if !lease.spec.holder_identity.is_empty() => {
                LeaseState::Follower {
                    holder: lease.spec.holder_identity.clone(),
                }
            }
            _ => LeaseState::Idle,
        }
    }

    /// Returns the next step. A returned write counts as started.
    pub fn step(&mut self, now: Duration, wall: Timestamp) -> Step {
        if now < self.not_before {
            return Step::Wait(self.not_before);
        }
        if self.doubtful {
            return Step::Read;
        }
        let free = match &self.seen {
            Seen::Never => return Step::Read,
            Seen::Absent => now,
            Seen::Lease(lease, since) => self.free(lease, *since, now, wall),
        };
        let retry = self
            .attempt
            .map_or(now, |last| last.begun.saturating_add(RETRY));
        let next = free.max(retry);
        if now < next {
            return Step::Wait(next);
        }
        let renew_time = microseconds(wall);
        self.attempt = Some(Attempt {
            begun: now,
            renew_time,
        });
        Step::Write(Action::UpdateLease(self.update(renew_time)))
    }

    /// Returns the write that releases the Lease, if this replica holds it.
    pub fn release(&self, wall: Timestamp) -> Option<Action> {
        let Seen::Lease(lease, _) = &self.seen else {
            return None;
        };
        self.is_ours(&lease.spec).then(|| {
            let wall = microseconds(wall);
            let spec = coordination::LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(1),
                acquire_time: Some(wall.into()),
                renew_time: Some(wall.into()),
                lease_transitions: Some(transitions(&lease.spec)),
                ..coordination::LeaseSpec::default()
            };
            Action::UpdateLease(LeaseUpdate {
                version: Some(lease.metadata.resource_version.clone()),
                spec: Box::new(spec),
            })
        })
    }

    fn update(&self, renew_time: Timestamp) -> LeaseUpdate {
        let known = match &self.seen {
            Seen::Lease(lease, _) => Some(lease),
            Seen::Never | Seen::Absent => None,
        };
        let ours = known.filter(|lease| self.is_ours(&lease.spec));
        let acquired = ours.and_then(|lease| lease.spec.acquire_time);
        let spec = coordination::LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(acquired.unwrap_or(renew_time).into()),
            renew_time: Some(renew_time.into()),
            lease_transitions: Some(match (known, ours) {
                (None, _) => 0,
                (Some(lease), Some(_)) => transitions(&lease.spec),
                (Some(lease), None) => transitions(&lease.spec).saturating_add(1),
            }),
            ..coordination::LeaseSpec::default()
        };
        LeaseUpdate {
            version: known.map(|lease| lease.metadata.resource_version.clone()),
            spec: Box::new(spec),
        }
    }

    fn is_ours(&self, spec: &LeaseSpec) -> bool {
        spec.holder_identity == self.identity
    }

    fn knows_newer(&self, version: u64) -> bool {
        matches!(&self.seen, Seen::Lease(known, _) if known.metadata.version() > version)
    }
}

fn duration(spec: &LeaseSpec) -> Duration {
    let seconds = spec
        .lease_duration_seconds
        .filter(|seconds| (1..=LONGEST).contains(seconds));
    seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(DURATION, Duration::from_secs)
}

fn transitions(spec: &LeaseSpec) -> i32 {
    spec.lease_transitions
        .and_then(|count| i32::try_from(count).ok())
        .unwrap_or(0)
        .max(0)
}

/// A Lease has microseconds; after a read it must equal what was written.
fn microseconds(wall: Timestamp) -> Timestamp {
    wall.round(
        jiff::TimestampRound::new()
            .smallest(Unit::Microsecond)
            .mode(jiff::RoundMode::Trunc),
    )
    .unwrap_or(wall)
}

#[cfg(test)]
mod tests;
