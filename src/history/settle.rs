//! What has had time enough to reach everybody: the last state of each workspace must be known to every open stream.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::observation::{Channel, State};
use super::stream::Consumer;
use super::violation::{Evidence, Kind, Violation};

/// A slow stream may still tell of a workspace that ended before another stream began. The other one is owed only
/// starts that showed up first when it had been complete for this long.
const SLACK: SignedDuration = SignedDuration::from_secs(10);
/// Ended workspaces are remembered for this long, so that a long run does not grow.
const MEMORY: SignedDuration = SignedDuration::from_hours(1);

/// What was seen of all workspaces, and what of it was not checked yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Due {
    streams: VecDeque<(Timestamp, Item)>,
    bus: VecDeque<(Timestamp, Item)>,
    latest: HashMap<String, Latest>,
}

#[derive(Debug, Clone)]
enum Item {
    /// Somebody saw this.
    Present(Arc<Evidence>),
    /// A list no longer held this, though its server had let it be seen before it was asked.
    Gone {
        last: Arc<Evidence>,
        server: String,
        asked: u64,
    },
}

/// The newest of one workspace, and when its start showed up first.
#[derive(Debug, Clone)]
struct Latest {
    newest: Arc<Evidence>,
    first: Timestamp,
    touched: Timestamp,
    /// Only the bus told of this start. A broker that was away may tell of it long after it ended.
    bus_alone: bool,
}

impl Due {
    /// Takes in what somebody saw, over the bus or elsewhere. Returns whether it is the first of its workspace.
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

    /// Takes in that a list of `server`, asked for with observation `asked`, no longer held a workspace.
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

    /// What a consumer should know by now and does not.
    fn missed(&self, consumer: &mut Consumer, seen: &Arc<Evidence>) -> Option<Violation> {
        let owed = &seen.state;
        let latest = self.latest.get(&owed.id)?;
        let filter = consumer.begin.filter.as_ref();
        // What matches no more is told no more, and intermediate states may be merged into what is not told.
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
                "others saw this, this stream never told of it"
            }
            Some(newest) => {
                let knows = &newest.state;
                let same = knows.tells_as(owed);
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
        // Said once: what is missing counts as known from here on.
        consumer.listed(seen);
        Some(violation)
    }

    /// Forgets what ended long before a moment and returns whose names may be forgotten everywhere.
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

/// Whether one state is of a later start than the other.
fn is_new_start(state: &State, before: &State) -> bool {
    state.starts_apart(before)
        || (before.is_stopped() && !state.is_stopped() && state.begins_after(before))
}

/// Whether a consumer that knew a workspace was never told its end.
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
    let why = "it is listed no more, and its STOPPED was never told";
    let violation = consumer.violation(Kind::StoppedMissing, why, [&newest]);
    consumer.known.remove(id);
    Some(violation)
}
