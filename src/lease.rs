//! Who runs the lifecycle: the Lease as a state machine. In goes what the Lease says, out comes what to do next.
//!
//! Times are the replica's own, as durations since its start: a holder counts from the moment at which it began its
//! last renewal, the others from the moment at which they saw it. Clocks of different hosts are compared only once, when a
//! replica sees its first Lease: one that looks abandoned by its own time is taken as soon as no renewal comes.

pub mod identity;

use std::time::Duration;

use jiff::{Timestamp, Unit};
use k8s_openapi::api::coordination::v1 as coordination;

use crate::action::{Action, LeaseUpdate};
use crate::objects::{Lease, LeaseSpec};

/// Name of the Lease in the configured namespace.
pub const NAME: &str = "wsman";
/// A Lease that nobody renewed for this long may be taken.
pub const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for this long stops, well before another may begin.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// From one attempt to the next.
pub const RETRY: Duration = Duration::from_secs(2);
/// How far clocks of different hosts may differ before the time in a Lease misleads.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(5);
/// For so long a replica looks for a renewal before it trusts the time in a Lease: a holder that lives makes two.
pub const LOOKS: Duration = Duration::from_secs(4);
/// Longest duration of a Lease that is respected, lest a slip of somebody's pen stops everything.
const LONGEST: i64 = 300;

/// Where a replica stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LeaseState {
    /// It holds nothing and sees no other holder.
    #[default]
    Idle,
    /// Another replica holds the Lease.
    Follower {
        /// Identity of that replica.
        holder: String,
    },
    /// It holds the Lease.
    Leader {
        /// Until then, unless it is renewed.
        until: Duration,
    },
}

impl LeaseState {
    /// Whether the Lease is held at a moment.
    pub fn holds(&self, now: Duration) -> bool {
        matches!(self, Self::Leader { until } if now < *until)
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Read the Lease.
    Read,
    /// Carry out this update.
    Write(Action),
    /// Nothing until then.
    Wait(Duration),
}

/// One replica's part in who holds the Lease.
#[derive(Debug)]
pub struct Election {
    identity: String,
    seen: Seen,
    /// Something is wrong with what was seen: it must be read.
    doubtful: bool,
    /// The last attempt to write.
    attempt: Option<Attempt>,
    /// Beginning of the last attempt that is known to have succeeded.
    renewed: Option<Duration>,
    /// No request before.
    not_before: Duration,
    /// The identity of a replica that is known to have ended.
    gone: Option<String>,
}

#[derive(Debug)]
enum Seen {
    Never,
    Absent,
    /// The Lease, and since when it says the same.
    Lease(Box<Lease>, Since),
}

/// Since when a Lease says the same.
#[derive(Debug, Clone, Copy)]
struct Since {
    at: Duration,
    /// It is the first that this replica has seen: nobody was seen to renew it.
    first: bool,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    begun: Duration,
    renew_time: Timestamp,
}

impl Election {
    /// Returns the part of a replica; `identity` must be another after every start.
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

    /// Takes in the Lease as it was read or written just now, `None` if there is none.
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

    /// Takes in a change that was watched. It may be late: what is older than what is known is left out.
    pub fn hear(&mut self, lease: Lease, now: Duration) {
        if !self.knows_newer(lease.metadata.version()) {
            self.see(lease, now);
        }
    }

    /// Takes in that there was no Lease at `version`.
    pub fn hear_absence(&mut self, version: u64) {
        if !self.knows_newer(version) {
            self.seen = Seen::Absent;
        }
    }

    /// Takes in that somebody else was faster, or that the Lease changed unseen.
    pub fn conflict(&mut self) {
        self.doubtful = true;
    }

    /// Takes in that a request failed that began at `begun`.
    pub fn fail(&mut self, begun: Duration) {
        self.doubtful = true;
        self.not_before = self.not_before.max(begun + RETRY);
    }

    /// Takes in that the replica of that identity has ended: what it holds is free. Returns whether that is news.
    pub fn bury(&mut self, identity: &str) -> bool {
        let news = self.gone.as_deref() != Some(identity);
        self.gone = Some(identity.to_owned());
        news
    }

    /// Returns how long another replica's Lease still has to be respected, unless it is renewed.
    pub fn wait(&self, now: Duration, wall: Timestamp) -> Duration {
        let free = match &self.seen {
            Seen::Lease(lease, since) => self.free(lease, *since, now, wall),
            Seen::Never | Seen::Absent => now,
        };
        free.saturating_sub(now)
    }

    /// The moment from which on a Lease may be taken.
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

    /// Says where the replica stands.
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

    /// Returns what to do now. A write that is returned counts as begun.
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
        let due = free.max(retry);
        if now < due {
            return Step::Wait(due);
        }
        let renew_time = microseconds(wall);
        self.attempt = Some(Attempt {
            begun: now,
            renew_time,
        });
        Step::Write(Action::UpdateLease(self.update(renew_time)))
    }

    /// Returns the write that lets the next replica take over at once, if there is anything to release.
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

/// A Lease holds microseconds; one that is read again must be equal to what was written.
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
