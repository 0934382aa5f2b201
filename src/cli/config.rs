//! Reads the configuration file and the pod templates it names; everything else about it is in `crate::config`.

use std::collections::BTreeMap;
use std::path::Path;

use super::exit::Failure;
use crate::config::{self, Config, Problem, Settings};

/// Reads and checks a configuration.
///
/// # Errors
/// Everything that is wrong with it, files that cannot be read included.
pub fn load(path: &Path) -> Result<Settings, Failure> {
    let config = read(path)?;
    let files = templates(&config);
    config
        .resolve(&files)
        .map_err(|problems| invalid(path, &problems))
}

/// Reads a configuration and makes do with what is right about it.
///
/// # Errors
/// A file that cannot be read, or whose values cannot be told apart.
pub fn load_lenient(path: &Path) -> Result<Settings, Failure> {
    let config = read(path)?;
    let files = templates(&config);
    Ok(config.resolve_lenient(&files))
}

fn read(path: &Path) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    config::parse(&text).map_err(|problems| invalid(path, &problems))
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
