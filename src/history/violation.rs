//! A broken guarantee, and the observations that show it.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::observation::State;

/// A guarantee that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    /// A last state never arrives.
    Lost,
    /// The same state is repeated.
    Repeated,
    /// An older state follows a newer one, or two states share a version.
    Reordered,
    /// A workspace is updated after its end.
    Resurrected,
    /// STOPPED is repeated.
    StoppedTwice,
    /// STOPPED never arrives.
    StoppedMissing,
    /// A workspace is STOPPING for longer than any limit.
    StuckStopping,
    /// An update does not match the filter.
    WrongFilter,
    /// A list, or a new stream, is behind what the same server sent before.
    Regress,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "LOST",
            Self::Repeated => "REPEATED",
            Self::Reordered => "REORDERED",
            Self::Resurrected => "RESURRECTED",
            Self::StoppedTwice => "STOPPED_TWICE",
            Self::StoppedMissing => "STOPPED_MISSING",
            Self::StuckStopping => "STUCK_STOPPING",
            Self::WrongFilter => "WRONG_FILTER",
            Self::Regress => "REGRESS",
        })
    }
}

/// A broken guarantee for a consumer and a workspace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Violation {
    pub kind: Kind,
    /// The consumer.
    pub who: String,
    pub workspace: String,
    /// What happened, in one sentence.
    pub why: &'static str,
    /// The observations that show it, in order.
    pub evidence: Vec<Evidence>,
}

/// An observation of one workspace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// Number of the observation in its history, from 1.
    pub line: u64,
    pub at: Timestamp,
    /// The consumer.
    pub who: String,
    pub how: How,
    /// The observed state.
    pub state: State,
}

/// How a consumer received a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// In an update, of a stream or of the bus; `told` in reports.
    #[serde(rename = "told")]
    Update,
    /// In a list.
    Listed,
}
