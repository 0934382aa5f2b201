//! Keeps a container waiting until it is released, and then runs its command or ends.
//!
//! The release is a file in the hold directory, with variables to add to the environment, each ended by a NUL as in
//! `/proc/self/environ`. The first release stands: the file is whole when it appears, and never changes. A container
//! that starts again finds it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Where the release is unless another directory is named: below the directory that stands for `/`, where a container
/// is a process beside others.
const DIRECTORY: &str = "run/wsman-hold";
const ROOT: &str = "WSMAN_ROOTFS";
/// The annotation that releases where exec is not permitted.
pub const ANNOTATION: &str = "wsman.dev/released-at";
const RELEASED: &str = "released";
/// How often the release is looked for: a `stat` costs microseconds.
const INTERVAL: Duration = Duration::from_millis(20);
/// How often the file with annotations is read; the kubelet writes it about once a minute.
const FILE_INTERVAL: Duration = Duration::from_secs(1);
/// The exit code after SIGTERM.
const TERMINATED: i32 = 143;

/// Why a container cannot wait, or cannot be released.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The hold directory cannot be used.
    #[error("cannot use the hold directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SIGTERM would be lost.
    #[error("cannot handle SIGTERM: {0}")]
    Signal(io::Error),
    /// A variable of a release has no valid name.
    #[error("--env {0:?}: must be NAME=VALUE")]
    Variable(OsString),
    /// The file of the release is none.
    #[error("{} is no release: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
}

/// A variable for the command.
type Variable = (OsString, OsString);

/// Waits for the release in `directory`, or in the annotations in `file`, and runs `command` in place of this process.
/// Without a command it succeeds.
pub fn hold(directory: &Path, file: Option<&Path>, key: &str, command: &[OsString]) -> ExitCode {
    let variables = match wait(directory, file, key) {
        Ok(variables) => variables,
        Err(error) => {
            eprintln!("wsman-guest: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Some((program, args)) = command.split_first() else {
        return ExitCode::SUCCESS;
    };
    let error = Command::new(program).args(args).envs(variables).exec();
    eprintln!("wsman-guest: cannot run {program:?}: {error}");
    // As a shell, which has a code for each.
    ExitCode::from(match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    })
}

/// The hold directory that is named, or that of the container.
pub fn directory(named: Option<PathBuf>) -> PathBuf {
    let root = || std::env::var_os(ROOT).map_or_else(|| "/".into(), PathBuf::from);
    named.unwrap_or_else(|| root().join(DIRECTORY))
}

fn wait(directory: &Path, file: Option<&Path>, key: &str) -> Result<Vec<Variable>, HoldError> {
    // Process 1 gets no signal that it does not ask for. The command has the default again.
    let always = Arc::new(AtomicBool::new(true));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, TERMINATED, always.clone())
            .map_err(HoldError::Signal)?;
    }
    let cannot = |source| HoldError::Directory {
        path: directory.to_owned(),
        source,
    };
    fs::create_dir_all(directory).map_err(cannot)?;
    let mut read_at = None::<Instant>;
    loop {
        match fs::read(directory.join(RELEASED)) {
            Ok(bytes) => return variables(&directory.join(RELEASED), bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(error)),
        }
        let due = read_at.is_none_or(|at| at.elapsed() >= FILE_INTERVAL);
        if let Some(file) = file.filter(|_| due) {
            read_at = Some(Instant::now());
            // The kubelet may not have written it yet.
            if fs::read(file).is_ok_and(|text| is_annotated(&text, key)) {
                return Ok(Vec::new());
            }
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Whether the annotation has a value, in a file of the downward API: lines of `key="value"`.
fn is_annotated(text: &[u8], key: &str) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.any(|line| {
        let value = line.strip_prefix(key.as_bytes());
        let value = value.and_then(|rest| rest.strip_prefix(b"=\""));
        value.is_some_and(|value| !value.starts_with(b"\""))
    })
}

fn variables(path: &Path, bytes: Vec<u8>) -> Result<Vec<Variable>, HoldError> {
    let malformed = |why| HoldError::Malformed {
        path: path.to_owned(),
        why,
    };
    let Some(whole) = bytes.strip_suffix(b"\0") else {
        return match bytes.is_empty() {
            true => Ok(Vec::new()),
            false => Err(malformed("its last variable is not ended")),
        };
    };
    let all = whole.split(|byte| *byte == 0);
    all.map(|one| parse(OsStr::from_bytes(one)).ok_or_else(|| malformed("a variable has no name")))
        .collect()
}

/// Name and value of `NAME=VALUE`.
fn parse(text: &OsStr) -> Option<Variable> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    (at > 0).then(|| (part(&bytes[..at]), part(&bytes[at + 1..])))
}

/// Releases what waits on `directory`, with these variables; returns whether it was not released before.
///
/// # Errors
/// If a variable is invalid, or the directory cannot be written.
pub fn release(directory: &Path, variables: &[OsString]) -> Result<bool, HoldError> {
    if let Some(wrong) = variables.iter().find(|one| parse(one).is_none()) {
        return Err(HoldError::Variable(wrong.clone()));
    }
    let cannot = |source| HoldError::Directory {
        path: directory.to_owned(),
        source,
    };
    fs::create_dir_all(directory).map_err(cannot)?;
    let mut content = Vec::new();
    for variable in variables {
        content.extend(variable.as_bytes());
        content.push(0);
    }
    let own = directory.join(format!(".release-{}", std::process::id()));
    let written = File::create(&own).and_then(|mut file| file.write_all(&content));
    // A link fails where a file is, so that the first of two releases stands.
    let linked = written.and_then(|()| fs::hard_link(&own, directory.join(RELEASED)));
    let _ = fs::remove_file(&own);
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(cannot(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_with_a_value_releases() {
        let text = b"a=\"b\"\nwsman.dev/released-at=\"2026-01-01T00:00:00Z\"\n";
        assert!(is_annotated(text, ANNOTATION));
        for text in [
            "wsman.dev/released-at=\"\"\n",
            "x-wsman.dev/released-at=\"y\"\n",
            "note=\"\\nwsman.dev/released-at=\\\"y\\\"\"\n",
            "",
        ] {
            assert!(!is_annotated(text.as_bytes(), ANNOTATION), "{text}");
        }
    }

    #[test]
    fn a_release_has_variables_or_is_none() {
        let read = |bytes: &[u8]| variables(Path::new("f"), bytes.to_vec()).ok();
        assert_eq!(read(b""), Some(Vec::new()));
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        assert_eq!(
            read(b"A=1\n2\0B==\0"),
            Some(vec![pair("A", "1\n2"), pair("B", "=")])
        );
        for wrong in [&b"A=1"[..], b"=1\0", b"A\0", b"\0"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
