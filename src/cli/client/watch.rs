//! `watch`: what is there, then a line for every change, without a gap.

use jiff::Timestamp;
use serde_json::json;

use super::connect::Connection;
use super::follow::{Event, Follow, Followed};
use super::list::Selection;
use super::wait::report_cut;
use super::{changes, encode, words};
use crate::cli::alive;
use crate::cli::exit::{Exit, Failure, note};
use crate::cli::output::{Output, Piece};
use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};

/// Arguments of `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the workspace, which may not be started yet [default: all].
    id: Option<String>,

    #[command(flatten)]
    selection: Selection,

    /// End with 0 when a workspace that is watched is in this phase.
    #[arg(long, value_name = "PHASE", value_parser = words::parse_phase)]
    until: Option<WorkspacePhase>,

    #[command(flatten)]
    options: Options,

    /// Print owner tokens (JSON and YAML).
    #[arg(long)]
    show_token: bool,
}

/// What every watch can be asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Do not print what is there at the start.
    #[arg(long)]
    no_initial: bool,

    /// End with 3 if there is none with this id.
    #[arg(long, requires = "id")]
    strict: bool,

    /// End with 6 when the stream is lost.
    #[arg(long)]
    no_reconnect: bool,
}

/// Whether a status ends a watch.
pub(super) type Ends<T> = Box<dyn Fn(&T) -> bool>;
/// Prints a status, given the last one.
pub(super) type Print<'a, T> = Box<dyn FnMut(&T, Option<&T>) -> Result<(), Failure> + 'a>;

/// A watch of workspaces or sessions.
pub(super) struct Watch<'a, T> {
    /// Only one.
    pub(super) id: Option<&'a str>,
    /// The phase that ends it, and whether a status is in it.
    pub(super) until: Option<(&'static str, Ends<T>)>,
    pub(super) options: &'a Options,
    /// Prints a status, given the last one.
    pub(super) print: Print<'a, T>,
}

pub(super) async fn run(
    args: Args,
    connection: &Connection,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut follow = Follow::open(connection, args.selection.filter(), args.id.as_slice()).await?;
    let until = args.until.map(|phase| {
        let is_there = move |status: &WorkspaceStatus| status.phase() == phase;
        (phase.as_str_name(), Box::new(is_there) as Box<_>)
    });
    let watch = Watch {
        id: args.id.as_deref(),
        until,
        options: &args.options,
        print: Box::new(|now, before| print(now, before, args.show_token, out)),
    };
    let gone = |last: &mut WorkspaceStatus| last.set_phase(WorkspacePhase::Stopped);
    watch.run(&mut follow, gone).await
}

impl<T: Followed> Watch<'_, T> {
    /// Watches until its goal is reached, or cannot be any more. `gone` is what became of one that went unseen.
    pub(super) async fn run(
        mut self,
        follow: &mut Follow<T>,
        gone: impl Fn(&mut T),
    ) -> Result<(), Failure> {
        let mut seen = 0_usize;
        loop {
            let what = || match (self.id, seen) {
                (Some(id), 0) => format!("waiting for {id} to be started"),
                (Some(id), _) => format!("waiting for changes of {id}"),
                (None, _) => "waiting for changes".to_owned(),
            };
            let event = alive::during(what, follow.next()).await?;
            match event {
                Event::Cut(error) if self.options.no_reconnect => {
                    return Err(cut(error.map(Failure::from)));
                }
                ref other => report_cut(other),
            }
            match event {
                Event::Initial(now) => {
                    seen += 1;
                    if !self.options.no_initial {
                        (self.print)(&now, None)?;
                    }
                    if self.is_goal(&now) {
                        return Ok(());
                    }
                    if T::ENDS_ONCE {
                        self.is_reachable(&now)?;
                    }
                }
                Event::Update { now, before } => {
                    seen += 1;
                    (self.print)(&now, before.as_deref())?;
                    if self.is_goal(&now) {
                        return Ok(());
                    }
                    self.is_reachable(&now)?;
                }
                Event::Gone(mut last) => {
                    note(&format!("{} went while the stream was cut", last.id()));
                    gone(&mut last);
                    if self.is_goal(&last) {
                        return Ok(());
                    }
                    self.is_reachable(&last)?;
                    if let Some(id) = self.id.filter(|_| T::ENDS_ONCE) {
                        let message = format!("{} {id} is gone", T::NOUN);
                        return Err(Failure::new(Exit::NotFound, message));
                    }
                }
                Event::Complete if seen == 0 => self.absent()?,
                Event::Complete | Event::Cut(_) | Event::Resumed => {}
            }
        }
    }

    /// It does not exist: its name is wrong, or it is not started yet.
    fn absent(&self) -> Result<(), Failure> {
        let noun = T::NOUN;
        match self.id {
            Some(id) if self.options.strict => Err(Failure::new(
                Exit::NotFound,
                format!("no such {noun}: {id}"),
            )),
            Some(id) => {
                note(&format!(
                    "there is no {noun} {id} yet; waiting for it (--strict does not)"
                ));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// One that never comes again has nothing more to show after its end.
    fn is_goal(&self, status: &T) -> bool {
        match &self.until {
            Some((_, is_there)) => is_there(status),
            None => T::ENDS_ONCE && self.id.is_some() && status.has_ended(),
        }
    }

    /// One that ended reaches no other phase; of many, others may.
    fn is_reachable(&self, status: &T) -> Result<(), Failure> {
        match &self.until {
            Some((phase, _)) if self.id.is_some() && status.has_ended() => {
                let id = status.id();
                let message = match T::ENDS_ONCE {
                    true => format!("{id} ended before it was {phase}: {}", status.state()),
                    false => format!("{id} stopped before it was {phase}"),
                };
                Err(Failure::new(Exit::Failed, message))
            }
            _ => Ok(()),
        }
    }
}

fn cut(error: Option<Failure>) -> Failure {
    // For a watch, every error that ends the stream means that it is unavailable.
    match error {
        Some(error) => {
            Failure::new(Exit::Unavailable, error.message().to_owned()).context("stream lost")
        }
        None => Failure::new(Exit::Unavailable, "stream ended by the server"),
    }
}

fn print(
    now: &WorkspaceStatus,
    before: Option<&WorkspaceStatus>,
    show_token: bool,
    out: &mut Output,
) -> Result<(), Failure> {
    if !out.is_for_people() {
        let status = encode::status(now, show_token);
        return out.record(&json!({ "status": status }));
    }
    out.line([
        Piece::from(format!("{}  ", words::rfc3339(Timestamp::now()))),
        Piece::from(format!("{:36}  ", now.id)),
        words::phase_piece(now, 12),
        Piece::from(format!("  {:10}  ", format!("v{}", now.status_version))),
        Piece::from(changes::between(before, now)),
    ])
}
