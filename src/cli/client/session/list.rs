//! `session list`: one line per session, oldest first.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::connect::Connection;
use super::super::{encode, words as common};
use super::words;
use crate::cli::exit::Failure;
use crate::cli::output::{Column, Format, Output, Piece};
use crate::proto::wsman::sessions::v1::{ListSessionsRequest, Phase, Session, SessionFilter};

/// Which sessions; all filters must match.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Selection {
    /// Only sessions of this queue.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,

    /// Only sessions with this label; may be repeated.
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = common::pair)]
    labels: Vec<(String, String)>,
}

/// Arguments of `session list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Only sessions in this phase; may be repeated.
    #[arg(long = "phase", value_name = "PHASE", value_parser = words::parse_phase)]
    phases: Vec<Phase>,
}

impl Selection {
    pub(super) fn filter(&self) -> SessionFilter {
        SessionFilter {
            queue: self.queue.clone().unwrap_or_default(),
            phases: Vec::new(),
            labels: self.labels.iter().cloned().collect(),
        }
    }
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut filter = args.selection.filter();
    filter.phases = args.phases.iter().map(|phase| i32::from(*phase)).collect();
    let request = ListSessionsRequest {
        filter: Some(filter),
    };
    let listed = connection.call(request).await?.sessions;
    if !out.is_for_people() {
        let items: Vec<Value> = listed.iter().map(item).collect();
        return out.document(&json!({ "kind": "List", "items": items }));
    }
    let now = Timestamp::now();
    let wide = *out.format() == Format::Wide;
    let rows: Vec<_> = listed
        .iter()
        .map(|session| row(session, now, wide))
        .collect();
    match wide {
        true => out.table(&[&COLUMNS[..], &WIDE].concat(), &rows),
        false => out.table(&COLUMNS, &rows),
    }
    .map(drop)
}

/// A session for programs.
pub(super) fn item(session: &Session) -> Value {
    encode::message(words::SESSION, session)
}

const COLUMNS: [Column; 6] = [
    Column::fixed("ID"),
    Column::ranked("QUEUE", 3),
    Column::fixed("PHASE"),
    Column::ranked("READY", 2),
    Column::ranked("AGE", 1),
    Column::text("MESSAGE", 1),
];

const WIDE: [Column; 3] = [
    Column::fixed("PRIORITY"),
    Column::fixed("POOLS"),
    Column::fixed("LABELS"),
];

fn row(session: &Session, now: Timestamp, wide: bool) -> Vec<Piece> {
    let spec = session.spec.clone().unwrap_or_default();
    let status = session.status.as_ref();
    let or_none = |text: String| match text.is_empty() {
        true => common::NONE.to_owned(),
        false => text,
    };
    let message = match status.and_then(|status| status.queue.as_ref()) {
        Some(queue) => words::queue(queue),
        None => words::why(session),
    };
    let mut row = vec![
        Piece::from(session.id.as_str()),
        or_none(spec.queue).into(),
        words::phase_piece(session, 0),
        words::ready(session).into(),
        words::age_since_enqueued(session, now).into(),
        message.into(),
    ];
    if wide {
        let pools = status.iter().flat_map(|status| &status.components);
        let pools: std::collections::BTreeSet<_> = pools.map(|c| c.pool.clone()).collect();
        let labels = spec
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        row.extend([
            Piece::from(spec.priority.to_string()),
            or_none(pools.into_iter().collect::<Vec<_>>().join(",")).into(),
            or_none(labels.collect::<Vec<_>>().join(",")).into(),
        ]);
    }
    row
}
