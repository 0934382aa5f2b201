//! Reads the configuration file and the files that it names; everything else about it is in `crate::config`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::exit::Failure;
use crate::config::{self, Contents, NamedFile, Problem, Role, Settings, Severity};

/// Longest file, in bytes; a ConfigMap holds no more.
const LONGEST: u64 = 1 << 20;

/// Reads and checks a configuration for a verb that starts nothing: of the files that it names, only pod templates
/// matter.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Settings, Failure> {
    Content::read_for(path, |file| file.role == Role::Template).settings()
}

/// Reads a configuration and makes do with what is right about it.
///
/// # Errors
/// A file that cannot be read, or is no JSON.
pub fn load_lenient(path: &Path) -> Result<Settings, Failure> {
    let content = Content::read_for(path, |file| file.role == Role::Template);
    let (settings, problems) = content.check();
    settings.ok_or_else(|| content.refuse(&problems))
}

/// The configuration file and the files it names, as they were read at one time.
#[derive(Debug)]
pub struct Content {
    path: PathBuf,
    text: Result<String, String>,
    files: Contents,
}

impl Content {
    /// Reads everything that can be read.
    pub fn read(path: &Path) -> Self {
        Self::read_for(path, |_| true)
    }

    fn read_for(path: &Path, wanted: impl Fn(&NamedFile) -> bool) -> Self {
        let text = if is_stdin(path) {
            read_all(io::stdin().lock())
        } else {
            File::open(path).map_err(unreadable).and_then(read_all)
        };
        let config = text.as_ref().ok().and_then(|text| config::parse(text).ok());
        let files = config.iter().flat_map(|config| config.files());
        let files = files
            .filter(|file| wanted(file))
            .map(|file| (file.path.clone(), read_named(file)))
            .collect();
        Self {
            path: path.to_owned(),
            text,
            files,
        }
    }

    /// Checks it. Settings are there unless it cannot be read as JSON; they are fit for use without an error.
    pub fn check(&self) -> (Option<Settings>, Vec<Problem>) {
        let parsed = match &self.text {
            Ok(text) => config::parse(text),
            Err(why) => Err(Problem::error("", why.clone())),
        };
        match parsed {
            Ok(config) => {
                let (settings, problems) = config.check(&self.files);
                (Some(settings), problems)
            }
            Err(problem) => (None, vec![problem]),
        }
    }

    /// Returns the settings of a configuration without errors.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn settings(&self) -> Result<Settings, Failure> {
        self.settings_and_warnings().map(|(settings, _)| settings)
    }

    /// Returns the settings of a configuration without errors, and its warnings.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn settings_and_warnings(&self) -> Result<(Settings, Vec<Problem>), Failure> {
        let (settings, problems) = self.check();
        match settings.filter(|_| problems.iter().all(|p| p.severity == Severity::Warning)) {
            Some(settings) => Ok((settings, problems)),
            None => Err(self.refuse(&problems)),
        }
    }

    /// Returns the failure that lists the errors.
    pub fn refuse(&self, problems: &[Problem]) -> Failure {
        let name = name(&self.path);
        let errors = problems.iter().filter(|p| p.severity == Severity::Error);
        let lines: Vec<String> = errors.map(ToString::to_string).collect();
        match problems {
            [one] if one.path.is_empty() => Failure::usage(format!("{name} {one}")),
            _ => Failure::usage(format!("{name} is not valid")).details(lines),
        }
    }

    /// Whether another reading gave the same configuration. Certificates and the like are read again by those who
    /// use them.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.text == other.text && self.files == other.files
    }
}

/// Whether a path stands for standard input.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Standard input can be read as one file only.
///
/// # Errors
/// If both are "-".
pub fn one_stdin(file: &Path, config: &Path) -> Result<(), Failure> {
    if is_stdin(file) && is_stdin(config) {
        return Err(Failure::usage(
            "FILE and --config are both \"-\"; standard input is only one of them",
        ));
    }
    Ok(())
}

/// Returns what a configuration is called in messages.
pub fn name(path: &Path) -> String {
    if is_stdin(path) {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads a named file. TELEPRESENCE_ROOT is put before the paths of templates, as a manager outside of its pod needs it.
fn read_named(file: &NamedFile) -> Result<String, String> {
    let root = match file.role {
        Role::Template => std::env::var("TELEPRESENCE_ROOT").unwrap_or_default(),
        _ => String::new(),
    };
    let path = format!("{root}{}", file.path);
    // Opening a pipe would wait for its other end.
    let kind = std::fs::metadata(&path).map_err(unreadable)?;
    if kind.is_dir() {
        return Err("is a directory".to_owned());
    }
    if !kind.is_file() {
        return Err("is no regular file".to_owned());
    }
    File::open(&path).map_err(unreadable).and_then(read_all)
}

fn read_all(source: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = source.take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err("is larger than 1 MiB".to_owned());
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("is UTF-16; save it as UTF-8".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|b| **b == b'\n');
        format!("is not UTF-8 in line {}", line.count() + 1)
    })
}

fn unreadable(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        io::ErrorKind::NotFound => "cannot be read: there is no such file".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}
