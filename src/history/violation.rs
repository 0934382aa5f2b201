//! A guarantee that did not hold, and the observations that show it.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::observation::State;

/// Which guarantee did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    /// A last state never arrived.
    Lost,
    /// The same was told again.
    Repeated,
    /// An older state came after a newer one, or two in one version.
    Reordered,
    /// A workspace that was over is told of as if it were not.
    Resurrected,
    /// A STOPPED came again.
    StoppedTwice,
    /// A STOPPED never arrived.
    StoppedMissing,
    /// A workspace is STOPPING for longer than any limit.
    StuckStopping,
    /// Something was told that does not match the filter.
    WrongFilter,
    /// A list, or a new stream, is behind what the same server told before.
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

/// A guarantee that did not hold for a consumer and a workspace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Violation {
    /// Which guarantee.
    pub kind: Kind,
    /// The consumer for which it did not hold.
    pub who: String,
    pub workspace: String,
    /// What happened, in one sentence.
    pub why: &'static str,
    /// What shows it, in order.
    pub evidence: Vec<Evidence>,
}

/// An observation of one workspace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// Number of the observation in its history, from 1.
    pub line: u64,
    /// When.
    pub at: Timestamp,
    /// Which consumer.
    pub who: String,
    /// By which way.
    pub how: How,
    /// What it saw.
    pub state: State,
}

/// By which way a state was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// A stream or a message told it.
    Told,
    /// A list held it.
    Listed,
}
