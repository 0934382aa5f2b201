//! The progress of a batch: on a terminal a line per active session that is drawn again, elsewhere a line per change.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::json;

use super::super::super::words as common;
use super::super::{list, words};
use super::batch::{Batch, Run, State};
use crate::cli::exit::{Failure, note};
use crate::cli::output::{Block, Color, Output, Piece};

/// What was printed so far.
pub(super) struct Progress {
    block: Block,
    /// The phase of each session that was printed last.
    printed: Vec<String>,
    /// Width of an id.
    width: usize,
}

impl Progress {
    pub(super) fn new(batch: &Batch) -> Self {
        let widths = batch.runs.iter().map(|run| run.id().len());
        Self {
            block: Block::default(),
            printed: vec![String::new(); batch.runs.len()],
            width: widths.max().unwrap_or(0),
        }
    }

    /// Prints what changed.
    pub(super) fn print(&mut self, batch: &Batch, out: &mut Output) -> Result<(), Failure> {
        let now = Timestamp::now();
        let mut stay = Vec::new();
        for (run, printed) in batch.runs.iter().zip(&mut self.printed) {
            let phase = phase(run).into_text();
            if *printed == phase || matches!(run.state, State::Waiting | State::Starting) {
                continue;
            }
            *printed = phase;
            if out.can_draw() {
                // Active ones are in the block.
                if run.is_over() {
                    stay.push(line(run, self.width, now));
                }
                continue;
            }
            let mut pieces = vec![format!("{}  ", common::rfc3339(now)).into()];
            pieces.extend(line(run, self.width, now));
            if out.is_for_people() {
                out.draw(&mut self.block, &[pieces], &[])?;
                continue;
            }
            let text: String = pieces.into_iter().map(Piece::into_text).collect();
            note(text.trim_end());
            if run.is_over() {
                out.record(&record(run))?;
            }
        }
        if !out.can_draw() {
            return Ok(());
        }
        let active = batch.runs.iter().filter(|run| run.is_active());
        let mut lines: Vec<_> = active.map(|run| line(run, self.width, now)).collect();
        if !batch.is_over() {
            lines.insert(0, vec![batch.summary().into()]);
        }
        out.draw(&mut self.block, &stay, &lines)
    }

    /// Prints what people want to know at the end.
    pub(super) fn finish(
        self,
        batch: &Batch,
        saved: Option<&PathBuf>,
        out: &mut Output,
    ) -> Result<(), Failure> {
        let mut text = batch.summary();
        if let Some(folder) = saved {
            text.push_str(&format!("; logs are in {}", folder.display()));
        }
        match out.is_for_people() {
            true => out.line([text.into()]),
            false => {
                note(&text);
                Ok(())
            }
        }
    }
}

fn phase(run: &Run) -> Piece {
    let red = Some(Color::Red);
    match &run.state {
        State::Waiting => "WAITING".into(),
        State::Starting => "STARTING".into(),
        State::Started(session) | State::Ended(session) => words::phase_piece(session, 0),
        State::Refused(_) => Piece::coloured("REFUSED", red),
        State::Gone => Piece::coloured("GONE", red),
        State::Skipped => "NOT STARTED".into(),
    }
}

fn line(run: &Run, width: usize, now: Timestamp) -> Vec<Piece> {
    let (phase, colour) = phase(run).parts();
    let rest = match &run.state {
        State::Refused(failure) => {
            let mut lines = vec![failure.message().to_owned()];
            lines.extend_from_slice(failure.lines());
            lines.join("; ")
        }
        _ => {
            let session = run.session();
            let spans = session.map(|session| words::spans(session, now));
            let why = session.map(words::why);
            let mut parts = vec![spans.unwrap_or_default(), why.unwrap_or_default()];
            parts.retain(|part| !part.is_empty());
            parts.join("; ")
        }
    };
    vec![
        format!("{:width$}  ", run.id()).into(),
        Piece::coloured(format!("{phase:12}"), colour),
        format!("  {rest}").into(),
    ]
}

/// A session for programs, once it is over.
fn record(run: &Run) -> serde_json::Value {
    let mut record = match run.session() {
        Some(session) => list::item(session),
        None => json!({ "id": run.id() }),
    };
    record["file"] = run.file.as_str().into();
    if let State::Refused(failure) = &run.state {
        let mut lines = vec![failure.message()];
        lines.extend(failure.lines().iter().map(String::as_str));
        record["error"] = lines.join("; ").into();
    }
    record
}
