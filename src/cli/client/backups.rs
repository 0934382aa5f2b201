//! `backups`: what was saved of a workspace or of an owner, the newest first.

use jiff::Timestamp;
use serde_json::json;

use super::connect::Connection;
use super::{encode, words};
use crate::cli::exit::{Failure, note};
use crate::cli::output::{Color, Column, Output, Piece};
use crate::proto::wsman::backups::v1::{Backup, BackupKind, ListBackupsRequest};

/// Whose backups.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Instance id of a workspace that is there or ended recently.
    #[arg(value_name = "ID", required_unless_present = "owner")]
    id: Option<String>,

    /// Owner: the backups of all workspaces, or of the one with --meta-id.
    #[arg(long)]
    owner: Option<String>,

    /// Meta id of one workspace.
    #[arg(long, value_name = "ID", requires = "owner")]
    meta_id: Option<String>,

    /// Most backups to list.
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut request = ListBackupsRequest {
        id: args.id.unwrap_or_default(),
        owner: args.owner.unwrap_or_default(),
        meta_id: args.meta_id.unwrap_or_default(),
        ..ListBackupsRequest::default()
    };
    let mut backups = Vec::new();
    loop {
        let left = limit - backups.len();
        request.page_size = i32::try_from(left).unwrap_or(i32::MAX);
        let answer = connection.call(request.clone()).await?;
        backups.extend(answer.backups);
        request.page_token = answer.next_page_token;
        if request.page_token.is_empty() || backups.len() >= limit {
            break;
        }
    }
    if !request.page_token.is_empty() {
        note(&format!("there are more than {limit}: --limit lists more"));
    }
    if !out.is_for_people() {
        let item = |backup| encode::message("wsman.backups.v1.Backup", backup);
        let items: Vec<_> = backups.iter().map(item).collect();
        return out.document(&json!({ "kind": "List", "items": items }));
    }
    let now = Timestamp::now();
    let rows: Vec<_> = backups.iter().map(|backup| row(backup, now)).collect();
    out.table(&COLUMNS, &rows).map(drop)
}

const COLUMNS: [Column; 7] = [
    Column::fixed("NAME"),
    Column::ranked("KIND", 4),
    Column::fixed("AGE"),
    Column::ranked("SIZE", 2),
    Column::ranked("FILES", 3),
    Column::ranked("COMMIT", 5),
    Column::text("NOTE", 1),
];

fn row(backup: &Backup, now: Timestamp) -> Vec<Piece> {
    let kind = match backup.kind() {
        BackupKind::Backup => "backup",
        BackupKind::Snapshot => "snapshot",
        BackupKind::Unspecified => words::NONE,
    };
    let created = backup.created.as_ref().and_then(words::timestamp);
    let size = words::bytes(backup.size.max(0).unsigned_abs());
    let is_readable = backup.problem.is_empty();
    let or_none = |text: String| match is_readable {
        true => Piece::from(text),
        false => Piece::from(words::NONE),
    };
    let commit = &backup.commit[..backup.commit.floor_char_boundary(12)];
    vec![
        Piece::from(backup.name.as_str()),
        Piece::from(kind),
        Piece::from(words::age_of(created, now)),
        or_none(size),
        or_none(backup.files.to_string()),
        Piece::from(if commit.is_empty() {
            words::NONE
        } else {
            commit
        }),
        match (is_readable, backup.r#final) {
            (false, _) => Piece::coloured(backup.problem.as_str(), Some(Color::Red)),
            (true, true) => Piece::from("final"),
            (true, false) => Piece::from(""),
        },
    ]
}
