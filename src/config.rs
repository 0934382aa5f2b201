//! The configuration: from text to values or all of its problems. It never opens a file.
//!
//! The file is the classic manager's with a few blocks of our own; docs/configuration.md lists the keys. Reading has
//! two steps: [`parse`] reads the JSON, [`Config::check`] gets the contents of the files in it and reports every
//! problem at once.

use jiff::Timestamp;

pub mod broker;
mod certificates;
mod check;
mod classes;
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
mod problem;
mod reference;
mod renew;
mod rule;
mod schema;
mod settings;
mod syntax;

pub use named_file::{Contents, NamedFile, Role};
pub use problem::{Problem, Severity};
pub use reference::reference;
pub use schema::schema;
pub use settings::{
    Broker, Class, ClientAuth, DEFAULT_CLASS, Daemon, GitpodNodes, ImageBuilder, Kubernetes,
    Manager, MessageBus, Nodes, Pvc, RateLimit, Recreation, Resources, Rpc, Services, Settings,
    Templates, Timeouts, Tls, UnknownClass,
};

/// A parsed configuration file.
#[derive(Debug, Clone, Default)]
pub struct Config(file::Parsed);

/// Parses the text of a configuration file (JSON).
///
/// # Errors
/// A syntax error with its line and column; [`Config::check`] reports everything else.
pub fn parse(text: &str) -> Result<Config, Problem> {
    file::read(text).map(Config)
}

impl Config {
    /// Returns the files in it.
    pub fn files(&self) -> &[NamedFile] {
        &self.0.files
    }

    /// Converts all values and reports every problem: types, unknown keys, rules, and the contents of the files.
    /// The settings can be used unless a problem is an error; invalid values are missing in them and reported when
    /// a pod is built from them. Certificates must be valid at `now`.
    pub fn check(self, contents: &Contents, now: Timestamp) -> (Settings, Vec<Problem>) {
        check::settings(self.0, contents, now)
    }
}

#[cfg(test)]
mod tests;
