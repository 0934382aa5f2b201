//! Reads observations one by one, in order, and returns their violations.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::observation::{Channel, Observation, Saw, State};
use super::settle::Unsettled;
use super::stopping::Stopping;
use super::stream::{Consumer, Floor, behind, violation};
use super::violation::{Evidence, How, Kind, Violation};
use crate::proto::wsman::MetadataFilter;

/// The history so far.
#[derive(Debug, Clone, Default)]
pub struct Checker {
    line: u64,
    consumers: BTreeMap<String, Consumer>,
    listings: BTreeMap<String, Listing>,
    servers: BTreeMap<String, Server>,
    unsettled: Unsettled,
    stopping: Stopping,
    counts: Counts,
}

/// Counts of a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Statuses in updates of streams.
    pub updates: u64,
    /// Messages of the bus, including repeats.
    pub messages: u64,
    /// Repeated messages.
    pub repeats: u64,
    /// Lists with a response.
    pub lists: u64,
    /// Workspaces, by id.
    pub workspaces: u64,
    /// Streams of a consumer after its first.
    pub reconnects: u64,
    pub violations: u64,
}

/// A list call.
#[derive(Debug, Clone)]
struct Listing {
    server: String,
    filter: Option<MetadataFilter>,
    /// What the server showed before the call.
    floor: Floor,
    asked: u64,
}

#[derive(Debug, Clone, Default)]
struct Server {
    floor: Floor,
    /// Last states of workspaces that are missing from a list.
    absent: Floor,
}

impl Checker {
    /// Returns a checker that allows STOPPING for this long.
    pub fn new(stopping_within: SignedDuration) -> Self {
        Self {
            stopping: Stopping::within(stopping_within),
            ..Self::default()
        }
    }

    /// Adds an observation and returns the violations that it shows.
    pub fn observe(&mut self, observation: &Observation) -> Vec<Violation> {
        self.line += 1;
        let (who, at) = (&observation.who, observation.at);
        let violations = match &observation.saw {
            Saw::Opening(begin) => {
                let floor = self.server(&begin.server).floor.clone();
                let line = self.line;
                self.consumer(who).opening(begin, floor, line, at);
                Vec::new()
            }
            Saw::Opened {} => {
                let before = std::mem::replace(&mut self.consumer(who).accepted, true);
                self.counts.reconnects += u64::from(before);
                Vec::new()
            }
            Saw::Reset {} => {
                let line = self.line;
                self.consumer(who).reset(line);
                Vec::new()
            }
            Saw::Update(state) => self.updated(who, at, state),
            Saw::Complete {} => {
                self.consumer(who).complete_since = Some(at);
                Vec::new()
            }
            Saw::Ended { .. } => {
                let consumer = self.consumer(who);
                consumer.open = false;
                consumer.unended()
            }
            Saw::Asked { server, filter } => {
                let listing = Listing {
                    server: server.clone(),
                    filter: filter.clone(),
                    floor: self.server(server).floor.clone(),
                    asked: self.line,
                };
                self.listings.insert(who.clone(), listing);
                Vec::new()
            }
            Saw::Listed { states } => self.listed(who, at, states),
            Saw::Failed { .. } => {
                self.listings.remove(who);
                Vec::new()
            }
            Saw::Reconnected {} => {
                self.consumer(who).reconnects += 1;
                self.counts.reconnects += 1;
                Vec::new()
            }
            Saw::Settled { until, channel } => self.settle(at, *until, *channel),
        };
        self.counts.violations += violations.len() as u64;
        violations
    }

    /// Returns the violations that show at the end of a history.
    pub fn finish(&mut self) -> Vec<Violation> {
        let consumers = self.consumers.values_mut();
        let violations: Vec<_> = consumers.flat_map(Consumer::unended).collect();
        self.counts.violations += violations.len() as u64;
        violations
    }

