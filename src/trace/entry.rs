//! The lines of an event trace log. docs/protocol.md, "Event trace log", describes them for other programs.
//!
//! A line holds all that its answer was made of, so that each can be answered again by itself: lines may be lost. What
//! is secret is hidden in the objects, and the answer is the one that these make: provided that the objects as they were
//! make the answer that the daemon gave. If they do not, that answer is in the line, and a replay finds the difference.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::redaction::Redaction;
use crate::index::observer::{Decided, Folded};
use crate::proto::plain;
use crate::workspaces::case::{self, Case, Objects};
use crate::workspaces::entry::Workspace;
use crate::workspaces::update::StatusUpdate;

/// The version of the format. Members may be added without a new one.
pub const VERSION: u64 = 2;

/// Members of a case that are objects of the cluster.
pub const OBJECTS: [&str; 5] = ["pod", "events", "node", "older", "services"];

/// A pod was folded.
pub(super) fn status(at: Timestamp, folded: &Folded<Workspace>) -> String {
    let mut objects = Objects::clone(&folded.objects);
    let (answered, entry) = (objects.fold(), &folded.entry);
    let is_alike = answered.status == entry.status && answered.why == entry.why;
    let mut status = entry.status.read();
    let mut redaction = Redaction::default();
    redaction.objects(&mut objects);
    redaction.status(&mut status);
    let members = redacted(objects.write(), &redaction);
    let why = json!({"failure": entry.why.failure, "phase": entry.why.phase});
    let answer = match Objects::read(&members) {
        Ok(hidden) if is_alike => answer_status(&hidden),
        _ => (plain::status(&status), why),
    };
    let mut line = line(at, "status");
    line.insert("status".to_owned(), answer.0);
    line.insert("why".to_owned(), answer.1);
    with_objects(&mut line, members);
    text(line, &redaction)
}

/// A workspace was decided on.
pub(super) fn decision(at: Timestamp, decided: &Decided<Workspace>) -> String {
    let mut case = Case {
        members: decided.members.iter().map(|o| Objects::clone(o)).collect(),
        ..decided.case.clone()
    };
    let is_alike = case.decide().as_ref() == Some(&decided.decision);
    let redaction = Redaction::of_case(&mut case);
    let members = redacted(case.write(), &redaction);
    let answer = match Case::read(&members) {
        Ok(hidden) if is_alike => answer_decision(&hidden),
        _ => case::decision(&decided.decision),
    };
    let mut line = line(at, "decision");
    line.insert("name".to_owned(), json!(*decided.name));
    line.insert("decision".to_owned(), answer);
    with_objects(&mut line, members);
    text(line, &redaction)
}

/// A workspace ended: its last update.
pub(super) fn ended(at: Timestamp, update: &StatusUpdate) -> String {
    let mut status = update.status.read();
    let mut redaction = Redaction::default();
    redaction.status(&mut status);
    let mut line = line(at, "ended");
    line.insert("status".to_owned(), plain::status(&status));
    line.insert("uid".to_owned(), json!(*update.start_uid));
    text(line, &redaction)
}

/// Lines are missing here.
pub(super) fn dropped(at: Timestamp, count: u64) -> String {
    let mut line = line(at, "dropped");
    line.insert("count".to_owned(), json!(count));
    text(line, &Redaction::default())
}

