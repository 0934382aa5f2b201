//! `wsman replay`: the pure core on an event trace log. What it answers today must be what the log holds.

use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

use super::exit::{self, Exit, Failure};
use super::input;
use crate::trace::entry::{self, Entry};

/// What to replay.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Event trace log (manager.eventTraceLog).
    #[arg(long, value_name = "FILE")]
    evts: PathBuf,
}

/// What became of the lines.
#[derive(Debug, Default)]
struct Counts {
    statuses: usize,
    decisions: usize,
    skipped: usize,
}

/// Answers every line again and says on `out` how many there were. A line that cannot be read is named and left out.
///
/// # Errors
/// [`Failure`] at the first answer that differs, or if there is nothing to answer.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let mut counts = Counts::default();
    for (number, line) in (1..).zip(input::lines(&args.evts)?) {
        let read = line.map_err(|failure| failure.message().to_owned());
        let entry = read.and_then(|line| Entry::read(&line).map_err(|why| why.to_string()));
        match entry {
            Ok(entry) => answer(&entry, &mut counts).map_err(|why| {
                let file = args.evts.display();
                Failure::new(Exit::Failed, format!("{file}, line {number}: {why}"))
            })?,
            Err(why) => {
                exit::note(&format!("line {number}: {why}: skipped"));
                counts.skipped += 1;
            }
        }
    }
    let Counts {
        statuses,
        decisions,
        skipped,
    } = counts;
    if statuses + decisions == 0 {
        let file = args.evts.display();
        return Err(Failure::usage(format!("{file} holds nothing to replay")));
    }
    writeln!(
        out,
        "{statuses} statuses and {decisions} decisions are as they were; {skipped} lines skipped"
    )?;
    Ok(())
}

/// Answers one line again.
fn answer(entry: &Entry, counts: &mut Counts) -> Result<(), String> {
    match entry {
        Entry::Status {
            objects,
            status,
            why,
        } => {
            counts.statuses += 1;
            let (now, policy) = entry::answer_status(objects);
            compare("status", status, &now)?;
            compare("why", why, &policy)
        }
        Entry::Decision { case, decision } => {
            counts.decisions += 1;
            compare("decision", decision, &entry::answer_decision(case))
        }
        Entry::Other => Ok(()),
    }
}

fn compare(what: &str, recorded: &Value, now: &Value) -> Result<(), String> {
    match difference(recorded, now) {
        None => Ok(()),
        Some((pointer, recorded, now)) => {
            let text = |value: Option<&Value>| {
                value.map_or_else(|| "nothing".to_owned(), Value::to_string)
            };
            let (recorded, now) = (text(recorded), text(now));
            Err(format!("{what}{pointer} was {recorded}, and is {now} now"))
        }
    }
}

/// A difference: where, what was recorded, and what is now.
type Difference<'a> = (String, Option<&'a Value>, Option<&'a Value>);

/// The first place at which two values differ.
fn difference<'a>(recorded: &'a Value, now: &'a Value) -> Option<Difference<'a>> {
    let below = |key: String, a: Option<&'a Value>, b: Option<&'a Value>| match (a, b) {
        (Some(a), Some(b)) => difference(a, b).map(|(rest, a, b)| (format!(".{key}{rest}"), a, b)),
        _ => Some((format!(".{key}"), a, b)),
    };
    match (recorded, now) {
        (a, b) if a == b => None,
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter()
                .find_map(|key| below(key.clone(), a.get(key), b.get(key)))
        }
        (Value::Array(a), Value::Array(b)) => {
            let places = 0..a.len().max(b.len());
            places
                .into_iter()
                .find_map(|at| below(at.to_string(), a.get(at), b.get(at)))
        }
        (a, b) => Some((String::new(), Some(a), Some(b))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_is_named() {
        for (recorded, now, wanted) in [
            (
                json!({"a": [1, {"b": 2}]}),
                json!({"a": [1, {"b": 2}]}),
                None,
            ),
            (
                json!({"a": [1, {"b": 2}]}),
                json!({"a": [1, {"b": 3}]}),
                Some("status.a.1.b was 2, and is 3 now"),
            ),
            (
                json!({"a": 1}),
                json!({"a": 1, "c": "x"}),
                Some("status.c was nothing, and is \"x\" now"),
            ),
            (
                json!({"a": [1]}),
                json!({"a": []}),
                Some("status.a.0 was 1, and is nothing now"),
            ),
        ] {
            let got = compare("status", &recorded, &now);
            assert_eq!(got.err().as_deref(), wanted);
        }
    }
}
