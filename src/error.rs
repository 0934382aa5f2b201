//! The one error of the core, sorted by whose problem it is; each edge translates it once.

use std::time::Duration;

use jiff::Timestamp;

/// One faulty field of a request or a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path from the root, in proto or JSON spelling: `spec.ports[2].port`.
    pub field: String,
    /// What is wrong with the value, and the value where it is short and no secret.
    pub why: String,
}

impl FieldViolation {
    /// Returns the violation of `field`.
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }
}

/// Longest text of a refusal.
const MAX_REFUSAL: usize = 1 << 10;

/// Why something did not happen. `rpc::errors` maps it to a code, `cli` to an exit code.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request can never work.
    #[error("{message}")]
    Invalid {
        /// The text for people, all faults in one.
        message: String,
        /// The same faults, one by one.
        violations: Vec<FieldViolation>,
    },
    /// There is no such workspace.
    #[error("workspace {id} does not exist")]
    NotFound {
        /// Instance id as asked for.
        id: String,
    },
    /// There was such a workspace until lately.
    #[error("workspace {id} does not exist: it ended at {at}, {why}")]
    Ended {
        /// Instance id as asked for.
        id: String,
        /// When it was seen to end.
        at: Timestamp,
        /// Why it ended.
        why: String,
    },
    /// Another request holds that id.
    #[error("workspace instance {id} already exists with another request")]
    Exists {
        /// Instance id as asked for.
        id: String,
    },
    /// The right call at the wrong time.
    #[error("{why}")]
    Precondition {
        /// A stable word for the state that is in the way, such as `MAINTENANCE`.
        state: &'static str,
        /// The text for people.
        why: String,
    },
    /// Nothing may begin during a maintenance. Callers compare the text, so it never changes.
    #[error("under maintenance")]
    Maintenance {
        /// When it ends, if that is known.
        until: Option<Timestamp>,
    },
    /// The API server forbids it: RBAC or an admission webhook.
    #[error("the API server refused: {why}")]
    Denied {
        /// The server's text.
        why: String,
    },
    /// No capacity: a quota or a limit of ours.
    #[error("{why}")]
    Exhausted {
        /// A stable word for the limit, such as `RATE`.
        limit: &'static str,
        /// What ran out.
        why: String,
        /// When to try again, if known.
        retry_after: Option<Duration>,
    },
    /// Somebody else kept changing the object.
    #[error("{why}")]
    Aborted {
        /// What was attempted.
        why: String,
    },
    /// Others write at the same time what the API server has to write for this, such as a ResourceQuota.
    #[error("{why}")]
    Contended {
        /// What was attempted and what came back.
        why: String,
    },
    /// No answer from the API server, or from one that calls are forwarded to. Whoever sends the requests logs when this begins and ends.
    #[error("{why}")]
    Unreachable {
        /// What was attempted, which server and why there is no answer.
        why: String,
        /// When to try again, if known.
        retry_after: Option<Duration>,
    },
    /// The API server fails or asks for a pause, or we are not ready; the one error to retry blindly.
    #[error("{why}")]
    Unavailable {
        /// What was attempted and what came back.
        why: String,
        /// When to try again, if known.
        retry_after: Option<Duration>,
    },
    /// The caller's time was up first.
    #[error("deadline exceeded while {doing}")]
    Deadline {
        /// What was being done.
        doing: String,
    },
    /// A page of another site calls, or one by a name that is none of ours.
    #[error("{what} {value} is foreign: {why}")]
    Foreign {
        /// `host` or `origin`.
        what: &'static str,
        /// Which one, as it may be shown.
        value: String,
        /// Which are not.
        why: String,
    },
    /// Nothing here does that.
    #[error("{why}")]
    Unimplemented {
        /// What there is instead.
        why: String,
    },
    /// Our mistake; logged whole, told as a reference only.
    #[error("{why}")]
    Internal {
        /// What went wrong.
        why: String,
    },
}

impl Error {
    /// Returns the reason that callers may branch on: it is API.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "INVALID_REQUEST",
            Self::NotFound { .. } | Self::Ended { .. } => "WORKSPACE_NOT_FOUND",
            Self::Exists { .. } => "WORKSPACE_EXISTS",
            Self::Precondition { .. } | Self::Maintenance { .. } => "WRONG_STATE",
            Self::Denied { .. } => "CLUSTER_REFUSED",
            Self::Foreign { .. } => "FOREIGN_ORIGIN",
            Self::Exhausted { .. } => "EXHAUSTED",
            Self::Aborted { .. } | Self::Contended { .. } => "CONFLICT",
            Self::Unavailable { .. } | Self::Unreachable { .. } => "UNAVAILABLE",
            Self::Deadline { .. } => "DEADLINE_EXCEEDED",
            Self::Unimplemented { .. } => "UNIMPLEMENTED",
            Self::Internal { .. } => "INTERNAL",
        }
    }

    /// Returns its text as short as an annotation may keep it: webhooks may say much.
    pub fn refusal(&self) -> String {
        let mut text = self.to_string();
        let mut end = text.len().min(MAX_REFUSAL);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text
    }

    /// Whether the same may go better a moment later.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::Unreachable { .. }
                | Self::Deadline { .. }
                | Self::Aborted { .. }
                | Self::Contended { .. }
        )
    }

    /// When to try again, where the API server or a limit says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Exhausted { retry_after, .. }
            | Self::Unreachable { retry_after, .. }
            | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
