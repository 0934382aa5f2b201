//! `list`: one line per workspace, oldest first.

use jiff::Timestamp;

use super::connect::Connection;
use super::encode::Encoded;
use super::words;
use crate::cli::exit::Failure;
use crate::cli::output::{Output, Piece};
use crate::proto::wsman::{GetWorkspacesRequest, MetadataFilter, WorkspaceStatus};

/// Which workspaces; everything that is given must match.
#[derive(Debug, clap::Args)]
pub(super) struct Selection {
    /// Only workspaces of this owner.
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,

    /// Only workspaces with this meta id.
    #[arg(long, value_name = "ID")]
    meta_id: Option<String>,

    /// Only workspaces with this annotation; may be repeated.
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
}

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Also those that ended lately, as far as the server remembers them.
    #[arg(long)]
    include_ended: bool,

    /// Print owner tokens (JSON and YAML).
    #[arg(long)]
    show_token: bool,
}

impl Selection {
    /// The filter of the protocol; none when everything matches.
    pub(super) fn filter(&self) -> Option<MetadataFilter> {
        let filter = MetadataFilter {
            owner: self.owner.clone().unwrap_or_default(),
            meta_id: self.meta_id.clone().unwrap_or_default(),
            annotations: self.annotations.iter().cloned().collect(),
        };
        (filter != MetadataFilter::default()).then_some(filter)
    }
}

/// Runs the verb.
pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let request = GetWorkspacesRequest {
        must_match: args.selection.filter(),
    };
    let connection = connection.including_ended(args.include_ended);
    let mut listed = connection.get_workspaces(request).await?.status;
    sort(&mut listed);
    if out.is_for_people() {
        let now = Timestamp::now();
        return out.table(
            &[
                "ID", "OWNER", "META ID", "PHASE", "AGE", "CLASS", "NODE", "MESSAGE",
            ],
            listed.iter().map(|status| row(status, now)).collect(),
        );
    }
    let listed = listed
        .into_iter()
        .map(|status| Encoded::new(status, args.show_token));
    out.document(&listed.collect::<Vec<_>>())
}

/// Sorts by the start, those without one first, then by id so that the order is total.
pub(super) fn sort(listed: &mut [WorkspaceStatus]) {
    listed.sort_by_cached_key(|status| (words::started(status), status.id.clone()));
}

fn row(status: &WorkspaceStatus, now: Timestamp) -> Vec<Piece> {
    let or_none = |text: Option<&String>| match text {
        Some(text) if !text.is_empty() => Piece::from(text.as_str()),
        _ => Piece::from(words::NONE),
    };
    vec![
        Piece::from(status.id.as_str()),
        or_none(status.metadata.as_ref().map(|metadata| &metadata.owner)),
        or_none(status.metadata.as_ref().map(|metadata| &metadata.meta_id)),
        words::phase_piece(status, 0),
        Piece::from(words::age_of(words::started(status), now)),
        or_none(status.spec.as_ref().map(|spec| &spec.class)),
        or_none(status.runtime.as_ref().map(|runtime| &runtime.node_name)),
        Piece::from(words::message(status)),
    ]
}

fn annotation(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}
