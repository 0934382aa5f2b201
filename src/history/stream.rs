//! What one consumer knows, and the rules for its next update.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::bus::Messages;
use super::observation::{Begin, Channel, State};
use super::violation::{Evidence, Kind, Violation};

/// The newest states that a server showed, by workspace.
pub(super) type Floor = BTreeMap<String, Arc<Evidence>>;

/// One consumer and what it knows since its stream last started without a resume.
#[derive(Debug, Clone, Default)]
pub(super) struct Consumer {
    pub(super) name: String,
    pub(super) begin: Begin,
    pub(super) open: bool,
    /// A server accepted one of its streams.
    pub(super) accepted: bool,
    /// Number of the observation with which the stream started.
    pub(super) opened: u64,
    /// Since when it knows every workspace, from a list, a snapshot or its queue.
    pub(super) complete_since: Option<Timestamp>,
    pub(super) known: HashMap<String, Known>,
    floor: Floor,
    /// Last states of starts without STOPPED before the next start. It may still arrive, too late.
    unended: Vec<(Arc<Evidence>, Arc<Evidence>)>,
    pub(super) reconnects: u64,
    /// Repeated messages that are not counted yet.
    pub(super) repeats: u64,
    /// The publisher session of the last message.
    session: Option<String>,
}

/// What a consumer knows of one workspace.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The newest in an update.
    updated: Option<Arc<Evidence>>,
    /// In the last list.
    listed: Option<Arc<Evidence>>,
    messages: Messages,
}

impl Known {
    /// The newest of both.
    pub(super) fn newest(&self) -> Option<&Arc<Evidence>> {
        match (&self.updated, &self.listed) {
            (Some(updated), Some(listed)) if updated.state.is_older(&listed.state) => Some(listed),
            (None, listed) => listed.as_ref(),
            (updated, _) => updated.as_ref(),
        }
    }
}

