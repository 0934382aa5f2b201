//! An update of a session as a message on the bus: routing key, id, headers and body.

use super::update::SessionUpdate;
use crate::outbox::message::{BusMessage, Header, LARGEST, word};
use crate::proto::wsman::sessions::v1::{Session, SessionSpec, SessionStatus};
use crate::updates::Update;

/// Full name of the message in a body.
const KIND: &str = "wsman.sessions.v1.Session";

/// Returns the message of an update, on `<queue>.<session>.sessions`. A session that is too large comes without its
/// components.
pub fn of(update: &SessionUpdate) -> BusMessage {
    let whole = json(&update.session()).filter(|body| body.len() <= LARGEST);
    let is_reduced = whole.is_none();
    let body = whole.unwrap_or_else(|| json(&reduced(update)).unwrap_or_default());
    let headers = [
        ("sessionId", Header::Text(update.id.to_string())),
        (
            "phase",
            Header::Text(update.phase().as_str_name().to_owned()),
        ),
        ("version", Header::Number(update.version())),
    ];
    BusMessage {
        routing_key: format!("{}.{}.sessions", word(&update.spec.queue), word(&update.id)),
        id: id(update),
        kind: KIND,
        headers: headers.into_iter().collect(),
        body,
        is_reduced,
    }
}

/// A session ends once, in whichever version a replica sees that.
fn id(update: &SessionUpdate) -> String {
    match update.is_last() {
        true => format!("{}@{}", update.start_uid, update.phase().as_str_name()),
        false => format!("{}@{}", update.start_uid, update.version()),
    }
}

fn json(session: &Session) -> Option<Vec<u8>> {
    serde_json::to_vec(session).ok()
}

fn reduced(update: &SessionUpdate) -> Session {
    let spec = SessionSpec {
        decider: update.spec.decider.clone(),
        queue: update.spec.queue.clone(),
        priority: update.spec.priority,
        ..SessionSpec::default()
    };
    let status = &update.status;
    Session {
        id: update.id.to_string(),
        spec: Some(spec),
        status: Some(SessionStatus {
            phase: status.phase,
            reason: status.reason.clone(),
            message: "the session does not fit into a message: ask GetSession for it".to_owned(),
            times: status.times,
            done: status.done,
            version: status.version,
            exit_code: status.exit_code,
            ..SessionStatus::default()
        }),
    }
}
