//! SetTimeout: how long a workspace may be inactive, or closed.

use std::collections::BTreeMap;

use super::Seen;
use crate::action::{Action, Mark};
use crate::duration::GoDuration;
use crate::error::FieldViolation;
use crate::proto::wsman::{SetTimeoutRequest, TimeoutType};
use crate::redact::show;
use crate::workspaces::marks::annotation;

/// Most bytes of a duration. It is stored as written, and Go's grammar has no limit.
const LONGEST: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Timeout {
    kind: TimeoutType,
    duration: String,
}

pub(super) fn parse(request: &SetTimeoutRequest) -> Result<Timeout, Vec<FieldViolation>> {
    let duration = &request.duration;
    let wrong = match GoDuration::parse(duration) {
        Err(_) => Some("must be a duration such as \"1h30m\""),
        Ok(span) if span.as_nanos() < 0 => Some("must not be negative"),
        Ok(_) if duration.len() > LONGEST => Some("is longer than any duration has to be"),
        Ok(_) => None,
    };
    let wrong = wrong.map(|why| {
        let why = format!("is {}; {why}", show(duration));
        FieldViolation::new("duration", why)
    });
    match (TimeoutType::try_from(request.r#type), wrong) {
        (Ok(kind), None) => Ok(Timeout {
            kind,
            duration: duration.clone(),
        }),
        (kind, wrong) => {
            let unknown = kind.err().map(|_| {
                let why = format!("value {} is out of range", request.r#type);
                FieldViolation::new("type", why)
            });
            Err(wrong.into_iter().chain(unknown).collect())
        }
    }
}

impl Timeout {
    /// A workspace timeout disables the closed timeout, in the same write.
    pub(super) fn actions(&self, seen: &Seen) -> Vec<Action> {
        let marks = match self.kind {
            TimeoutType::WorkspaceTimeout => vec![
                (annotation::CUSTOM_TIMEOUT, self.duration.as_str()),
                (annotation::CUSTOM_CLOSED_TIMEOUT, "0"),
            ],
            TimeoutType::ClosedTimeout => {
                vec![(annotation::CUSTOM_CLOSED_TIMEOUT, self.duration.as_str())]
            }
        };
        let set: BTreeMap<String, String> = marks
            .into_iter()
            .filter(|(key, value)| seen.marks.get(*key).map(String::as_str) != Some(value))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        if set.is_empty() {
            return Vec::new();
        }
        let mark = Mark {
            set,
            remove: Vec::new(),
        };
        vec![Action::Mark(seen.pod.clone(), mark)]
    }
}
