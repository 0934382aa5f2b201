//! The one error of the core, sorted by who can fix it; each edge maps it once.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;

/// One invalid field of a request or a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path from the root, in proto or JSON spelling: `spec.ports[2].port`.
    pub field: String,
    /// What is wrong with the value, and the value if it is short and no secret.
    pub why: String,
}

impl FieldViolation {
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
        /// The text for people, with all violations.
        message: String,
        /// The violations.
        violations: Vec<FieldViolation>,
    },
    /// There is nothing of that name.
    #[error("{noun} {id} does not exist{}", listed(known))]
    NotFound {
        /// What was asked for, such as `workspace`.
        noun: &'static str,
        /// Its id or name.
        id: String,
        /// The names that there are, where these are few.
        known: Vec<String>,
    },
    /// There was one until recently.
    #[error("{noun} {id} does not exist: it ended at {at}, {why}")]
    Ended {
        /// What was asked for, such as `workspace`.
        noun: &'static str,
        /// Its id.
        id: String,
        /// When it was seen to end.
        at: Timestamp,
        /// Why it ended.
        why: String,
    },
    /// Another request holds that id.
    #[error("{noun} {id} already exists with another request")]
    Exists {
        /// What was to be started, such as `session`.
        noun: &'static str,
        /// Its id.
        id: String,
    },
    /// More is requested than there can ever be.
    #[error("{what} has {capacity} machines, and {requested} are requested")]
    Capacity {
        /// What is too small, such as `pool workers`.
        what: String,
        requested: u32,
        capacity: u32,
    },
    /// What the call is about is in the wrong state for the call.
    #[error("{why}")]
    Precondition {
        /// A stable name of that state, such as `MAINTENANCE`.
        state: &'static str,
        /// The text for people.
        why: String,
    },
    /// Maintenance blocks the call. Callers compare the text, so it never changes.
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
        /// A stable name of the limit, such as `RATE`.
        limit: &'static str,
        /// What ran out.
        why: String,
        /// When to try again, if known.
        retry_after: Option<Duration>,
    },
    /// Other clients kept changing the object.
    #[error("{why}")]
    Aborted {
        /// What was attempted.
        why: String,
    },
    /// Concurrent writes conflict inside the API server, such as those of a ResourceQuota.
    #[error("{why}")]
    Contended {
        /// What was attempted and what came back.
        why: String,
    },
    /// No answer from the API server, or from the destination of a forwarded call. The sender of the requests logs
    /// when this starts and ends.
    #[error("{why}")]
    Unreachable {
        /// What was attempted, which server and why there is no answer.
        why: String,
        /// When to try again, if known.
        retry_after: Option<Duration>,
    },
    /// The API server fails or asks for a pause, or we are not ready; the one error for blind retries.
    #[error("{why}")]
    Unavailable {
        /// What was attempted and the error.
        why: String,
        /// When to try again, if known.
        retry_after: Option<Duration>,
    },
    /// Another server was asked, and refuses: its code and its text.
    #[error("{why}")]
    Upstream {
        /// Number of the gRPC code.
        code: i32,
        /// The server's text.
        why: String,
    },
    /// The caller's deadline is over.
    #[error("deadline exceeded while {doing}")]
    Deadline {
        /// What was being done.
        doing: String,
    },
    /// A page of another site calls, or one under a foreign name.
    #[error("{what} {value} is foreign: {why}")]
    Foreign {
        /// `host` or `origin`.
        what: &'static str,
        /// The value, as far as it may be shown.
        value: String,
        /// What is allowed.
        why: String,
    },
    /// Not implemented here.
    #[error("{why}")]
    Unimplemented {
        /// The alternative.
        why: String,
    },
    /// Our bug; its details are only logged, under a reference.
    #[error("{why}")]
    Internal {
        /// What went wrong.
        why: String,
    },
}

/// The names that there are, as the end of a sentence.
fn listed(known: &[String]) -> String {
    match known.is_empty() {
        true => String::new(),
        false => format!("; there is {}", known.join(", ")),
    }
}

impl Error {
    /// Returns the reason that callers may branch on; it is part of the API.
    pub fn reason(&self) -> Cow<'static, str> {
        let of = |noun: &str, what: &str| {
            let noun = noun.split(' ').next().unwrap_or_default();
            format!("{}_{what}", noun.to_uppercase()).into()
        };
        let reason = match self {
            Self::Invalid { .. } => "INVALID_REQUEST",
            Self::NotFound { noun, .. } | Self::Ended { noun, .. } => {
                return of(noun, "NOT_FOUND");
            }
            Self::Exists { noun, .. } => return of(noun, "EXISTS"),
            Self::Capacity { .. } => "TOO_LARGE",
            Self::Precondition { .. } | Self::Maintenance { .. } => "WRONG_STATE",
            Self::Denied { .. } => "CLUSTER_REFUSED",
            Self::Foreign { .. } => "FOREIGN_ORIGIN",
            Self::Exhausted { .. } => "EXHAUSTED",
            Self::Aborted { .. } | Self::Contended { .. } => "CONFLICT",
            Self::Unavailable { .. } | Self::Unreachable { .. } => "UNAVAILABLE",
            Self::Upstream { .. } => "UPSTREAM",
            Self::Deadline { .. } => "DEADLINE_EXCEEDED",
            Self::Unimplemented { .. } => "UNIMPLEMENTED",
            Self::Internal { .. } => "INTERNAL",
        };
        reason.into()
    }

    /// Returns its text as short as an annotation may keep it: webhooks may say much.
    pub fn refusal(&self) -> String {
        let mut text = self.to_string();
        text.truncate(text.floor_char_boundary(MAX_REFUSAL));
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

    /// The pause that the API server or a limit requests.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Exhausted { retry_after, .. }
            | Self::Unreachable { retry_after, .. }
            | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
