//! What a consumer can see, and how it stands in a file: one JSON object per line.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prost::Message;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::proto::wsman::{MetadataFilter, WorkspacePhase, WorkspaceStatus};

/// Something that a consumer saw or did. Observations stand in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When, by the clock of the one machine that records.
    pub at: Timestamp,
    /// Which consumer. It reads one stream at a time and makes one list call at a time.
    pub who: String,
    /// What.
    #[serde(flatten)]
    pub saw: Saw,
}

/// What was seen or done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Saw {
    /// A stream was asked for; the request is on its way.
    Opening(Begin),
    /// The server accepted it.
    Opened {},
    /// The server cannot continue where the last stream ended: this one begins anew, with a snapshot.
    Reset {},
    /// A status arrived.
    Told(State),
    /// The snapshot that a stream began with is complete.
    Complete {},
    /// The stream is over.
    Ended {
        /// What ended it.
        why: String,
    },
    /// A list was asked for; the request is on its way.
    Asked {
        /// Who answers.
        server: String,
        /// Which workspaces.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<MetadataFilter>,
    },
    /// The list that was asked for arrived.
    Listed {
        /// All workspaces that match.
        states: Vec<State>,
    },
    /// The list that was asked for never arrived.
    Failed { why: String },
    /// The connection of a bus consumer, or that of a publisher, was made anew.
    Reconnected {},
    /// Whatever was seen up to a moment has had time enough to reach everybody.
    Settled {
        /// The moment; without one, all that was seen so far.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// On what; without one, on everything. A bus may be behind for as long as its broker is away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<Channel>,
    },
}

/// How a stream was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// Who answers: one name for one address. Only what one server told is held against what it tells later.
    pub server: String,
    /// Which workspaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<MetadataFilter>,
    /// With a token that says where this consumer's last stream ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumes: bool,
    /// What carries it.
    #[serde(default, skip_serializing_if = "Channel::is_stream")]
    pub channel: Channel,
}

/// What carries updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// A Subscribe stream: exactly once while it lasts.
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

/// What the rules need of a status. It holds nothing secret: the rest is there as a digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Id of the workspace.
    pub id: String,
    /// Version of the status; 0 where a server has none.
    pub version: u64,
    pub phase: WorkspacePhase,
    /// Digest of everything but the version: equal for statuses that tell the same. Empty for a message that only refers
    /// to its status.
    pub content: String,
    /// Digest of what differs between two starts under one id; none where a status does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Id of the message, on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Which connection of which publisher sent it, on the bus; none where messages do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Owner.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Meta id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub meta_id: String,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl State {
    /// Takes what the rules need of a status.
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
        // The time of a start has whole seconds, so it alone does not tell two quick starts apart.
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

    /// Whether the workspace is over.
    pub(super) fn is_stopped(&self) -> bool {
        self.phase == WorkspacePhase::Stopped
    }

    /// Whether the two are known to belong to different starts.
    pub(super) fn starts_apart(&self, other: &Self) -> bool {
        matches!((&self.start, &other.start), (Some(one), Some(two)) if one != two)
    }

    /// Whether this, coming after the STOPPED `end`, is of a new start under the old id. Where the statuses do not tell,
    /// a workspace that begins over is taken for one.
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

    /// Whether this is from before the other. A version of 0 says nothing.
    pub(super) fn is_older(&self, other: &Self) -> bool {
        self.version != 0 && self.version < other.version
    }

    /// Whether both tell the same, as far as they tell.
    pub(super) fn tells_as(&self, other: &Self) -> bool {
        match self.content.is_empty() || other.content.is_empty() {
            true => self.is_as_old(other),
            false => self.content == other.content,
        }
    }

    /// Whether one message id may stand for both: they tell the same in the same version, or both the one end of a
    /// start, which another publisher may have learned of in another version.
    pub(super) fn may_share_id(&self, other: &Self) -> bool {
        let ends = self.is_stopped() && other.is_stopped();
        let same = self.version == other.version && self.tells_as(other);
        self.id == other.id && (same || ends && !self.starts_apart(other))
    }

    /// Whether another session told this, in a later version: a new publisher does not know what the one before told, and
    /// begins with every workspace as it is.
    pub(super) fn is_told_anew_after(&self, other: &Self) -> bool {
        let apart = matches!((&self.session, &other.session), (Some(one), Some(two)) if one != two);
        apart && self.version > other.version
    }

    /// Whether this was told in the same version as the other.
    pub(super) fn is_as_old(&self, other: &Self) -> bool {
        self.version != 0 && self.version == other.version
    }

    /// Whether a filter lets this through: equal where the filter says something, and every annotation there.
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
/// What is wrong with it.
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
