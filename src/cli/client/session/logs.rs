//! `session logs`: the logs of components, over lost connections without a gap or a repeat.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use tonic::{Code, Streaming};

use super::super::connect::{CallError, Connection};
use super::super::follow::{BACKOFF, is_passing};
use super::super::words::{parse_duration, timestamp};
use super::super::{encode, words as common};
use super::words;
use crate::cli::alive;
use crate::cli::exit::{Failure, note, sentence};
use crate::cli::output::{Color, Output, Piece};
use crate::proto::wsman::sessions::v1::{
    GetSessionRequest, LogPosition, LogsRequest, LogsResponse, Session,
};

/// Longest line that is put together again. What is longer is printed in parts.
const LONGEST: usize = 16 << 20;
/// Colours of names.
const COLOURS: [Color; 4] = [Color::Cyan, Color::Green, Color::Yellow, Color::DarkGrey];

/// Arguments of `session logs`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the session.
    id: String,

    /// Names of components [default: all].
    #[arg(value_name = "COMPONENT")]
    components: Vec<String>,

    /// Go on until every one of the components has ended.
    #[arg(short, long)]
    follow: bool,

    /// Only lines from then on: a time, or how long ago, such as "10m".
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,

    /// Only this many of the last lines of each component.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tail: Option<u32>,

    /// Print when each line was written.
    #[arg(long)]
    timestamps: bool,
}

/// A begin of a log.
#[derive(Clone, Copy, Debug)]
enum Since {
    At(Timestamp),
    Ago(Duration),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(time) = text.parse() {
        return Ok(Since::At(time));
    }
    let ago = parse_duration(text).map(Since::Ago);
    ago.map_err(|_| "must be a time such as 2026-01-31T12:00:00Z, or a duration such as 10m".into())
}

impl Since {
    fn time(self, now: Timestamp) -> pbjson_types::Timestamp {
        let time = match self {
            Self::At(time) => time,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
        };
        pbjson_types::Timestamp {
            seconds: time.as_second(),
            nanos: time.subsec_nanosecond(),
        }
    }
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let names = match args.components.is_empty() {
        true => {
            let session = get(&args.id, connection).await?.unwrap_or_default();
            let spec = session.spec.unwrap_or_default();
            spec.components.into_iter().map(|c| c.name).collect()
        }
        false => args.components.clone(),
    };
    let printer = Printer::new(&names, args.timestamps);
    let mut logs = Logs::new(LogsRequest {
        id: args.id,
        components: args.components,
        follow: args.follow,
        since: args.since.map(|since| since.time(Timestamp::now())),
        tail: args.tail.unwrap_or_default(),
        after: Vec::new(),
    });
    let id = logs.request.id.clone();
    let what = || format!("waiting for logs of {id}");
    while let Some(event) = alive::during(what, logs.next(connection)).await? {
        match event {
            Event::Line(line) if out.is_for_people() => printer.print(line, out)?,
            Event::Line(line) => {
                out.record(&encode::message("wsman.sessions.v1.LogsResponse", &line))?;
            }
            Event::Cut(why) => note(&format!("stream lost: {why}; reconnecting")),
            Event::Resumed => note("reconnected"),
        }
    }
    Ok(())
}

async fn get(id: &str, connection: &Connection) -> Result<Option<Session>, CallError> {
    let request = GetSessionRequest { id: id.to_owned() };
    Ok(connection.call(request).await?.session)
}

/// An event of logs.
pub(super) enum Event {
    Line(LogsResponse),
    /// The stream was lost; the next calls reconnect.
    Cut(String),
    /// The stream is open again, and continues.
    Resumed,
}

/// Logs that continue after a lost connection.
pub(super) struct Logs {
    request: LogsRequest,
    stream: Option<Streaming<LogsResponse>>,
    /// Of the last complete line of each component.
    after: BTreeMap<String, LogPosition>,
    /// The begin of a line of each component that is not complete.
    begun: BTreeMap<String, LogsResponse>,
    failures: u32,
    opened: bool,
}

impl Logs {
    pub(super) fn new(request: LogsRequest) -> Self {
        Self {
            request,
            stream: None,
            after: BTreeMap::new(),
            begun: BTreeMap::new(),
            failures: 0,
            opened: false,
        }
    }