    /// Returns the counts so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn updated(&mut self, who: &str, at: Timestamp, state: &State) -> Vec<Violation> {
        let seen = self.seen(who, at, How::Update, state);
        let consumer = self.consumer(who);
        let begin = consumer.begin.clone();
        let (violation, believed) = consumer.updated(&seen);
        let repeats = std::mem::take(&mut consumer.repeats);
        match begin.channel {
            Channel::Stream => self.counts.updates += 1,
            Channel::Bus => self.counts.messages += 1,
        }
        self.counts.repeats += repeats;
        if believed {
            // The bus is no part of the server, which may be behind it.
            if begin.channel == Channel::Stream {
                raise(&mut self.server(&begin.server).floor, &seen);
            }
            self.learn(&seen, begin.channel == Channel::Bus);
        }
        violation.into_iter().collect()
    }

    fn listed(&mut self, who: &str, at: Timestamp, states: &[State]) -> Vec<Violation> {
        self.counts.lists += 1;
        let Some(listing) = self.listings.remove(who) else {
            return Vec::new();
        };
        // A list for a stream has what was there when the stream started.
        let completes = self.consumers.get(who).is_some_and(|consumer| {
            consumer.open
                && consumer.opened < listing.asked
                && consumer.begin.filter == listing.filter
        });
        let mut violations = Vec::new();
        let mut there = HashSet::new();
        for state in states {
            there.insert(state.id.as_str());
            let seen = self.seen(who, at, How::Listed, state);
            if !state.passes(listing.filter.as_ref()) {
                let why = "the list's filter does not match it";
                violations.push(violation(who, Kind::WrongFilter, why, [&seen]));
                continue;
            }
            let server = self.servers.entry(listing.server.clone()).or_default();
            let missed = server.absent.remove(&state.id);
            if let Some(floor) = listing.floor.get(&state.id)
                && let Some((kind, why)) = behind(&floor.state, state)
            {
                violations.push(violation(who, kind, why, [floor, &seen]));
                continue;
            }
            if let Some(missed) = missed
                && !state.is_stopped()
                && !state.begins_after(&missed.state)
            {
                let why = "a list in between did not hold it";
                violations.push(violation(who, Kind::Regress, why, [&missed, &seen]));
            }
            raise(&mut server.floor, &seen);
            self.learn(&seen, false);
            if completes {
                self.consumer(who).listed(&seen);
            }
        }
        self.miss(at, &listing, &there);
        violations.extend(self.stopping.overdue(at));
        if completes {
            self.consumer(who).complete_since = Some(at);
        }
        violations
    }

    /// A workspace that is missing from a list has ended: a consumer that knew it must receive its STOPPED.
    fn miss(&mut self, at: Timestamp, listing: &Listing, there: &HashSet<&str>) {
        for (id, last) in &listing.floor {
            if last.state.is_stopped()
                || there.contains(id.as_str())
                || !last.state.passes(listing.filter.as_ref())
            {
                continue;
            }
            let server = self.server(&listing.server);
            if server
                .floor
                .get(id)
                .is_some_and(|newest| newest.line < listing.asked)
            {
                server.floor.remove(id);
            }
            server.absent.insert(id.clone(), Arc::clone(last));
            self.stopping.forget(id);
            self.unsettled
                .gone(at, Arc::clone(last), listing.server.clone(), listing.asked);
        }
    }

    fn settle(
        &mut self,
        at: Timestamp,
        until: Option<Timestamp>,
        channel: Option<Channel>,
    ) -> Vec<Violation> {
        let mut violations = Vec::new();
        for of in [Channel::Stream, Channel::Bus] {
            if channel.is_none_or(|channel| channel == of) {
                let consumers = self.consumers.values_mut();
                violations.extend(self.unsettled.settle(of, until, consumers));
            }
        }
        for id in self.unsettled.forget(at) {
            self.stopping.forget(&id);
            for server in self.servers.values_mut() {
                server.floor.remove(&id);
                server.absent.remove(&id);
            }
            for consumer in self.consumers.values_mut() {
                consumer.known.remove(&id);
            }
        }
        violations
    }

    fn learn(&mut self, seen: &Arc<Evidence>, by_bus: bool) {
        self.stopping.learn(seen);
        self.counts.workspaces += u64::from(self.unsettled.learn(seen, by_bus));
    }

    fn seen(&self, who: &str, at: Timestamp, how: How, state: &State) -> Arc<Evidence> {
        Arc::new(Evidence {
            line: self.line,
            at,
            who: who.to_owned(),
            how,
            state: state.clone(),
        })
    }

    fn consumer(&mut self, who: &str) -> &mut Consumer {
        self.consumers
            .entry(who.to_owned())
            .or_insert_with(|| Consumer::new(who))
    }

    fn server(&mut self, name: &str) -> &mut Server {
        self.servers.entry(name.to_owned()).or_default()
    }
}

fn raise(floor: &mut Floor, seen: &Arc<Evidence>) {
    let newest = floor
        .entry(seen.state.id.clone())
        .or_insert_with(|| Arc::clone(seen));
    if !seen.state.is_older(&newest.state) {
        *newest = Arc::clone(seen);
    }
}
