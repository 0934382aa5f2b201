//! Sessions in words: names, colours and sentences that several verbs print.

use jiff::Timestamp;

use super::super::words::{NONE, age_of, timestamp};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Color, Piece, age};
use crate::proto::wsman::sessions::v1::{
    ComponentStatus, Health, Phase, QueueStatus, Session, SessionStatus, Times,
};

/// Full name of the message of a session.
pub(super) const SESSION: &str = "wsman.sessions.v1.Session";
/// Full name of what starts one.
pub(super) const START: &str = "wsman.sessions.v1.StartSessionRequest";

/// The name of the phase; an unknown number stays a number.
pub(super) fn phase(session: &Session) -> String {
    let number = session.status.as_ref().map_or(0, |status| status.phase);
    match Phase::try_from(number) {
        Ok(phase) => phase.as_str_name().to_owned(),
        Err(_) => format!("PHASE_{number}"),
    }
}

/// The name of the phase in its colour, padded to `width`.
pub(super) fn phase_piece(session: &Session, width: usize) -> Piece {
    let colour = match phase_of(session) {
        Phase::Queued | Phase::Provisioning => Some(Color::Yellow),
        Phase::Running | Phase::Succeeded => Some(Color::Green),
        Phase::Interrupted | Phase::Stopping => Some(Color::Cyan),
        Phase::Failed => Some(Color::Red),
        Phase::Cancelled => Some(Color::DarkGrey),
        Phase::Unspecified => None,
    };
    Piece::coloured(format!("{:width$}", phase(session)), colour)
}

pub(super) fn phase_of(session: &Session) -> Phase {
    let status = session.status.as_ref();
    status.map_or(Phase::Unspecified, SessionStatus::phase)
}

pub(super) fn is_done(session: &Session) -> bool {
    session.status.as_ref().is_some_and(|status| status.done)
}

/// The reason and the message of the phase.
pub(super) fn why(session: &Session) -> String {
    let status = session.status.as_ref();
    let (reason, message) = status.map_or(("", ""), |status| (&status.reason, &status.message));
    sentence(reason, message)
}

/// The reason and the message of a component.
pub(super) fn why_component(component: &ComponentStatus) -> String {
    sentence(&component.reason, &component.message)
}

