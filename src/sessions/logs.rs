//! The log of a component: where it is to be read, and what its text becomes: messages with positions, each exactly once
//! (docs/protocol.md#logs-of-a-session).

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use bytes::{Buf, BytesMut};
use jiff::{SignedDuration, Timestamp};

use super::status::wire;
use crate::error::{Error, FieldViolation};
use crate::proto::wsman::sessions::v1::{
    Health, LogPosition, LogsRequest, LogsResponse, SessionSpec, SessionStatus,
};
use crate::redact::show;

/// Longest text of a message.
pub const LONGEST: usize = 64 << 10;
/// No timestamp is longer.
const LONGEST_TIME: usize = 64;
/// How long before a position the log is asked for: the API server knows no fractions of a second, and lines of two streams
/// of a container may be a little out of order.
const BEFORE: SignedDuration = SignedDuration::from_secs(1);

/// What is to be read of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    pub component: String,
    /// Where to begin.
    pub from: ReadFrom,
    /// Only this many of the last lines.
    pub tail: Option<u32>,
}

/// Where a log is to be read from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadFrom {
    /// Messages in front of this time and ordinal are known already, or not asked for.
    bound: Option<(Timestamp, u32)>,
    /// The message right in front of the bound is known, so it must be there.
    follows: bool,
}

impl ReadFrom {
    /// ReadFrom a time on.
    pub fn time(time: Timestamp) -> Self {
        Self::message(time, 0)
    }

    /// ReadFrom the message of a time and an ordinal on.
    pub fn message(time: Timestamp, ordinal: u32) -> Self {
        Self {
            bound: Some((time, ordinal)),
            follows: false,
        }
    }

    /// ReadFrom the message on that follows one.
    pub fn after(time: Timestamp, ordinal: u32) -> Self {
        Self {
            bound: Some((time, ordinal.saturating_add(1))),
            follows: true,
        }
    }

    /// Returns from when on the API server is asked for lines.
    pub fn since(self) -> Option<Timestamp> {
        let (time, _) = self.bound?;
        Some(time.checked_sub(BEFORE).unwrap_or(time))
    }
}

/// Returns what a request selects of a session.
///
/// # Errors
/// [`Error::Invalid`] with every violation, [`Error::NotFound`] for a component that the session does not have.
pub fn select(request: &LogsRequest, spec: &SessionSpec) -> Result<Vec<Selected>, Error> {
    let known: Vec<&str> = spec.components.iter().map(|c| c.name.as_str()).collect();
    let mut faults = Vec::new();
    let mut add = |field: String, why: String| faults.push(FieldViolation::new(field, why));
    let since = request.since.as_ref().and_then(|since| {
        let time = read(since);
        if time.is_none() {
            add("since".to_owned(), "is no time".to_owned());
        }
        time
    });
    let mut names = BTreeSet::new();
    for (at, name) in request.components.iter().enumerate() {
        if !names.insert(name.as_str()) {
            let why = format!("{} is not unique", show(name));
            add(format!("components[{at}]"), why);
        }
    }
    let is_selected = |name: &str| names.is_empty() || names.contains(name);
    let mut after: Vec<(&str, Timestamp, u32)> = Vec::new();
    for (at, position) in request.after.iter().enumerate() {
        let name = position.component.as_str();
        if !is_selected(name) {
            let why = format!("{} is not among the components", show(name));
            add(format!("after[{at}].component"), why);
        }
        if after.iter().any(|(known, ..)| *known == name) {
            let why = format!("{} is not unique", show(name));
            add(format!("after[{at}].component"), why);
        }
        match position.time.as_ref().map(read) {
            Some(Some(time)) => after.push((name, time, position.ordinal)),
            Some(None) => add(format!("after[{at}].time"), "is no time".to_owned()),
            None => add(format!("after[{at}].time"), "is missing".to_owned()),
        }
    }
    if !faults.is_empty() {
        return Err(super::request::invalid(faults));
    }
    let named = names
        .iter()
        .copied()
        .chain(after.iter().map(|(name, ..)| *name));
    for name in named {
        if !known.contains(&name) {
            return Err(Error::NotFound {
                noun: "component",
                id: show(name),
                known: known.iter().map(|name| (*name).to_owned()).collect(),
            });
        }
    }
    let selected = known.into_iter().filter(|name| is_selected(name));
    Ok(selected
        .map(|name| {
            let after = after.iter().find(|(component, ..)| *component == name);
            let from = match (after, since) {
                (Some((_, time, ordinal)), since) if since.is_none_or(|since| since <= *time) => {
                    ReadFrom::after(*time, *ordinal)
                }
                (_, Some(since)) => ReadFrom::time(since),
                (_, None) => ReadFrom::default(),
            };
            Selected {
                component: name.to_owned(),
                from,
                tail: (request.tail > 0 && after.is_none()).then_some(request.tail),
            }
        })
        .collect())
}

/// Where the log of a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// Its container has not started.
    NotYet,
    /// Its container will not start any more.
    Nowhere,
    /// The pod with a container that runs.
    Running(&'a str),
    /// The pod with a container that ended: nothing is added.
    Ended(&'a str),
}

/// Returns where the log of a component is.
pub fn place<'a>(status: &'a SessionStatus, component: &str) -> Place<'a> {
    let found = status.components.iter().find(|c| c.name == component);
    let Some(found) = found else {
        return match status.done {
            true => Place::Nowhere,
            false => Place::NotYet,
        };
    };
    let is_over = matches!(found.health(), Health::Completed | Health::Broken);
    match (&found.started, &found.finished) {
        (Some(_), Some(_)) => Place::Ended(&found.pod),
        // A pod may be over while its container still runs.
        (Some(_), None) if is_over && status.done => Place::Ended(&found.pod),
        (Some(_), None) => Place::Running(&found.pod),
        (None, _) if is_over || status.done => Place::Nowhere,
        (None, _) => Place::NotYet,
    }
}

