//! `client explain`: why a workspace is in its state and what happens next, from the daemon that manages it.

use super::connect::Connection;
use super::encode;
use crate::cli::exit::Failure;
use crate::cli::explain::people::{self, Origin};
use crate::cli::output::Output;
use crate::proto::wsman::inspect::v1::ExplainWorkspaceRequest;

/// Which workspace.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Instance id.
    #[arg(value_name = "ID")]
    id: String,
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = ExplainWorkspaceRequest { id: args.id };
    let explained = connection.call(request).await?;
    if !output.is_for_people() {
        let name = "wsman.inspect.v1.ExplainWorkspaceResponse";
        return output.document(&encode::message(name, &explained));
    }
    for line in people::render(&explained, Origin::Daemon).lines() {
        output.line([line.into()])?;
    }
    Ok(())
}
