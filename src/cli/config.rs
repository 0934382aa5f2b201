//! Reads the configuration file and the files in it; `crate::config` does the rest.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::exit::Failure;
use crate::config::{self, Contents, NamedFile, Problem, Role, Settings, Severity};

/// Longest file, in bytes, as for a ConfigMap.
const LONGEST: u64 = 1 << 20;

/// Reads and checks a configuration for a verb that starts nothing: of the files in it, only pod templates matter.
///
/// # Errors
/// Every problem.
pub fn load(path: &Path) -> Result<Settings, Failure> {
    let content = Content::read_templates(path);
    let (settings, mut problems) = content.check();
    problems.retain(|problem| !problem.serving_only);
    content
        .accept(settings, problems)
        .map(|(settings, _)| settings)
}

/// Reads a configuration and ignores its problems.
///
/// # Errors
/// A file that cannot be read, or is not JSON.
pub fn load_lenient(path: &Path) -> Result<Settings, Failure> {
    let content = Content::read_templates(path);
    let (settings, problems) = content.check();
    settings.ok_or_else(|| content.refuse(&problems))
}

/// The configuration file and the files in it, as of one moment.
#[derive(Debug)]
pub struct Content {
    path: PathBuf,
    text: Result<String, String>,
    files: Contents,
    /// Paths of the pod templates among the files.
    templates: BTreeSet<String>,
}

impl Content {
    /// Reads every file that can be read.
    pub fn read(path: &Path) -> Self {
        Self::read_for(path, |_| true)
    }

    /// Reads the pod templates among the files: the others are elsewhere.
    pub(super) fn read_templates(path: &Path) -> Self {
        Self::read_for(path, |file| file.role == Role::Template)
    }

    /// Returns its text, and the files that it names.
    pub(super) fn named(&self) -> (&str, Vec<NamedFile>) {
        let text = self.text.as_deref().unwrap_or_default();
        let parsed = config::parse(text);
        (
            text,
            parsed.map_or_else(|_| Vec::new(), |parsed| parsed.files().to_vec()),
        )
    }

    /// Returns the contents of the files that were read.
    pub(super) fn files(&self) -> &Contents {
        &self.files
    }

    fn read_for(path: &Path, wanted: impl Fn(&NamedFile) -> bool) -> Self {
        let text = if is_stdin(path) {
            read_all(io::stdin().lock())
        } else {
            File::open(path).map_err(unreadable).and_then(read_all)
        };
        let config = text.as_ref().ok().and_then(|text| config::parse(text).ok());
        let named = config.iter().flat_map(|config| config.files());
        let named: Vec<_> = named.filter(|file| wanted(file)).collect();
        let files = named
            .iter()
            .map(|file| (file.path.clone(), read_named(file)));
        let templates = named.iter().filter(|file| file.role == Role::Template);
        Self {
            path: path.to_owned(),
            files: files.collect(),
            templates: templates.map(|file| file.path.clone()).collect(),
            text,
        }
    }

    /// Checks it. Without JSON there are no settings; without an error they can be used.
    pub fn check(&self) -> (Option<Settings>, Vec<Problem>) {
        let parsed = match &self.text {
            Ok(text) => config::parse(text),
            Err(why) => Err(Problem::error("", why.clone())),
        };
        match parsed {
            Ok(config) => {
                let (settings, problems) = config.check(&self.files, Timestamp::now());
                (Some(settings), problems)
            }
            Err(problem) => (None, vec![problem]),
        }
    }

    /// Returns the settings of a configuration without errors.
    ///
    /// # Errors
    /// Every problem.
    pub fn settings(&self) -> Result<Settings, Failure> {
        self.settings_and_warnings().map(|(settings, _)| settings)
    }

    /// Returns the settings of a configuration without errors, and its warnings.
    ///
    /// # Errors
    /// Every problem.
    pub fn settings_and_warnings(&self) -> Result<(Settings, Vec<Problem>), Failure> {
        let (settings, problems) = self.check();
        self.accept(settings, problems)
    }

