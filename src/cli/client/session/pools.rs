//! `session pools`: the machines, and who has them.

use serde_json::json;

use super::super::connect::Connection;
use super::super::{encode, words::NONE};
use crate::cli::exit::Failure;
use crate::cli::output::{Column, Output, Piece};
use crate::proto::wsman::sessions::v1::{ListPoolsRequest, Pool};

const COLUMNS: [Column; 7] = [
    Column::fixed("NAME"),
    Column::fixed("CAPACITY"),
    Column::fixed("IN USE"),
    Column::fixed("FREE"),
    Column::fixed("QUEUED"),
    Column::ranked("ELASTIC", 2),
    Column::ranked("DEFAULT FOR", 1),
];

pub(super) async fn run(connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let pools = connection.call(ListPoolsRequest {}).await?.pools;
    if !out.is_for_people() {
        let item = |pool| encode::message("wsman.sessions.v1.Pool", pool);
        let items: Vec<_> = pools.iter().map(item).collect();
        return out.document(&json!({ "kind": "List", "items": items }));
    }
    let rows: Vec<_> = pools.iter().map(row).collect();
    out.table(&COLUMNS, &rows).map(drop)
}

fn row(pool: &Pool) -> Vec<Piece> {
    let roles = match pool.default_for.is_empty() {
        true => NONE.to_owned(),
        false => pool.default_for.join(","),
    };
    let numbers = [
        pool.capacity,
        pool.in_use,
        pool.free,
        pool.queued,
        pool.elastic,
    ];
    let mut row = vec![Piece::from(pool.name.as_str())];
    row.extend(numbers.map(|number| Piece::from(number.to_string())));
    row.push(roles.into());
    row
}
