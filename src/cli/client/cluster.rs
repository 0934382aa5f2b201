//! `cluster`: the workspace classes that a cluster offers.

use serde_json::json;

use super::connect::Connection;
use super::{encode, words};
use crate::cli::exit::Failure;
use crate::cli::output::{Column, Format, Output, Piece};
use crate::proto::wsman::{DescribeClusterRequest, WorkspaceClass};

pub(super) async fn run(connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let answer = connection.call(DescribeClusterRequest {}).await?;
    if !out.is_for_people() {
        if *out.format() == Format::Name {
            let ids = answer.workspace_classes.iter();
            let ids: Vec<_> = ids.map(|class| json!({ "id": class.id })).collect();
            return out.record(&json!({ "items": ids }));
        }
        return out.document(&encode::message("wsman.DescribeClusterResponse", &answer));
    }
    let rows: Vec<_> = answer
        .workspace_classes
        .iter()
        .map(|class| row(class, &answer.preferred_workspace_class))
        .collect();
    let columns = [
        Column::fixed("CLASS"),
        Column::ranked("NAME", 2),
        Column::ranked("CREDITS/MIN", 3),
        Column::fixed("PREFERRED"),
        Column::text("DESCRIPTION", 1),
    ];
    out.table(&columns, &rows).map(drop)
}

fn row(class: &WorkspaceClass, preferred: &str) -> Vec<Piece> {
    let credits = match class.credits_per_minute {
        0.0 => words::NONE.to_owned(),
        credits => credits.to_string(),
    };
    vec![
        Piece::from(class.id.as_str()),
        Piece::from(class.display_name.as_str()),
        Piece::from(credits),
        Piece::from(if class.id == preferred { "yes" } else { "" }),
        Piece::from(class.description.as_str()),
    ]
}
