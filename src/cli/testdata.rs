//! `wsman testdata`: an event trace log becomes cases under testdata/, with ids and names made anonymous.

mod anonymous;
mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::exit::{self, Exit, Failure};
use super::input;
use crate::redact::show;
use crate::trace::entry::Entry;
use crate::workspaces::case::{self, Case};
use names::Names;

/// Which cases to make.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Event trace log (manager.eventTraceLog), also one of a classic manager.
    #[arg(long, value_name = "FILE", default_value = "/tmp/evts.json")]
    evts: PathBuf,
    /// How the names of the cases begin: letters, digits, `-` and `_`.
    #[arg(long, value_name = "PREFIX")]
    prefix: String,
    /// The folder of the cases.
    #[arg(long, value_name = "DIR", default_value = "testdata")]
    out: PathBuf,
}

/// Longest prefix of names.
const LONGEST_PREFIX: usize = 64;

/// A case and its answer, to be written.
#[derive(Debug)]
struct Made {
    seam: &'static str,
    outcome: &'static str,
    input: Value,
    answer: Value,
}

/// Writes a case for each status and each decision of a log that is not like an earlier one, and says on `out` how many.
/// A line that cannot be read is named and left out; a file that is there is never overwritten.
///
/// # Errors
/// [`Failure`] if nothing can be made of the log, or a file cannot be written.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    check(&args.prefix)?;
    let mut names = Names::default();
    let mut seen = BTreeSet::new();
    let mut files = BTreeMap::new();
    for (number, line) in (1..).zip(input::lines(&args.evts)?) {
        let read = line.map_err(|failure| failure.message().to_owned());
        let entry = read.and_then(|line| Entry::read_any(&line).map_err(|why| why.to_string()));
        let made = entry.and_then(|entry| make(&entry, &mut names));
        match made {
            Ok(Some(made)) if seen.insert(likeness(&made)) => {
                let number = files.len() + 1;
                let name = format!("{}_{number:03}_{}", args.prefix, made.outcome);
                files.insert(args.out.join(made.seam).join(name), made);
            }
            Ok(_) => {}
            Err(why) => exit::note(&format!("line {number}: {why}: skipped")),
        }
    }
    if files.is_empty() {
        let file = args.evts.display();
        return Err(Failure::usage(format!(
            "{file} holds nothing to make a case of"
        )));
    }
    for base in files.keys() {
        for file in [with(base, "json"), with(base, "golden")] {
            if fs::symlink_metadata(&file).is_ok() {
                let message = format!("{} is there already", file.display());
                return Err(Failure::new(Exit::Conflict, message).hint("take another --prefix"));
            }
        }
    }
    for (base, made) in &files {
        write(&with(base, "json"), &made.input)?;
        write(&with(base, "golden"), &made.answer)?;
    }
    let count = |seam| files.values().filter(|made| made.seam == seam).count();
    writeln!(
        out,
        "{} cases in {}, {} in {}: read them before you commit them",
        count("status"),
        args.out.join("status").display(),
        count("decide"),
        args.out.join("decide").display(),
    )?;
    Ok(())
}

/// Refuses a prefix that is not part of a file's name.
fn check(prefix: &str) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let good = prefix.chars().all(allowed) && !prefix.starts_with('-');
    match good && (1..=LONGEST_PREFIX).contains(&prefix.len()) {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "--prefix {} is no part of a name: want at most {LONGEST_PREFIX} letters, digits, - and _, and no - at its begin",
            show(prefix)
        ))),
    }
}

/// Makes a case of an entry, if it is one of those that the suites know.
fn make(entry: &Entry, names: &mut Names) -> Result<Option<Made>, String> {
    match entry {
        Entry::Status { objects, .. } => {
            let anonymous = anonymous::objects(objects, names);
            let (outcome, answer) = case::status(&anonymous);
            same(case::status(objects).0, outcome)?;
            same(&objects.fold().why, &anonymous.fold().why)?;
            Ok(Some(Made {
                seam: "status",
                outcome,
                input: anonymous.write().into(),
                answer,
            }))
        }
        Entry::Decision { case, .. } => decided(case, names),
        Entry::Other => Ok(None),
    }
}

/// Services are left out: their names are made of one that is not kept.
fn decided(case: &Case, names: &mut Names) -> Result<Option<Made>, String> {
    let members = case.members.iter();
    let members = members.map(|objects| anonymous::objects(objects, names));
    let anonymous = Case {
        members: members.collect(),
        services: None,
        ..case.clone()
    };
    let bare = Case {
        services: None,
        ..case.clone()
    };
    let (Some(before), Some(group)) = (bare.decide(), anonymous.group()) else {
        return Ok(None);
    };
    let decision = anonymous.decide_on(&group);
    same(before.rule, decision.rule)?;
    same(case::outcome(&before), case::outcome(&decision))?;
    Ok(Some(Made {
        seam: "decide",
        outcome: case::outcome(&decision),
        input: anonymous.write().into(),
        answer: case::pass(group.phase(), &decision),
    }))
}

fn same<T: PartialEq>(before: T, after: T) -> Result<(), String> {
    match before == after {
        true => Ok(()),
        false => Err("it means something else once its names are others".to_owned()),
    }
}

/// Two cases of one pod with this in common are alike: versions, and the moment, aside.
fn likeness(made: &Made) -> String {
    let mut answer = made.answer.clone();
    if let Some(status) = answer["status"].as_object_mut() {
        status.remove("statusVersion");
    }
    let uid = &made.input["pod"]["metadata"]["uid"];
    format!("{} {uid} {answer}", made.seam)
}

/// A file's name with an ending; the name itself has no dot.
fn with(base: &Path, ending: &str) -> PathBuf {
    base.with_extension(ending)
}

fn write(path: &Path, value: &Value) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        writeln!(file, "{value:#}")
    };
    write().map_err(|error| {
        let message = format!("cannot write {}: {error}", path.display());
        Failure::new(Exit::Failed, message)
    })
}