fn sentence(reason: &str, message: &str) -> String {
    match (reason, message) {
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

/// The failure of a session that ended otherwise than well.
pub(super) fn outcome(session: &Session) -> Result<(), Failure> {
    let (exit, what) = match phase_of(session) {
        Phase::Failed => (Exit::Failed, "failed"),
        Phase::Cancelled => (Exit::Cancelled, "was cancelled"),
        _ => return Ok(()),
    };
    let why = why(session);
    let why = match why.is_empty() {
        true => String::new(),
        false => format!(": {why}"),
    };
    Err(Failure::new(exit, format!("{} {what}{why}", session.id)))
}

/// What is known of a component.
pub(super) fn health(component: &ComponentStatus) -> Piece {
    let colour = match component.health() {
        Health::Waiting | Health::NotReady => Some(Color::Yellow),
        Health::Ready | Health::Completed => Some(Color::Green),
        Health::Broken => Some(Color::Red),
        Health::Ending => Some(Color::Cyan),
        Health::Unspecified => None,
    };
    let name = match Health::try_from(component.health) {
        Ok(Health::Unspecified) => NONE.to_owned(),
        Ok(health) => health.as_str_name().to_owned(),
        Err(_) => component.health.to_string(),
    };
    Piece::coloured(name, colour)
}

/// Where a session stands in its queue, and what it waits for.
pub(super) fn queue(status: &QueueStatus) -> String {
    let mut parts = Vec::new();
    parts.push(match status.position {
        1 => format!("next of queue {}", status.queue),
        position => format!("{position} in queue {}", status.queue),
    });
    if status.sessions_ahead > 0 {
        let machines = count(status.machines_ahead, "machine");
        parts.push(format!("{} ahead, {machines}", status.sessions_ahead));
    }
    if !status.blocking_pool.is_empty() {
        let pool = &status.blocking_pool;
        parts.push(format!("pool {pool} has too few free machines"));
    }
    if !status.blocking_session.is_empty() {
        parts.push(format!("blocked by session {}", status.blocking_session));
    }
    if status.at_limit {
        parts.push("the queue is at its limit of sessions".to_owned());
    }
    if let Some(estimate) = &status.estimate {
        let samples = count(status.samples, "sample");
        let wait = about(estimate.seconds);
        parts.push(format!("about {wait} ({samples})"));
    }
    parts.join("; ")
}

/// A wait that is known roughly.
fn about(seconds: i64) -> String {
    match seconds.max(1) {
        seconds if seconds < 60 => format!("{seconds} s"),
        seconds if seconds < 2 * 3600 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h", (seconds + 1800) / 3600),
    }
}

pub(super) fn count(number: u32, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

/// How long a component ran, or runs.
pub(super) fn ran(component: &ComponentStatus, now: Timestamp) -> String {
    let started = component.started.as_ref().and_then(timestamp);
    let finished = component.finished.as_ref().and_then(timestamp);
    started.map_or_else(
        || NONE.to_owned(),
        |started| between(started, finished.unwrap_or(now)),
    )
}

/// A span, with tenths while they matter.
pub(super) fn between(from: Timestamp, to: Timestamp) -> String {
    let millis = (to.as_millisecond() - from.as_millisecond()).max(0);
    match millis {
        0..60_000 => format!("{}.{}s", millis / 1000, millis % 1000 / 100),
        _ => age(millis / 1000),
    }
}

/// How long it was in each phase so far.
pub(super) fn spans(session: &Session, now: Timestamp) -> String {
    let times = times(session);
    let at = |time: &Option<pbjson_types::Timestamp>| time.as_ref().and_then(timestamp);
    let end = at(&times.finished);
    let steps = [
        (at(&times.enqueued), at(&times.admitted), "queued"),
        (at(&times.admitted), at(&times.running), "provisioned"),
        (at(&times.running), end, "ran"),
    ];
    let spans = steps.into_iter().filter_map(|(from, to, what)| {
        let to = to.or(end).unwrap_or(now);
        from.map(|from| format!("{what} {}", between(from, to)))
    });
    spans.collect::<Vec<_>>().join(", ")
}

pub(super) fn times(session: &Session) -> Times {
    let status = session.status.as_ref();
    status.and_then(|status| status.times).unwrap_or_default()
}

/// How long ago it was enqueued.
pub(super) fn age_since_enqueued(session: &Session, now: Timestamp) -> String {
    let enqueued = times(session).enqueued;
    age_of(enqueued.as_ref().and_then(timestamp), now)
}

/// How many of its components are ready or have completed, of how many.
pub(super) fn ready(session: &Session) -> String {
    let components = session.status.iter().flat_map(|status| &status.components);
    let is_well = |component: &&ComponentStatus| {
        matches!(component.health(), Health::Ready | Health::Completed)
    };
    let ready = components.clone().filter(is_well).count();
    format!("{ready}/{}", components.count())
}

pub(super) fn parse_phase(text: &str) -> Result<Phase, String> {
    let known = Phase::from_str_name(&text.to_ascii_uppercase());
    known.filter(|phase| *phase != Phase::Unspecified).ok_or_else(|| {
        "must be QUEUED, PROVISIONING, RUNNING, INTERRUPTED, STOPPING, SUCCEEDED, FAILED or CANCELLED"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_described_by_what_stands_ahead() {
        let status = |change: &dyn Fn(&mut QueueStatus)| {
            let mut status = QueueStatus {
                queue: "ci".to_owned(),
                position: 3,
                ..Default::default()
            };
            change(&mut status);
            queue(&status)
        };
        assert_eq!(status(&|s| s.position = 1), "next of queue ci");
        assert_eq!(
            status(&|s| {
                s.sessions_ahead = 2;
                s.machines_ahead = 5;
                s.blocking_pool = "workers".to_owned();
                s.blocking_session = "big-1".to_owned();
                s.estimate = Some(pbjson_types::Duration {
                    seconds: 230,
                    nanos: 0,
                });
                s.samples = 12;
            }),
            "3 in queue ci; 2 ahead, 5 machines; pool workers has too few free machines; blocked by session big-1; about 4 min (12 samples)"
        );
        assert_eq!(
            status(&|s| {
                s.sessions_ahead = 1;
                s.machines_ahead = 1;
                s.at_limit = true;
            }),
            "3 in queue ci; 1 ahead, 1 machine; the queue is at its limit of sessions"
        );
    }

    #[test]
    fn spans_have_tenths_while_they_matter() {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        for (millis, text) in [
            (0, "0.0s"),
            (1_250, "1.2s"),
            (59_999, "59.9s"),
            (60_000, "60s"),
            (200_000, "3m20s"),
            (-5, "0.0s"),
        ] {
            assert_eq!(between(at(0), at(millis)), text);
        }
        assert_eq!(about(0), "1 s");
        assert_eq!(about(59), "59 s");
        assert_eq!(about(89), "1 min");
        assert_eq!(about(3 * 3600), "3 h");
    }
}
