//! What a consumer can observe, and its format in a file: one JSON object per line.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prost::Message;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::proto::wsman::{MetadataFilter, WorkspacePhase, WorkspaceStatus};

/// Something that a consumer saw or did, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// By the clock of the recording machine.
    pub at: Timestamp,
    /// The consumer. It reads one stream at a time and makes one list call at a time.
    pub who: String,
    #[serde(flatten)]
    pub saw: Saw,
}

/// What was seen or done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Saw {
    /// The consumer opens a stream; the request is in flight.
    Opening(Begin),
    /// The server accepted the stream.
    Opened {},
    /// The server cannot resume the last stream: this one starts again, with a snapshot.
    Reset {},
    /// A status arrived; `told` in files.
    #[serde(rename = "told")]
    Update(State),
    /// The snapshot of the stream is complete.
    Complete {},
    /// The stream ended.
    Ended {
        /// The reason.
        why: String,
    },
    /// The consumer calls a list; the request is in flight.
    Asked {
        /// The server of the call.
        server: String,
        /// The filter.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<MetadataFilter>,
    },
    /// The response of the list call.
    Listed {
        /// All workspaces that match.
        states: Vec<State>,
    },
    /// The list call failed.
    Failed { why: String },
    /// A bus consumer or a publisher has a new connection.
    Reconnected {},
    /// What was seen up to a moment has had enough time to reach every consumer.
    Settled {
        /// The moment; without it, everything so far.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// The channel; without it, every channel. A bus may be behind for as long as its broker is away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<Channel>,
    },
}

/// How a stream is opened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// The server: one name per address. Its updates are compared only with earlier ones of the same server.
    pub server: String,
    /// The filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<MetadataFilter>,
    /// With the token of this consumer's last stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumes: bool,
    /// The channel.
    #[serde(default, skip_serializing_if = "Channel::is_stream")]
    pub channel: Channel,
}

/// What carries updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// A Subscribe stream: exactly once while it is open.
    #[default]
    Stream,
    /// A queue of the message bus: at least once, also while its consumer is away.
    Bus,
}

impl Channel {
    fn is_stream(&self) -> bool {
        *self == Self::Stream
    }
}

/// The fields of a status that the rules use. It has no secrets: the rest is a digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub id: String,
    /// Version of the status; 0 for servers without versions.
    pub version: u64,
    pub phase: WorkspacePhase,
    /// Digest of everything except the version: equal for equal statuses. Empty for a reduced message, which only
    /// refers to its status.
    pub content: String,
    /// Digest of what differs between two starts under one id; none if the status does not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Id of the message, on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Session of the publisher, on the bus; none if the message does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub meta_id: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl State {
    /// Returns the fields of a status that the rules use.
    pub fn of(status: &WorkspaceStatus) -> Self {
        let metadata = status.metadata.clone().unwrap_or_default();
        let unversioned = WorkspaceStatus {
            status_version: 0,
            ..status.clone()
        };
        let token = status
            .auth
            .as_ref()
            .map_or("", |auth| auth.owner_token.as_str());
        // The start time has whole seconds, so it does not distinguish two quick starts.
        let start = metadata
            .started_at
            .as_ref()
            .filter(|_| !token.is_empty())
            .map(|at| digest(format!("{}.{} {token}", at.seconds, at.nanos).as_bytes()));
        Self {
            id: status.id.clone(),
            version: status.status_version,
            phase: status.phase(),
            content: digest(&unversioned.encode_to_vec()),
            start,
            message_id: None,
            session: None,
            owner: metadata.owner,
            meta_id: metadata.meta_id,
            annotations: metadata.annotations,
        }
    }

    /// Whether the workspace ended.
    pub(super) fn is_stopped(&self) -> bool {
        self.phase == WorkspacePhase::Stopped
    }

    /// Whether the two are known to be of different starts.
    pub(super) fn starts_apart(&self, other: &Self) -> bool {
        matches!((&self.start, &other.start), (Some(one), Some(two)) if one != two)
    }

    /// Whether this, after the STOPPED `end`, is of a new start under the same id. If the statuses do not show it,
    /// a workspace in an early phase counts as one.
    pub(super) fn begins_after(&self, end: &Self) -> bool {
        match (&self.start, &end.start) {
            (Some(new), Some(old)) => new != old,
            _ => matches!(
                self.phase,
                WorkspacePhase::Pending
                    | WorkspacePhase::Creating
                    | WorkspacePhase::Initializing
                    | WorkspacePhase::Running
                    | WorkspacePhase::Interrupted
            ),
        }
    }

    /// Whether this is older. A version of 0 is unknown.
    pub(super) fn is_older(&self, other: &Self) -> bool {
        self.version != 0 && self.version < other.version
    }

    /// Whether both have equal content, as far as they show it.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match self.content.is_empty() || other.content.is_empty() {
            true => self.is_as_old(other),
            false => self.content == other.content,
        }
    }

    /// Whether both may have one message id: they have equal content in the same version, or both are the one end
    /// of a start, which another publisher may have seen in another version.
    pub(super) fn may_share_id(&self, other: &Self) -> bool {
        let ends = self.is_stopped() && other.is_stopped();
        let same = self.version == other.version && self.equals(other);
        self.id == other.id && (same || ends && !self.starts_apart(other))
    }

    /// Whether another session published this, in a later version: a new publisher does not know what the last one
    /// published, and starts with the current state of every workspace.
    pub(super) fn is_republished_after(&self, other: &Self) -> bool {
        let apart = matches!((&self.session, &other.session), (Some(one), Some(two)) if one != two);
        apart && self.version > other.version
    }

    /// Whether both have the same version.
    pub(super) fn is_as_old(&self, other: &Self) -> bool {
        self.version != 0 && self.version == other.version
    }

    /// Whether a filter matches this: equal in every field that it sets, with all its annotations.
    pub(super) fn passes(&self, filter: Option<&MetadataFilter>) -> bool {
        let asked = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        filter.is_none_or(|filter| {
            asked(&filter.owner, &self.owner)
                && asked(&filter.meta_id, &self.meta_id)
                && filter
                    .annotations
                    .iter()
                    .all(|(key, value)| self.annotations.get(key) == Some(value))
        })
    }
}

/// Reads one line of a history.
///
/// # Errors
/// What is wrong with the line.
pub fn read(line: &str) -> Result<Observation, String> {
    serde_json::from_str(line).map_err(|error| error.to_string())
}

/// The first 64 bits of a SHA-256, as hexadecimal digits.
fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
