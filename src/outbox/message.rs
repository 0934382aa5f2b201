//! An update as a message: routing key, id, headers and body.

use std::fmt::Write as _;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use sha2::{Digest, Sha256};

use crate::index::{Trace, Update};
use crate::proto::DESCRIPTORS;
use crate::proto::wsman::{WorkspaceMetadata, WorkspaceStatus};

/// Largest body. What is larger is replaced by a reference to the workspace: brokers and their readers are made for
/// small messages.
pub const LARGEST: usize = 256 * 1024;
/// Longest word of a routing key, which may have 255 bytes in all.
const LONGEST_WORD: usize = 110;

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `<owner>.<metaId>.updates`, with escapes.
    pub routing_key: String,
    /// `<pod uid>@<version>`, or `<pod uid>@STOPPED`: the same update always has the same.
    pub id: String,
    /// Instance id.
    pub instance: String,
    /// Name of the phase; its number where it has none.
    pub phase: String,
    /// Version of the status.
    pub version: u64,
    /// The trace that the workspace was started in.
    pub trace: Trace,
    /// The status in proto3 JSON.
    pub body: Vec<u8>,
    /// The status was too large, or has no JSON form: the body says only whose it is, its phase and its version.
    pub is_reduced: bool,
}

impl Message {
    /// Makes the message of an update.
    pub fn new(update: &Update) -> Self {
        let status = update.status.read();
        let whole = json(&status).filter(|body| body.len() <= LARGEST);
        let is_reduced = whole.is_none();
        let body = whole.unwrap_or_else(|| json(&reduced(&status)).unwrap_or_default());
        let metadata = status.metadata.as_ref();
        let owner = metadata.map_or("", |m| &m.owner);
        let meta_id = metadata.map_or("", |m| &m.meta_id);
        let phase = crate::proto::wsman::WorkspacePhase::try_from(status.phase);
        Self {
            routing_key: routing_key(owner, meta_id),
            id: message_id(update),
            phase: phase.map_or_else(|_| status.phase.to_string(), |p| p.as_str_name().to_owned()),
            version: status.status_version,
            trace: update.trace.clone(),
            instance: status.id,
            body,
            is_reduced,
        }
    }
}

/// Returns the id of an update's message: the same for the same state of the same pod, whoever sends it. A start ends
/// once, but not every replica learns of it in the same version: a held pod may change, and of one that is gone a list
/// tells only by when.
pub fn message_id(update: &Update) -> String {
    match update.is_last() {
        true => format!("{}@STOPPED", update.uid),
        false => format!("{}@{}", update.uid, update.status.version()),
    }
}

/// Returns `<owner>.<metaId>.updates`. A word keeps its printable ASCII characters but `.`, `*`, `#` and `%`; every other
/// byte becomes `%XX`, an empty word `%`, and a word that is too long is cut and gets `%%` and a hash of the whole.
pub fn routing_key(owner: &str, meta_id: &str) -> String {
    format!("{}.{}.updates", word(owner), word(meta_id))
}

fn word(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let escapes = text.bytes().map(|byte| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    let word: String = escapes.clone().collect();
    if word.len() <= LONGEST_WORD {
        return word;
    }
    let mut cut = String::new();
    for escape in escapes {
        if cut.len() + escape.len() > LONGEST_WORD - 2 - 16 {
            break;
        }
        cut.push_str(&escape);
    }
    cut.push_str("%%");
    for byte in &Sha256::digest(text.as_bytes())[..8] {
        let _ = write!(cut, "{byte:02x}");
    }
    cut
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'#' | b'%')
}

/// The generated JSON refuses enum numbers without a name, which a newer writer may well have left on a pod; the
/// descriptors write them as numbers. Only a time that has no date has no form at all.
fn json(status: &WorkspaceStatus) -> Option<Vec<u8>> {
    if let Ok(body) = serde_json::to_vec(status) {
        return Some(body);
    }
    let pool = DescriptorPool::decode(DESCRIPTORS).ok()?;
    let kind = pool.get_message_by_name("wsman.WorkspaceStatus")?;
    let message = DynamicMessage::decode(kind, status.encode_to_vec().as_slice()).ok()?;
    serde_json::to_vec(&message).ok()
}

