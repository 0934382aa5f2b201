//! Reads the configuration file and the pod templates it names; everything else about it is in `crate::config`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::exit::Failure;
use crate::config::{self, Config, Problem, Settings};

/// Reads and checks a configuration.
///
/// # Errors
/// Everything that is wrong with it, files that cannot be read included.
pub fn load(path: &Path) -> Result<Settings, Failure> {
    Content::read(path).settings()
}

/// The configuration file and its pod templates as they were read at one time.
#[derive(Debug, PartialEq, Eq)]
pub struct Content {
    path: PathBuf,
    text: Result<String, String>,
    templates: BTreeMap<String, Result<String, String>>,
}

impl Content {
    /// Reads everything that can be read.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let config = text.as_ref().ok().and_then(|text| config::parse(text).ok());
        Self {
            path: path.to_owned(),
            templates: config.map(|config| templates(&config)).unwrap_or_default(),
            text,
        }
    }

    /// Checks it.
    ///
    /// # Errors
    /// Everything that is wrong with it, files that could not be read included.
    pub fn settings(&self) -> Result<Settings, Failure> {
        parse(&self.path, &self.text)?
            .resolve(&self.templates)
            .map_err(|problems| invalid(&self.path, &problems))
    }
}

/// Reads a configuration and makes do with what is right about it.
///
/// # Errors
/// A file that cannot be read, or whose values cannot be told apart.
pub fn load_lenient(path: &Path) -> Result<Settings, Failure> {
    let Content {
        text, templates, ..
    } = Content::read(path);
    Ok(parse(path, &text)?.resolve_lenient(&templates))
}

fn parse(path: &Path, text: &Result<String, String>) -> Result<Config, Failure> {
    let text = text
        .as_ref()
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    config::parse(text).map_err(|problems| invalid(path, &problems))
}

fn invalid(path: &Path, problems: &[Problem]) -> Failure {
    let lines = problems.iter().map(ToString::to_string).collect();
    Failure::usage(format!("{} is not valid", path.display())).details(lines)
}

/// Reads the templates. TELEPRESENCE_ROOT is put before their paths, as a manager outside of its pod needs it.
fn templates(config: &Config) -> BTreeMap<String, Result<String, String>> {
    let root = std::env::var("TELEPRESENCE_ROOT").unwrap_or_default();
    let read = |path: &String| {
        std::fs::read_to_string(format!("{root}{path}")).map_err(|error| error.to_string())
    };
    config
        .files()
        .into_iter()
        .map(|path| (path.clone(), read(&path)))
        .collect()
}