fn line(at: Timestamp, kind: &str) -> Map<String, Value> {
    let members = [
        ("version", json!(VERSION)),
        ("kind", json!(kind)),
        ("time", json!(at)),
    ];
    let members = members.into_iter();
    members
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn redacted(members: Map<String, Value>, redaction: &Redaction) -> Value {
    let mut members = Value::Object(members);
    redaction.apply(&mut members);
    members
}

fn with_objects(line: &mut Map<String, Value>, mut members: Value) {
    let members = members.as_object_mut().map(std::mem::take);
    let (objects, others): (Map<_, _>, Map<_, _>) = members
        .into_iter()
        .flatten()
        .partition(|(key, _)| OBJECTS.contains(&key.as_str()));
    line.extend(others);
    line.insert("objects".to_owned(), objects.into());
}

fn text(line: Map<String, Value>, redaction: &Redaction) -> String {
    let mut line = Value::Object(line);
    redaction.apply(&mut line);
    line.to_string()
}

/// A line that was read.
#[derive(Debug)]
pub enum Entry {
    /// What was folded, and the answer.
    Status {
        /// From what.
        objects: Arc<Objects>,
        status: Value,
        /// Which rules made it.
        why: Value,
    },
    /// What was decided, and the answer.
    Decision {
        /// From what.
        case: Box<Case>,
        /// The answer.
        decision: Value,
    },
    /// Holds nothing that can be answered again.
    Other,
}

/// Why a line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Entry {
    /// Reads a line.
    ///
    /// # Errors
    /// [`Unreadable`] for what is no line of this version of the format.
    pub fn read(line: &str) -> Result<Self, Unreadable> {
        let value = parse(line)?;
        match value["version"].as_u64() {
            Some(VERSION) => {}
            Some(version) => {
                let why = format!(
                    "it is of version {version} of the format; this program reads {VERSION}"
                );
                return Err(Unreadable(why));
            }
            None => {
                return Err(Unreadable(
                    "it has no version, as those of the classic manager".to_owned(),
                ));
            }
        }
        let flat = flat(&value);
        match value["kind"].as_str() {
            Some("status") => Ok(Self::Status {
                objects: Arc::new(Objects::read(&flat).map_err(Unreadable)?),
                status: value["status"].clone(),
                why: value["why"].clone(),
            }),
            // What a pod needs that lost its label is not in the line.
            Some("decision") if flat["pod"].is_null() => Ok(Self::Other),
            Some("decision") => Ok(Self::Decision {
                case: Box::new(Case::read(&flat).map_err(Unreadable)?),
                decision: value["decision"].clone(),
            }),
            Some("ended" | "dropped") => Ok(Self::Other),
            Some(kind) => Err(Unreadable(format!("its kind {kind:?} is unknown"))),
            None => Err(Unreadable("it has no kind".to_owned())),
        }
    }

    /// Reads a line, also one of a classic manager: {"time", "status", "objects": {"pod", "events"}}.
    ///
    /// # Errors
    /// [`Unreadable`] for all else.
    pub fn read_any(line: &str) -> Result<Self, Unreadable> {
        let value = parse(line)?;
        let classic = value["version"].is_null() && value["objects"]["pod"].is_object();
        if !classic {
            return Self::read(line);
        }
        Ok(Self::Status {
            objects: Arc::new(Objects::read(&flat(&value)).map_err(Unreadable)?),
            status: value["status"].clone(),
            why: Value::Null,
        })
    }
}

fn parse(line: &str) -> Result<Value, Unreadable> {
    let value: Value = serde_json::from_str(line).map_err(|error| {
        let why = match error.is_eof() {
            true => "it is cut off".to_owned(),
            false => format!("it is no JSON (column {})", error.column()),
        };
        Unreadable(why)
    })?;
    match value.is_object() {
        true => Ok(value),
        false => Err(Unreadable("it is no JSON object".to_owned())),
    }
}

/// A line with the members of its objects at the top.
fn flat(line: &Value) -> Value {
    let mut flat = line.clone();
    if let (Some(members), Some(objects)) = (flat.as_object_mut(), line["objects"].as_object()) {
        let objects = objects.iter();
        let objects = objects.filter(|(key, _)| OBJECTS.contains(&key.as_str()));
        members.extend(objects.map(|(key, value)| (key.clone(), value.clone())));
    }
    flat
}

/// What a status line answers, as its line has it.
pub fn answer_status(objects: &Objects) -> (Value, Value) {
    let entry = objects.fold();
    let why = json!({"failure": entry.why.failure, "phase": entry.why.phase});
    (plain::status(&entry.status.read()), why)
}

/// What a decision line answers, as its line has it.
pub fn answer_decision(case: &Case) -> Value {
    let decision = case.decide();
    decision.as_ref().map(case::decision).unwrap_or_default()
}
