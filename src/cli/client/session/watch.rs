//! `session watch`: the current sessions, then a line for every change, without a gap.

use jiff::Timestamp;

use super::super::connect::Connection;
use super::super::follow::Follow;
use super::super::watch::{Options, Watch};
use super::super::words as common;
use super::list::{self, Selection};
use super::{changes, words};
use crate::cli::exit::Failure;
use crate::cli::output::{Output, Piece};
use crate::proto::wsman::sessions::v1::{Phase, Session};

/// Arguments of `session watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of a session, which may not be started yet: the watch ends with it [default: all].
    id: Option<String>,

    #[command(flatten)]
    selection: Selection,

    /// End with 0 when a session that is watched is in this phase.
    #[arg(long, value_name = "PHASE", value_parser = words::parse_phase)]
    until: Option<Phase>,

    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut follow = Follow::open(connection, args.selection.filter(), args.id.as_slice()).await?;
    let until = args.until.map(|phase| {
        let is_there = move |session: &Session| words::phase_of(session) == phase;
        (phase.as_str_name(), Box::new(is_there) as Box<_>)
    });
    let watch = Watch {
        id: args.id.as_deref(),
        until,
        options: &args.options,
        print: Box::new(|now, before| print(now, before, out)),
    };
    watch.run(&mut follow, |_| ()).await
}

fn print(now: &Session, before: Option<&Session>, out: &mut Output) -> Result<(), Failure> {
    if !out.is_for_people() {
        return out.record(&list::item(now));
    }
    out.line([
        Piece::from(format!("{}  ", common::rfc3339(Timestamp::now()))),
        Piece::from(format!("{:24}  ", now.id)),
        words::phase_piece(now, 12),
        Piece::from(format!("  {}", changes::between(before, now))),
    ])
}
