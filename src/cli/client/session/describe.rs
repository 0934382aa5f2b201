//! `session describe`: everything about one session, in sections for people.

use jiff::Timestamp;

use super::super::connect::Connection;
use super::super::words as common;
use super::{list, words};
use crate::cli::exit::Failure;
use crate::cli::output::{Column, Output, Piece};
use crate::proto::wsman::sessions::v1::{
    ComponentStatus, GetSessionRequest, Session, SessionSpec, SessionStatus,
};

/// Arguments of `session describe`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the session.
    id: String,
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let answer = connection.call(GetSessionRequest { id: args.id }).await?;
    let session = answer.session.unwrap_or_default();
    if !out.is_for_people() {
        return out.document(&list::item(&session));
    }
    print(&session, Timestamp::now(), out)
}

fn print(session: &Session, now: Timestamp, out: &mut Output) -> Result<(), Failure> {
    let spec = session.spec.clone().unwrap_or_default();
    let status = session.status.clone().unwrap_or_default();
    let mut rows: Vec<Vec<Piece>> = vec![
        vec!["ID:".into(), session.id.as_str().into()],
        vec!["Phase:".into(), words::phase_piece(session, 0)],
    ];
    let mut values = state(&spec, &status);
    values.extend(times(session, now));
    let values = values.into_iter().filter(|(_, value)| !value.is_empty());
    rows.extend(values.map(|(name, value)| vec![format!("{name}:").into(), value.into()]));
    out.rows("", rows)?;
    out.line(["Components:".into()])?;
    let rows: Vec<_> = status.components.iter().map(|c| row(c, now)).collect();
    out.table(&COLUMNS, &rows)?;
    if !status.result.is_empty() {
        out.line(["Result:".into()])?;
        for line in status.result.trim_end().lines() {
            out.line([format!("  {line}").into()])?;
        }
    }
    Ok(())
}

fn state(spec: &SessionSpec, status: &SessionStatus) -> Vec<(&'static str, String)> {
    let labels = spec
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    vec![
        ("Reason", status.reason.clone()),
        ("Message", status.message.clone()),
        ("Queue", queue(spec)),
        (
            "Position",
            status.queue.as_ref().map(words::queue).unwrap_or_default(),
        ),
        ("Labels", labels.collect::<Vec<_>>().join(", ")),
        ("Decider", spec.decider.clone()),
        (
            "Exit code",
            status
                .exit_code
                .map(|code| code.to_string())
                .unwrap_or_default(),
        ),
        (
            "Deadline",
            spec.deadline.as_ref().map(duration).unwrap_or_default(),
        ),
        ("Version", status.version.to_string()),
    ]
}

fn queue(spec: &SessionSpec) -> String {
    match spec.priority {
        0 => spec.queue.clone(),
        priority => format!("{}, priority {priority}", spec.queue),
    }
}

/// When it entered its phases, and how long it was in each.
fn times(session: &Session, now: Timestamp) -> Vec<(&'static str, String)> {
    let times = words::times(session);
    let mut last = None;
    let steps = [
        ("Enqueued", &times.enqueued),
        ("Admitted", &times.admitted),
        ("Running", &times.running),
        ("Finished", &times.finished),
    ];
    let mut rows = Vec::new();
    for (name, time) in steps {
        let Some(time) = time.as_ref().and_then(common::timestamp) else {
            continue;
        };
        let span = match last {
            Some(last) => format!("after {}", words::between(last, time)),
            None => format!("{} ago", common::age_of(Some(time), now)),
        };
        rows.push((name, format!("{} ({span})", common::rfc3339(time))));
        last = Some(time);
    }
    let expires = times.expires.as_ref().and_then(common::timestamp);
    rows.extend(expires.map(|time| ("Expires", common::rfc3339(time))));
    rows
}

fn duration(duration: &pbjson_types::Duration) -> String {
    crate::cli::output::age(duration.seconds)
}

const COLUMNS: [Column; 9] = [
    Column::fixed("  NAME"),
    Column::ranked("ROLE", 2),
    Column::ranked("POOL", 4),
    Column::ranked("NODE", 3),
    Column::ranked("POD", 6),
    Column::fixed("HEALTH"),
    Column::ranked("EXIT", 1),
    Column::ranked("RAN", 1),
    Column::text("REASON", 5),
];

fn row(component: &ComponentStatus, now: Timestamp) -> Vec<Piece> {
    let or_none = |text: &str| match text.is_empty() {
        true => Piece::from(common::NONE),
        false => Piece::from(text),
    };
    let code = component.exit_code.map(|code| code.to_string());
    vec![
        format!("  {}", component.name).into(),
        or_none(&component.role),
        or_none(&component.pool),
        or_none(&component.node),
        or_none(&component.pod),
        words::health(component),
        or_none(&code.unwrap_or_default()),
        words::ran(component, now).into(),
        words::why_component(component).into(),
    ]
}