/// Turns the text of a log into messages, over as many reads as it takes.
///
/// The position of a message is its time, never before that of the one in front of it, and how many messages of that time
/// are in front of it. It is the same in every read that begins a second earlier or more.
#[derive(Debug)]
pub struct Messages {
    component: String,
    from: ReadFrom,
    text: BytesMut,
    /// A line has begun, and its time is read.
    in_line: bool,
    /// The time of the line.
    time: Option<Timestamp>,
    /// Position of the last message of this read, whether it was returned or not.
    last: Option<(Timestamp, u32)>,
    /// The message in front of the bound was there.
    followed: bool,
}

impl Messages {
    /// Returns what reads a component.
    pub fn new(component: &str, from: ReadFrom) -> Self {
        Self {
            component: component.to_owned(),
            from,
            text: BytesMut::new(),
            in_line: false,
            time: None,
            last: None,
            followed: false,
        }
    }

    /// Begins another read, and returns where it is to begin.
    pub fn read_from(&mut self) -> ReadFrom {
        *self = Self::new(&self.component, self.from);
        self.from
    }

    /// Takes in text with timestamps.
    pub fn push(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    /// Returns the next message of the text; `None` if there is no more of it.
    pub fn take(&mut self) -> Option<LogsResponse> {
        loop {
            let (length, is_whole) = self.piece()?;
            let piece = self.text.split_to(length);
            if is_whole {
                self.text.advance(1);
            }
            self.in_line = !is_whole;
            if let Some(message) = self.message(&piece, !is_whole) {
                return Some(message);
            }
        }
    }

    /// Returns the line that has no end: the container ended in it.
    pub fn finish(&mut self) -> Option<LogsResponse> {
        if self.text.is_empty() {
            return None;
        }
        self.push(b"\n");
        self.take()
    }

    /// Returns the length of the next piece, and whether the end of its line follows; `None` if there is too little text.
    fn piece(&mut self) -> Option<(usize, bool)> {
        if !self.in_line {
            self.read_time()?;
        }
        let window = &self.text[..self.text.len().min(LONGEST + 1)];
        if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
            return Some((end, true));
        }
        let is_inside = |at: usize| self.text[at] & 0b1100_0000 == 0b1000_0000;
        let cut = || {
            let mut starts = (LONGEST - 3..=LONGEST).rev();
            starts.find(|at| !is_inside(*at)).unwrap_or(LONGEST)
        };
        (self.text.len() > LONGEST).then(|| (cut(), false))
    }

    /// Reads the time in front of a line. A line without one has that of the line in front of it.
    fn read_time(&mut self) -> Option<()> {
        let window = &self.text[..self.text.len().min(LONGEST_TIME)];
        let end = window.iter().position(|byte| matches!(byte, b' ' | b'\n'));
        if end.is_none() && window.len() < LONGEST_TIME {
            return None;
        }
        let time = end.and_then(|end| std::str::from_utf8(&window[..end]).ok());
        self.time = time.and_then(|time| time.parse().ok());
        if let (Some(_), Some(end)) = (self.time, end) {
            let has_space = self.text[end] == b' ';
            self.text.advance(end + usize::from(has_space));
        }
        self.in_line = true;
        Some(())
    }

    /// Returns the message of a piece, unless it is in front of where this begins.
    fn message(&mut self, piece: &[u8], truncated: bool) -> Option<LogsResponse> {
        let first = self.from.bound.map_or(Timestamp::UNIX_EPOCH, |(at, _)| at);
        let position = match (self.last, self.time) {
            (None, time) => (time.unwrap_or(first), 0),
            (Some((last, _)), Some(time)) if time > last => (time, 0),
            (Some((last, ordinal)), _) => (last, ordinal.saturating_add(1)),
        };
        self.last = Some(position);
        let (time, ordinal) = position;
        if let Some((at, from)) = self.from.bound
            && position < (at, from)
        {
            self.followed |= (time, ordinal.saturating_add(1)) == (at, from);
            return None;
        }
        let gap = self.from.follows && !self.followed;
        self.from = ReadFrom::after(time, ordinal);
        self.followed = true;
        Some(LogsResponse {
            position: Some(LogPosition {
                component: self.component.clone(),
                time: Some(wire(time)),
                ordinal,
            }),
            text: String::from_utf8_lossy(piece).into_owned(),
            truncated,
            gap,
        })
    }
}

/// Counts the messages that have the time of the first one.
#[derive(Debug, Default)]
pub struct FirstTime {
    pub time: Option<Timestamp>,
    pub count: u32,
}

impl FirstTime {
    /// Counts a message. Returns whether it has that time; the others have a later one.
    pub fn count(&mut self, message: &LogsResponse) -> bool {
        let position = message.position.as_ref();
        let time = position.and_then(|position| read(position.time.as_ref()?));
        let counts = *self.time.get_or_insert(time.unwrap_or_default()) == time.unwrap_or_default();
        self.count += u32::from(counts);
        counts
    }
}

fn read(time: &pbjson_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}