    fn accept(
        &self,
        settings: Option<Settings>,
        problems: Vec<Problem>,
    ) -> Result<(Settings, Vec<Problem>), Failure> {
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

    /// Whether another read has the same configuration. Certificates and the like are read again where they are
    /// used.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let templates = |content: &Self| -> Contents {
            let templates = content.files.iter();
            let templates = templates.filter(|(path, _)| content.templates.contains(*path));
            templates
                .map(|(path, text)| (path.clone(), text.clone()))
                .collect()
        };
        self.text == other.text && templates(self) == templates(other)
    }
}

/// Whether a path means standard input.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Checks that only one file is standard input.
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

/// Returns the name of a configuration in messages.
pub fn name(path: &Path) -> String {
    if is_stdin(path) {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads a file of the configuration. TELEPRESENCE_ROOT is the prefix of template paths, for a manager outside of its
/// pod.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(path: &Path) -> String {
        let failure = Content::read(path).settings().unwrap_err();
        failure.message().replace(&path.display().to_string(), "it")
    }

    #[test]
    fn what_is_no_configuration_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let deep = [b"[".repeat(500), b"]".repeat(500)].concat();
        let huge = b" ".repeat(LONGEST as usize + 1);
        for (path, why) in [
            (
                folder.path().join("missing"),
                "it cannot be read: there is no such file",
            ),
            (folder.path().to_owned(), "it is a directory"),
            (PathBuf::from("/dev/zero"), "it is larger than 1 MiB"),
            (file("huge", &huge), "it is larger than 1 MiB"),
            (
                file("empty", b""),
                "it is empty; it must hold a JSON object",
            ),
            (
                file("latin", b"{\n\"a\": \"\xe9\"}"),
                "it is not UTF-8 in line 2",
            ),
            (
                file("wide", b"\xff\xfe{\0}\0"),
                "it is UTF-16; save it as UTF-8",
            ),
            (
                file("list", b"[]"),
                "it is a list; must be an object, written as { ... }",
            ),
            (
                file("yaml", b"manager:\n  namespace: x\n"),
                "it looks like YAML; only JSON is read",
            ),
            (
                file("deep", &deep),
                "it cannot be read as JSON, line 1, column 128: it is nested more than 127 levels deep",
            ),
        ] {
            assert_eq!(error_of(&path), why, "{}", path.display());
        }
    }

    #[test]
    fn a_mark_of_the_byte_order_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/example-config.json");
        let text = std::fs::read_to_string(example).unwrap();
        std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
        let (_, problems) = Content::read(&path).check();
        assert_eq!(problems, []);
    }

    #[test]
    fn named_files_are_opened_only_if_they_are_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/example-config.json");
        let text = std::fs::read_to_string(example).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let inside = |name: &str| folder.path().join(name).display().to_string();
        config["rpcServer"]["tls"] = serde_json::json!({
            "ca": folder.path(), "crt": "/dev/zero", "key": inside("missing"),
        });
        config["manager"]["workspaceClass"]["default"]["templates"]["defaultPath"] =
            inside("template.yaml").into();
        std::fs::write(&path, config.to_string()).unwrap();
        std::fs::write(inside("template.yaml"), "spec: {nodeSelecter: {}}").unwrap();
        let (_, problems) = Content::read(&path).check();
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let lines = lines
            .join("\n")
            .replace(&folder.path().display().to_string(), "DIR");
        assert_eq!(
            lines,
            "manager.workspaceClass.default.templates.defaultPath: DIR/template.yaml: \
             spec.nodeSelecter: unknown field; did you mean \"nodeSelector\"?\n\
             rpcServer.tls.ca: DIR: is a directory\n\
             rpcServer.tls.crt: /dev/zero: is no regular file\n\
             rpcServer.tls.key: DIR/missing: cannot be read: there is no such file"
        );
        // Verbs that start nothing read only templates.
        let failure = load(&path).unwrap_err();
        assert_eq!(failure.lines().len(), 1, "{failure:?}");
    }
}
