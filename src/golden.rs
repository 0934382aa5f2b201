//! Compares the result of a pure function with the files under testdata/; `UPDATE=1` rewrites them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::config::{self, Contents, Problem, Settings, Severity};

/// Runs all cases of a seam, each of whose members must be taken. `answer` gives the outcome, which the file's name must
/// end in, and what the golden holds.
pub(crate) fn check(seam: &str, answer: impl Fn(Case) -> (String, Value)) {
    check_whole(seam, |input| answer(Case::new(input.clone())));
}

/// Suffix of the name of a saved request that becomes a case.
const SAVED: &str = ".spec.json";

/// Makes cases of the saved requests in the folder of a seam, `cdwp_<behaviour>.spec.json`, if UPDATE is set. `case`
/// makes the input of a case, or returns why it cannot; `outcome` is the suffix of its name.
pub(crate) fn adopt(
    seam: &str,
    case: impl Fn(Value) -> Result<Value, String>,
    outcome: impl Fn(Case) -> String,
) {
    let folder = root().join("testdata").join(seam);
    adopt_in(&folder, std::env::var_os("UPDATE").is_some(), case, outcome);
}

/// As [`adopt`], in any folder.
pub(crate) fn adopt_in(
    folder: &Path,
    update: bool,
    case: impl Fn(Value) -> Result<Value, String>,
    outcome: impl Fn(Case) -> String,
) {
    for file in fs::read_dir(folder).expect("the folder exists") {
        let path = file.expect("the folder can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(behaviour) = name.strip_suffix(SAVED).filter(|b| b.starts_with("cdwp_")) else {
            continue;
        };
        let shown = path.display();
        assert!(update, "{shown} is no case yet: run with UPDATE=1");
        let saved = read(&path).unwrap_or_else(|| panic!("{shown} is no JSON"));
        let input = case(saved).unwrap_or_else(|why| panic!("{shown}: {why}"));
        let outcome = outcome(Case::new(input.clone()));
        let target = folder.join(format!("{behaviour}_{outcome}.json"));
        assert!(!target.exists(), "{} is there already", target.display());
        fs::write(&target, format!("{input:#}\n")).expect("testdata can be written");
        fs::remove_file(&path).expect("testdata can be written");
    }
}

/// Runs all cases of a seam on their whole input.
pub(crate) fn check_whole(seam: &str, answer: impl Fn(&Value) -> (String, Value)) {
    let folder = root().join("testdata").join(seam);
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for name in names(&folder) {
        let file = folder.join(format!("{name}.golden"));
        let input = read(&folder.join(format!("{name}.json"))).expect("a case is JSON");
        let (outcome, got) = answer(&input);
        if !name.ends_with(&format!("_{outcome}")) {
            wrong.push(format!("{seam}/{name}: the outcome is {outcome}"));
        }
        if update {
            fs::write(&file, format!("{got:#}\n")).expect("testdata can be written");
        } else if read(&file).as_ref() != Some(&got) {
            wrong.push(format!("{seam}/{name}: got {got:#}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the input of every case of a seam by its name.
pub(crate) fn cases(seam: &str) -> Vec<(String, Value)> {
    let folder = root().join("testdata").join(seam);
    let case = |name: String| {
        let input = read(&folder.join(format!("{name}.json"))).expect("a case is JSON");
        (name, input)
    };
    names(&folder).into_iter().map(case).collect()
}

/// The members of a case. All of them must be used: an unused one tests nothing.
pub(crate) struct Case(Map<String, Value>);

impl Case {
    fn new(value: Value) -> Self {
        match value {
            Value::Object(members) => Self(members),
            other => panic!("{other} is no case"),
        }
    }

    /// Takes a member, null if there is none.
    pub(crate) fn take(&mut self, key: &str) -> Value {
        self.0.remove(key).unwrap_or_default()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let keys: Vec<_> = self.0.keys().collect();
        assert!(
            keys.is_empty() || std::thread::panicking(),
            "not read: {keys:?}"
        );
    }
}

/// Returns example-config.json with `patch` merged into it (RFC 7396), its templates taken from `files`.
pub(crate) fn settings(patch: &Value, files: &Value) -> Result<Settings, Vec<Problem>> {
    resolve(&example(patch).to_string(), files).map(|(settings, _)| settings)
}

/// Returns example-config.json with `patch` merged into it (RFC 7396).
pub(crate) fn example(patch: &Value) -> Value {
    let mut config = read(&root().join("example-config.json")).expect("the example is JSON");
    if !patch.is_null() {
        json_patch::merge(&mut config, patch);
    }
    config
}

/// Reads and checks a configuration; returns its settings and warnings, or everything that is wrong with it.
pub(crate) fn resolve(text: &str, files: &Value) -> Result<(Settings, Vec<Problem>), Vec<Problem>> {
    let config = config::parse(text).map_err(|problem| vec![problem])?;
    let (settings, problems) = config.check(&contents(files), now());
    if problems.iter().any(|p| p.severity == Severity::Error) {
        Err(problems)
    } else {
        Ok((settings, problems))
    }
}

/// The time of the cases.
fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

/// Returns files as texts or, for convenience, as JSON; null is an unreadable file.
pub(crate) fn contents(files: &Value) -> Contents {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Err("cannot be read: there is no such file".to_owned()),
        other => Ok(other.to_string()),
    };
    let files = files.as_object().into_iter().flatten();
    files
        .map(|(path, value)| (path.clone(), text(value)))
        .collect()
}

/// Root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names of all cases; any other file in the folder would not be used.
fn names(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).expect("the folder exists");
    let files = files.map(|f| f.expect("the folder can be read").path());
    let (cases, rest): (Vec<PathBuf>, Vec<PathBuf>) =
        files.partition(|f| f.extension().is_some_and(|e| e == "json"));
    let stem = |f: &PathBuf| {
        f.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let names: BTreeSet<String> = cases.iter().map(stem).collect();
    for file in rest {
        let golden = file.extension().is_some_and(|e| e == "golden");
        assert!(
            golden && names.contains(&stem(&file)),
            "{} is not read",
            file.display()
        );
    }
    assert!(!names.is_empty(), "{} holds no case", folder.display());
    names
}

fn read(file: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(file).ok()?).ok()
}
