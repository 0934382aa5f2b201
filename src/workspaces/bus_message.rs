//! An update of a workspace as a message on the bus: routing key, id, headers and body.

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};

use super::update::StatusUpdate;
use crate::outbox::message::{BusMessage, Header, LARGEST, word};
use crate::proto::DESCRIPTORS;
use crate::proto::wsman::{WorkspaceMetadata, WorkspacePhase, WorkspaceStatus};
use crate::updates::Update;

/// Full name of the message in a body.
const KIND: &str = "wsman.WorkspaceStatus";

/// Returns the message of an update. Its headers are the instance id, the name of the phase (its number if it has no
/// name), the version of the status, and the trace of the start.
///
/// A status that is too large, or that has no JSON form, is replaced by a reference to the workspace.
pub fn of(update: &StatusUpdate) -> BusMessage {
    let status = update.status.read();
    let whole = json(&status).filter(|body| body.len() <= LARGEST);
    let is_reduced = whole.is_none();
    let body = whole.unwrap_or_else(|| json(&reduced(&status)).unwrap_or_default());
    let metadata = status.metadata.as_ref();
    let owner = metadata.map_or("", |m| &m.owner);
    let meta_id = metadata.map_or("", |m| &m.meta_id);
    let routing_key = routing_key(owner, meta_id);
    let phase = match WorkspacePhase::try_from(status.phase) {
        Ok(phase) => phase.as_str_name().to_owned(),
        Err(_) => status.phase.to_string(),
    };
    let trace = update.trace.headers();
    let trace = trace.map(|(name, text)| (name, Header::Text(text.to_owned())));
    let headers = [
        ("instanceId", Header::Text(status.id)),
        ("phase", Header::Text(phase)),
        ("version", Header::Number(status.status_version)),
    ];
    BusMessage {
        routing_key,
        id: id(update),
        kind: KIND,
        headers: headers.into_iter().chain(trace).collect(),
        body,
        is_reduced,
    }
}

/// Returns the id of an update's message, `<uid>@<version>` or `<uid>@STOPPED`: the same for the same state of the same
/// start, on every replica. A start ends once, but replicas may see that in different versions: a pod with the
/// finalizer may still change, and a list shows of a deleted pod only that it is gone.
fn id(update: &StatusUpdate) -> String {
    match update.is_last() {
        true => format!("{}@STOPPED", update.start_uid),
        false => format!("{}@{}", update.start_uid, update.version()),
    }
}

/// Returns `<owner>.<metaId>.updates`, with escapes.
fn routing_key(owner: &str, meta_id: &str) -> String {
    format!("{}.{}.updates", word(owner), word(meta_id))
}

/// The generated JSON rejects enum numbers without a name, which a newer writer may have put on a pod; the descriptors
/// print them as numbers. Only a time without a date has no JSON form.
fn json(status: &WorkspaceStatus) -> Option<Vec<u8>> {
    if let Ok(body) = serde_json::to_vec(status) {
        return Some(body);
    }
    let pool = DescriptorPool::decode(DESCRIPTORS).ok()?;
    let kind = pool.get_message_by_name(KIND)?;
    let message = DynamicMessage::decode(kind, status.encode_to_vec().as_slice()).ok()?;
    serde_json::to_vec(&message).ok()
}

/// The replacement of a status that cannot be sent whole.
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
    use crate::proto::wsman::WorkspaceConditions;
    use crate::workspaces::trace::{TRACEPARENT, Trace};

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

    fn message(status: WorkspaceStatus) -> BusMessage {
        of(&StatusUpdate::new("uid-1", Encoded::new(status)))
    }

    fn text(text: &str) -> Header {
        Header::Text(text.to_owned())
    }

    #[test]
    fn a_message_describes_its_status() {
        let message = message(status());
        assert_eq!(message.id, "uid-1@7");
        assert_eq!(message.routing_key, "jane%2Edoe.meta.updates");
        assert_eq!(message.kind, "wsman.WorkspaceStatus");
        let headers = [
            ("instanceId", text("i-1")),
            ("phase", text("RUNNING")),
            ("version", Header::Number(7)),
        ];
        assert_eq!(message.headers, headers);
        let read: WorkspaceStatus = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(read, status());
        assert!(!message.is_reduced);
    }

    #[test]
    fn the_trace_of_the_start_comes_last() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::read(|name| (name == TRACEPARENT).then_some(parent));
        let update = StatusUpdate {
            trace,
            ..StatusUpdate::new("uid-1", Encoded::new(status()))
        };
        let last = of(&update).headers.pop();
        assert_eq!(last, Some((TRACEPARENT, text(parent))));
    }

    #[test]
    fn the_end_has_one_id_on_every_replica() {
        let stopped = |version| WorkspaceStatus {
            phase: WorkspacePhase::Stopped.into(),
            status_version: version,
            ..status()
        };
        let (one, other) = (message(stopped(8)), message(stopped(9)));
        assert_eq!((one.id.as_str(), &other.id), ("uid-1@STOPPED", &one.id));
        assert_ne!(one.headers, other.headers);
    }

    #[test]
    fn a_routing_key_has_three_words_whatever_an_owner_is_called() {
        for (owner, meta_id, key) in [
            ("jane", "m-1", "jane.m-1.updates"),
            ("", "", "%.%.updates"),
            ("a.b*c#d%e", "x y", "a%2Eb%2Ac%23d%25e.x%20y.updates"),
        ] {
            assert_eq!(routing_key(owner, meta_id), key);
        }
        let long = "x.".repeat(500);
        let key = routing_key(&long, &long);
        assert!(key.len() <= 255, "{}", key.len());
        assert_eq!(key.matches('.').count(), 2);
    }

    #[test]
    fn numbers_without_a_name_go_out_as_numbers() {
        let mut status = status();
        status.phase = 77;
        let message = message(status);
        assert!(message.headers.contains(&("phase", text("77"))));
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
