//! What has had enough time to reach every consumer: every open stream must know the last state of each workspace.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::observation::{Channel, State};
use super::stream::Consumer;
use super::violation::{Evidence, Kind, Violation};

/// A slow stream may still send updates of a workspace that ended before another stream started. That one must know
/// only starts that appeared when it had been complete for this long.
const SLACK: SignedDuration = SignedDuration::from_secs(10);
/// Ended workspaces are kept for this long, so that memory is bounded.
const MEMORY: SignedDuration = SignedDuration::from_hours(1);

/// What was seen of all workspaces and not checked yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Unsettled {
    streams: VecDeque<(Timestamp, Item)>,
    bus: VecDeque<(Timestamp, Item)>,
    latest: HashMap<String, Latest>,
}

#[derive(Debug, Clone)]
enum Item {
    /// A consumer saw this.
    Present(Arc<Evidence>),
    /// This is missing from a list, though the server had shown it before the call.
    Gone {
        last: Arc<Evidence>,
        server: String,
        asked: u64,
    },
}

/// The newest state of a workspace, and when its start appeared first.
#[derive(Debug, Clone)]
struct Latest {
    newest: Arc<Evidence>,
    first: Timestamp,
    touched: Timestamp,
    /// Only the bus showed this start. After an outage a broker may send it long after its end.
    bus_alone: bool,
}

impl Unsettled {
    /// Adds an observation, of the bus or another channel. Returns whether it is the first of its workspace.
    pub(super) fn learn(&mut self, seen: &Arc<Evidence>, by_bus: bool) -> bool {
        let state = &seen.state;
        self.push(seen.at, Item::Present(Arc::clone(seen)));
        match self.latest.get_mut(&state.id) {
            None => {
                let latest = Latest {
                    newest: Arc::clone(seen),
                    first: seen.at,
                    touched: seen.at,
                    bus_alone: by_bus,
                };
                self.latest.insert(state.id.clone(), latest);
                true
            }
            Some(latest) => {
                latest.touched = seen.at;
                if !state.is_older(&latest.newest.state) {
                    if is_new_start(state, &latest.newest.state) {
                        latest.first = seen.at;
                        latest.bus_alone = by_bus;
                    }
                    latest.bus_alone &= by_bus;
                    latest.newest = Arc::clone(seen);
                }
                false
            }
        }
    }

    /// Notes that a workspace is missing from a list of `server`, called with observation `asked`.
    pub(super) fn gone(&mut self, at: Timestamp, last: Arc<Evidence>, server: String, asked: u64) {
        let item = Item::Gone {
            last,
            server,
            asked,
        };
        self.push(at, item);
    }

    fn push(&mut self, at: Timestamp, item: Item) {
        self.streams.push_back((at, item.clone()));
        self.bus.push_back((at, item));
    }

    /// Checks what was seen up to a moment, or all of it, against the consumers of a channel.
    pub(super) fn settle<'a>(
        &mut self,
        channel: Channel,
        until: Option<Timestamp>,
        consumers: impl Iterator<Item = &'a mut Consumer>,
    ) -> Vec<Violation> {
        let pending = match channel {
            Channel::Stream => &mut self.streams,
            Channel::Bus => &mut self.bus,
        };
        let mut present: BTreeMap<String, Arc<Evidence>> = BTreeMap::new();
        let mut gone = Vec::new();
        while pending
            .front()
            .is_some_and(|(at, _)| until.is_none_or(|until| *at <= until))
        {
            match pending.pop_front() {
                Some((_, Item::Present(seen))) => {
                    let newest = present
                        .entry(seen.state.id.clone())
                        .or_insert_with(|| Arc::clone(&seen));
                    if !seen.state.is_older(&newest.state) {
                        *newest = seen;
                    }
                }
                Some((
                    _,
                    Item::Gone {
                        last,
                        server,
                        asked,
                    },
                )) => gone.push((last, server, asked)),
                None => break,
            }
        }
        let mut violations = Vec::new();
        let reads = |consumer: &&mut Consumer| consumer.open && consumer.begin.channel == channel;
        for consumer in consumers.filter(reads) {
            for seen in present.values() {
                violations.extend(self.missed(consumer, seen));
            }
            for (last, server, asked) in &gone {
                if *server == consumer.begin.server {
                    violations.extend(end_missed(consumer, last, *asked));
                }
            }
            violations.extend(consumer.unended());
        }
        violations
    }

    /// The state that a consumer should know by now and does not.
    fn missed(&self, consumer: &mut Consumer, seen: &Arc<Evidence>) -> Option<Violation> {
        let owed = &seen.state;
        let latest = self.latest.get(&owed.id)?;
        let filter = consumer.begin.filter.as_ref();
        // After the filter stops matching, no update follows, and intermediate states may be merged.
        if owed.version == 0 || !owed.passes(filter) || !latest.newest.state.passes(filter) {
            return None;
        }
        let newest = consumer
            .known
            .get(&owed.id)
            .and_then(|known| known.newest())
            .cloned();
        let why = match &newest {
            None => {
                let since = consumer.complete_since?;
                let late = latest.bus_alone && consumer.begin.channel == Channel::Stream;
                if late || latest.first < since + SLACK || is_new_start(&latest.newest.state, owed)
                {
                    return None;
                }
                "others saw this, this stream never sent it"
            }
            Some(newest) => {
                let knows = &newest.state;
                let same = knows.equals(owed);
                let over = knows.is_stopped() && !knows.starts_apart(owed);
                if over && !is_new_start(owed, knows) || same && !knows.starts_apart(owed) {
                    return None;
                }
                if knows.version > owed.version {
                    return None;
                }
                match knows.is_as_old(owed) {
                    true => "others saw another state in this version",
                    false => "others saw this, this stream ends with an older state",
                }
            }
        };
        let kind = match owed.is_stopped() {
            true => Kind::StoppedMissing,
            false => Kind::Lost,
        };
        let evidence = newest.iter().chain([seen]);
        let violation = consumer.violation(kind, why, evidence);
        // Reported once: from here on it counts as known.
        consumer.listed(seen);
        Some(violation)
    }

    /// Removes what ended long before a moment and returns the ids that can be removed everywhere.
    pub(super) fn forget(&mut self, now: Timestamp) -> Vec<String> {
        let old: Vec<String> = self
            .latest
            .iter()
            .filter(|(_, latest)| latest.touched < now - MEMORY)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &old {
            self.latest.remove(id);
        }
        old
    }
}

fn is_new_start(state: &State, before: &State) -> bool {
    state.starts_apart(before)
        || (before.is_stopped() && !state.is_stopped() && state.begins_after(before))
}

/// Whether a consumer that knew a workspace never received its end.
fn end_missed(consumer: &mut Consumer, last: &Arc<Evidence>, asked: u64) -> Option<Violation> {
    let id = &last.state.id;
    let newest = Arc::clone(consumer.known.get(id)?.newest()?);
    let knows = &newest.state;
    if knows.is_stopped()
        || newest.line > asked
        || last.state.is_older(knows)
        || knows.starts_apart(&last.state)
    {
        return None;
    }
    let why = "it is listed no more, and its STOPPED never arrived";
    let violation = consumer.violation(Kind::StoppedMissing, why, [&newest]);
    consumer.known.remove(id);
    Some(violation)
}