/// What is said of a status that cannot be sent whole.
fn reduced(status: &WorkspaceStatus) -> WorkspaceStatus {
    let metadata = status.metadata.as_ref().map(|whole| WorkspaceMetadata {
        owner: whole.owner.clone(),
        meta_id: whole.meta_id.clone(),
        ..WorkspaceMetadata::default()
    });
    WorkspaceStatus {
        id: status.id.clone(),
        status_version: status.status_version,
        phase: status.phase,
        metadata,
        message: "the status cannot be sent in a message: ask DescribeWorkspace for it".to_owned(),
        ..WorkspaceStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::encoded::Encoded;
    use crate::proto::wsman::{WorkspaceConditions, WorkspacePhase};

    fn status() -> WorkspaceStatus {
        WorkspaceStatus {
            id: "i-1".to_owned(),
            status_version: 7,
            phase: WorkspacePhase::Running.into(),
            metadata: Some(WorkspaceMetadata {
                owner: "jane.doe".to_owned(),
                meta_id: "meta".to_owned(),
                ..WorkspaceMetadata::default()
            }),
            ..WorkspaceStatus::default()
        }
    }

    fn message(status: WorkspaceStatus) -> Message {
        Message::new(&Update::new("uid-1", Encoded::new(status)))
    }

    #[test]
    fn a_message_says_what_it_is_about() {
        let message = message(status());
        assert_eq!(message.id, "uid-1@7");
        assert_eq!(message.routing_key, "jane%2Edoe.meta.updates");
        assert_eq!(
            (message.instance.as_str(), message.phase.as_str()),
            ("i-1", "RUNNING")
        );
        let read: WorkspaceStatus = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(read, status());
        assert!(!message.is_reduced);
    }

    #[test]
    fn the_end_has_one_id_whoever_learns_of_it_when() {
        let stopped = |version| WorkspaceStatus {
            phase: WorkspacePhase::Stopped.into(),
            status_version: version,
            ..status()
        };
        let (one, other) = (message(stopped(8)), message(stopped(9)));
        assert_eq!((one.id.as_str(), &other.id), ("uid-1@STOPPED", &one.id));
        assert_eq!((one.version, other.version), (8, 9));
    }

    #[test]
    fn words_hold_nothing_that_a_broker_reads_as_structure() {
        for (owner, meta_id, key) in [
            ("jane", "m-1", "jane.m-1.updates"),
            ("", "", "%.%.updates"),
            ("a.b*c#d%e", "x y", "a%2Eb%2Ac%23d%25e.x%20y.updates"),
            ("jané@x/y", "\u{0}", "jan%C3%A9@x/y.%00.updates"),
        ] {
            assert_eq!(routing_key(owner, meta_id), key);
        }
        let long = "x.".repeat(500);
        let other = "x.".repeat(499) + "y.";
        let key = routing_key(&long, &long);
        assert!(key.len() <= 255, "{}", key.len());
        assert_eq!(key.matches('.').count(), 2);
        assert_ne!(key, routing_key(&other, &long));
        let just = "y".repeat(LONGEST_WORD);
        assert_eq!(routing_key(&just, ""), format!("{just}.%.updates"));
    }

    #[test]
    fn numbers_without_a_name_go_out_as_numbers() {
        let mut status = status();
        status.phase = 77;
        let message = message(status);
        assert_eq!(message.phase, "77");
        let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!((&body["phase"], &body["id"]), (&77.into(), &"i-1".into()));
        assert!(!message.is_reduced);
    }

    #[test]
    fn what_cannot_be_sent_whole_is_sent_as_a_reference() {
        let mut large = status();
        large.message = "x".repeat(LARGEST);
        let mut dateless = status();
        dateless.conditions = Some(WorkspaceConditions {
            first_user_activity: Some(pbjson_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0,
            }),
            ..WorkspaceConditions::default()
        });
        for status in [large, dateless] {
            let message = message(status);
            assert!(message.is_reduced && message.body.len() < 1000);
            let read: WorkspaceStatus = serde_json::from_slice(&message.body).unwrap();
            assert_eq!((read.id.as_str(), read.status_version), ("i-1", 7));
            assert_eq!(read.phase(), WorkspacePhase::Running);
            assert!(read.message.contains("DescribeWorkspace"));
        }
    }
}