    /// Waits for the next event; none at the end. Only what passes is retried, and not the first call.
    pub(super) async fn next(
        &mut self,
        connection: &Connection,
    ) -> Result<Option<Event>, CallError> {
        loop {
            let Some(stream) = &mut self.stream else {
                if let Some(event) = self.open(connection).await? {
                    return Ok(Some(event));
                }
                continue;
            };
            match stream.try_next().await {
                Ok(Some(part)) => {
                    self.failures = 0;
                    if let Some(line) = self.complete(part) {
                        return Ok(Some(Event::Line(line)));
                    }
                }
                Ok(None) if self.is_over(connection).await? => {
                    let left = self.begun.pop_first();
                    return Ok(left.map(|(_, line)| Event::Line(line)));
                }
                Ok(None) => return Ok(Some(self.cut("it was ended by the server"))),
                Err(status) if is_passing(status.code()) => {
                    return Ok(Some(self.cut(&sentence(&status))));
                }
                Err(status) => return Err(connection.error(status)),
            }
        }
    }

    /// Puts lines together that come in parts.
    fn complete(&mut self, part: LogsResponse) -> Option<LogsResponse> {
        let position = part.position.clone().unwrap_or_default();
        let name = position.component.clone();
        let line = match self.begun.remove(&name) {
            Some(mut begun) => {
                begun.text.push_str(&part.text);
                begun.truncated = part.truncated;
                begun
            }
            None => part,
        };
        if line.truncated && line.text.len() < LONGEST {
            self.begun.insert(name, line);
            return None;
        }
        self.after.insert(name, position);
        Some(line)
    }

    fn cut(&mut self, why: &str) -> Event {
        self.stream = None;
        // The next stream begins with the line.
        self.begun.clear();
        self.failures += 1;
        Event::Cut(why.to_owned())
    }

    async fn open(&mut self, connection: &Connection) -> Result<Option<Event>, CallError> {
        if let Some(before) = self.failures.checked_sub(1) {
            tokio::time::sleep(BACKOFF.jittered(before)).await;
        }
        let mut request = self.request.clone();
        if !self.after.is_empty() {
            // What was written meanwhile counts in full.
            request.tail = 0;
            request.after = self.after.values().cloned().collect();
        }
        match connection.sessions().logs(request).await {
            Ok(stream) => self.stream = Some(stream.into_inner()),
            Err(status) if self.opened && is_passing(status.code()) => {
                self.failures += 1;
                return Ok(None);
            }
            Err(status) => return Err(connection.error(status)),
        }
        Ok(std::mem::replace(&mut self.opened, true).then_some(Event::Resumed))
    }

    /// Whether a stream that ended well was complete: a server that shuts down ends its streams, too.
    async fn is_over(&self, connection: &Connection) -> Result<bool, CallError> {
        if !self.request.follow {
            return Ok(true);
        }
        let session = match get(&self.request.id, connection).await {
            Ok(session) => session.unwrap_or_default(),
            Err(error) if error.status.code() == Code::NotFound => return Ok(true),
            Err(error) if is_passing(error.status.code()) => return Ok(false),
            Err(error) => return Err(error),
        };
        let wanted = &self.request.components;
        let components = session.status.iter().flat_map(|status| &status.components);
        let mut left = components
            .filter(|component| wanted.is_empty() || wanted.contains(&component.name))
            .filter(|component| component.finished.is_none());
        Ok(words::is_done(&session) || left.next().is_none())
    }
}

/// Prints lines, with the name of the component where there are several.
struct Printer {
    names: BTreeMap<String, Piece>,
    timestamps: bool,
}

impl Printer {
    fn new(names: &[String], timestamps: bool) -> Self {
        let width = names.iter().map(String::len).max().unwrap_or(0);
        let several = names.len() > 1;
        let colours = COLOURS.iter().cycle();
        let names = names.iter().zip(colours).filter(|_| several);
        let piece = |name: &String, colour: &Color| {
            Piece::coloured(format!("{name:width$}  "), Some(*colour))
        };
        Self {
            names: names
                .map(|(name, colour)| (name.clone(), piece(name, colour)))
                .collect(),
            timestamps,
        }
    }

    fn print(&self, line: LogsResponse, out: &mut Output) -> Result<(), Failure> {
        let position = line.position.unwrap_or_default();
        let name = position.component;
        if line.gap {
            note(&format!(
                "{name}: lines are missing here, the node keeps only the newest"
            ));
        }
        let time = position.time.as_ref().and_then(timestamp);
        let text = match time.filter(|_| self.timestamps) {
            Some(time) => format!("{}  {}", common::rfc3339(time), line.text),
            None => line.text,
        };
        let none = Piece::default();
        out.log(self.names.get(&name).unwrap_or(&none), &text)
    }
}
