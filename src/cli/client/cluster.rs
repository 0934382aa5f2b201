//! `cluster`: the workspace classes that a cluster offers.

use super::connect::Connection;
use super::words;
use crate::cli::exit::Failure;
use crate::cli::output::{Output, Piece};
use crate::proto::wsman::{DescribeClusterRequest, WorkspaceClass};

/// Runs the verb.
pub(super) async fn run(connection: &Connection, out: &mut Output) -> Result<(), Failure> {
    let answer = connection
        .describe_cluster(DescribeClusterRequest {})
        .await?;
    if !out.is_for_people() {
        return out.document(&answer);
    }
    let rows = answer
        .workspace_classes
        .iter()
        .map(|class| row(class, &answer.preferred_workspace_class));
    out.table(
        &["CLASS", "NAME", "CREDITS/MIN", "PREFERRED", "DESCRIPTION"],
        rows.collect(),
    )
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