/// A guarantee and how it is broken.
type Fault = (Kind, &'static str);

impl Consumer {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Notes that a stream is opened, of a server that showed `floor` before.
    pub(super) fn opening(&mut self, begin: &Begin, floor: Floor, line: u64, at: Timestamp) {
        let continues = begin.resumes || (begin.channel == Channel::Bus && self.opened > 0);
        self.open = true;
        self.begin = begin.clone();
        self.floor = floor;
        if continues {
            self.reconnects += 1;
        } else {
            self.begin_anew(line);
            self.complete_since = (begin.channel == Channel::Bus).then_some(at);
        }
    }

    /// Notes that a stream starts again instead of resuming.
    pub(super) fn reset(&mut self, line: u64) {
        self.begin.resumes = false;
        self.begin_anew(line);
    }

    fn begin_anew(&mut self, line: u64) {
        self.opened = line;
        self.known.clear();
        self.unended.clear();
        self.complete_since = None;
    }

    /// Checks an update. Returns what is wrong with it, and whether it counts nevertheless.
    pub(super) fn updated(&mut self, seen: &Arc<Evidence>) -> (Option<Violation>, bool) {
        let next = &seen.state;
        if !next.passes(self.begin.filter.as_ref()) {
            let why = "the stream's filter does not match it";
            return (Some(self.violation(Kind::WrongFilter, why, [seen])), false);
        }
        if next.session.is_some() && next.session != self.session {
            let before = std::mem::replace(&mut self.session, next.session.clone());
            self.reconnects += u64::from(before.is_some());
        }
        let known = self.known.entry(next.id.clone()).or_default();
        if self.begin.channel == Channel::Bus {
            match known.messages.arrived(seen, self.reconnects) {
                None => {}
                Some(Ok(())) => {
                    self.repeats += 1;
                    return (None, false);
                }
                Some(Err((first, why))) => {
                    return (
                        Some(self.violation(Kind::Repeated, why, [&first, seen])),
                        false,
                    );
                }
            }
        }
        let Some(before) = known.updated.clone() else {
            known.updated = Some(Arc::clone(seen));
            return self.first(seen);
        };
        let prev = &before.state;
        let mut fault = compare(prev, next);
        if matches!(fault, Some((Kind::Repeated, _))) && next.is_republished_after(prev) {
            self.repeats += 1;
            fault = None;
        }
        // An old state shows nothing new, and a state after the end is not believed.
        let believed = !next.is_older(prev)
            && !next.is_as_old(prev)
            && fault.is_none_or(|(kind, _)| kind == Kind::Repeated);
        if believed {
            known.updated = Some(Arc::clone(seen));
            if !prev.is_stopped() && prev.starts_apart(next) {
                self.unended.push((Arc::clone(&before), Arc::clone(seen)));
            }
        } else if next.is_stopped() {
            self.unended
                .retain(|(last, _)| last.state.id != next.id || last.state.starts_apart(next));
        }
        let violation = fault.map(|(kind, why)| self.violation(kind, why, [&before, seen]));
        (violation, believed)
    }

    /// Compares the first update of a workspace on a new stream with what the server showed before.
    fn first(&self, seen: &Arc<Evidence>) -> (Option<Violation>, bool) {
        if self.begin.resumes || self.begin.channel == Channel::Bus {
            return (None, true);
        }
        let Some(floor) = self.floor.get(&seen.state.id) else {
            return (None, true);
        };
        let fault = behind(&floor.state, &seen.state);
        let violation = fault.map(|(kind, why)| self.violation(kind, why, [floor, seen]));
        let believed = violation.is_none();
        (violation, believed)
    }

    /// Adds a workspace of a list for this stream.
    pub(super) fn listed(&mut self, seen: &Arc<Evidence>) {
        let known = self.known.entry(seen.state.id.clone()).or_default();
        known.listed = Some(Arc::clone(seen));
    }

    /// Returns the starts without STOPPED before the next start, each once.
    pub(super) fn unended(&mut self) -> Vec<Violation> {
        let why = "a new start arrived without the STOPPED of the one before";
        std::mem::take(&mut self.unended)
            .iter()
            .map(|(last, next)| self.violation(Kind::StoppedMissing, why, [last, next]))
            .collect()
    }

    /// Returns a violation for this consumer; the last of the evidence names the workspace.
    pub(super) fn violation<'a>(
        &self,
        kind: Kind,
        why: &'static str,
        evidence: impl IntoIterator<Item = &'a Arc<Evidence>>,
    ) -> Violation {
        violation(&self.name, kind, why, evidence)
    }
}

pub(super) fn violation<'a>(
    who: &str,
    kind: Kind,
    why: &'static str,
    evidence: impl IntoIterator<Item = &'a Arc<Evidence>>,
) -> Violation {
    let evidence: Vec<Evidence> = evidence.into_iter().map(|seen| (**seen).clone()).collect();
    let workspace = evidence.last().map(|seen| seen.state.id.clone());
    Violation {
        kind,
        who: who.to_owned(),
        workspace: workspace.unwrap_or_default(),
        why,
        evidence,
    }
}

/// What is wrong with `next` after `prev` on one stream.
fn compare(prev: &State, next: &State) -> Option<Fault> {
    let same = prev.equals(next);
    if next.is_older(prev) {
        return Some((Kind::Reordered, "an older version came after a newer one"));
    }
    if next.is_as_old(prev) && !same {
        return Some((Kind::Reordered, "two states came in one version"));
    }
    if prev.is_stopped() && (next.is_as_old(prev) || !next.begins_after(prev)) {
        return Some(match next.is_stopped() {
            true => (Kind::StoppedTwice, "STOPPED came again"),
            false => (
                Kind::Resurrected,
                "a state that is no new start came after STOPPED",
            ),
        });
    }
    same.then_some((Kind::Repeated, "the same came again"))
}

/// What is wrong with a list or a new stream that shows `next` after the same server showed `floor`.
pub(super) fn behind(floor: &State, next: &State) -> Option<Fault> {
    if next.is_older(floor) {
        let why = "older than what this server let be seen before it was asked";
        return Some((Kind::Regress, why));
    }
    let revived = floor.is_stopped()
        && !next.is_stopped()
        && (next.is_as_old(floor) || !next.begins_after(floor));
    revived.then_some((
        Kind::Resurrected,
        "this server had sent STOPPED before it was asked, and this is no new start",
    ))
}
