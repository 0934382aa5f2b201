//! The configuration: from text to values or all of its problems. It never opens a file.
//!
//! The file is the classic manager's with a few blocks of our own; docs/configuration.md lists the keys. Reading has
//! two steps: [`parse`] reads the JSON, [`Config::check`] gets the contents of the files in it and reports every
//! problem at once.

use std::cell::{LazyCell, RefCell};
use std::rc::Rc;

use jiff::Timestamp;

use crate::json::{self, join};
use crate::spelling::nearest;

pub mod broker;
mod certificates;
mod check;
mod classes;
mod content;
mod endpoints;
mod faults;
mod fields;
mod file;
mod files;
mod format;
mod key;
mod keys;
mod limits;
mod named_file;
mod nodes;
mod problem;
mod reference;
mod renew;
mod rule;
mod schema;
mod sessions;
mod settings;
mod syntax;

use faults::is_within;
use fields::{Fields, Findings, Unknown};
use file::File;
use key::Entry;
pub use named_file::{Contents, NamedFile, Role};
pub use nodes::nodes;
pub use problem::{Problem, Severity};
pub use reference::reference;
pub use schema::schema;
pub use settings::{
    Broker, Class, ClientAuth, Daemon, Git, GitpodNodes, Guest, ImageBuilder, Kubernetes, Manager,
    MessageBus, Nodes, Processes, Pvc, RateLimit, Recreation, Resources, Rpc, Services, Settings,
    SimulatedNode, Store, Templates, Timeouts, Tls, UnknownClass,
};

/// A parsed configuration file.
#[derive(Debug, Clone, Default)]
pub struct Config {
    file: File,
    files: Vec<NamedFile>,
    /// Unknown keys, wrong types, missing keys, keys without effect.
    problems: Vec<Problem>,
}

/// Parses the text of a configuration file (JSON).
///
/// # Errors
/// A syntax error with its line and column; [`Config::check`] reports everything else.
pub fn parse(text: &str) -> Result<Config, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (value, twice) =
        json::read(text).map_err(|error| Problem::error("", syntax::explain(text, &error)))?;
    let findings = Rc::new(RefCell::new(Findings::default()));
    let mut fields = Fields::new("", value, &findings);
    let file = keys::file(&mut fields);
    fields.finish();
    let findings = findings.take();
    let mut problems = findings.problems;
    // A pair of keys that exclude each other is one problem; those of its values follow.
    let repeated = twice.iter().cloned().collect();
    problems.retain(|problem| !is_within(&problem.path, &repeated));
    problems.extend(
        twice
            .into_iter()
            .map(|path| Problem::error(path, "is given more than once; keep one".to_owned())),
    );
    let known = LazyCell::new(keys::outline);
    problems.extend(findings.unknown.iter().map(|key| unknown(key, &known)));
    Ok(Config {
        file,
        files: findings.files,
        problems,
    })
}

impl Config {
    /// Returns the files in it.
    pub fn files(&self) -> &[NamedFile] {
        &self.files
    }

    /// Converts all values and reports every problem: types, unknown keys, rules, and the contents of the files.
    /// The settings can be used unless a problem is an error; invalid values are missing in them and reported when
    /// a pod is built from them. Certificates must be valid at `now`.
    pub fn check(self, contents: &Contents, now: Timestamp) -> (Settings, Vec<Problem>) {
        check::settings(self.file, &self.files, self.problems, contents, now)
    }
}

/// Returns the problem of an unknown key, with a suggestion.
fn unknown(key: &Unknown, outline: &[Entry]) -> Problem {
    let elsewhere = || {
        let named = |entry: &&Entry| entry.key.name.eq_ignore_ascii_case(&key.name);
        let mut places = outline.iter().filter(named);
        // A name that is a key in many objects suggests nothing.
        places.next().filter(|_| places.next().is_none())
    };
    let advice = if let Some(near) = nearest(&key.name, key.known.iter().copied()) {
        format!("did you mean {near:?}?")
    } else if let Some(entry) = elsewhere() {
        format!("did you mean \"{}\"?", entry.path)
    } else if key.known.is_empty() || key.known.len() > 12 {
        "remove it".to_owned()
    } else {
        format!("remove it; known here: {}", key.known.join(", "))
    };
    Problem::error(join(&key.path, &key.name), format!("unknown key; {advice}"))
}

#[cfg(test)]
mod tests;
