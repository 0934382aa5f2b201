//! The schema agrees with the reader and the checks: for every case in testdata/config, for every key with many values,
//! and for keys that depend on each other.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::{Problem, Severity};
use crate::golden;
use crate::json::join;

mod values;

/// Rules that a schema cannot express: a part of the problem's text, and why. The tests meet each of them.
const BEYOND: [(&str, &str); 18] = [
    (FILES, "does not read the files that are named"),
    ("which another makes", "does not add numbers to names"),
    ("takes already", "does not compare several addresses"),
    ("must not be more than", "does not compare two quantities"),
    ("must not be less than", "does not compare two durations"),
    (
        "there is no such class",
        "does not compare a value with keys",
    ),
    ("more than a hundred years", "does not multiply two values"),
    (
        "it is too long; the longest",
        "does not add up numbers with units",
    ),
    ("it is too large", "does not multiply by a unit"),
    (
        "less than \"1Mi\"",
        "does not multiply by a unit, but refuses the usual slips",
    ),
    (
        "CPU is in cores",
        "does not multiply by a unit, but refuses the usual slips",
    ),
    ("must be a whole number", "takes 1.0 for a whole number"),
    (
        "which is no URL",
        "reads no URLs, but checks characters, scheme and variables",
    ),
    (
        "must be a URL such as",
        "reads no URLs, but checks characters and scheme",
    ),
    (
        "must be as browsers send it",
        "reads no URLs, but checks characters and scheme",
    ),
    (
        "must be host or host:port",
        "reads no hosts, but checks characters",
    ),
    (
        "but this kind needs it",
        "does not know which kind of node there is",
    ),
    (
        "is given more than once",
        "sees what a parser keeps of two equal keys",
    ),
];
const FILES: &str = "in the pod that the templates make";

/// Returns which of those a problem is.
fn beyond(problem: &Problem) -> Option<&'static str> {
    let known = BEYOND
        .iter()
        .map(|(part, _)| *part)
        .find(|part| problem.message.contains(part));
    known.or(problem.file.is_some().then_some(FILES))
}

/// Every problem that rejects a configuration.
fn errors(text: &str, files: &Value) -> Vec<Problem> {
    let mut problems = golden::resolve(text, files).err().unwrap_or_default();
    problems.retain(|problem| problem.severity == Severity::Error);
    problems
}

/// Returns a configuration with a key in it.
fn with(mut config: Value, path: &[&str], value: Value) -> Value {
    let (last, objects) = path.split_last().expect("a path");
    let mut at = &mut config;
    for name in objects {
        at = &mut at[*name];
    }
    at[*last] = value;
    config
}

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = jsonschema::draft202012::new(&schema());
    schema.expect("the schema compiles")
});

/// Compares the schema with the reader and the checks.
#[derive(Default)]
struct Judge {
    /// Which of [`BEYOND`] the schema accepted.
    met: BTreeSet<&'static str>,
    wrong: Vec<String>,
}

impl Judge {
    /// The schema rejects what the checks reject, except for what it cannot express, and nothing else.
    fn compare(&mut self, name: &str, config: &Value, errors: &[Problem]) {
        let accepted = SCHEMA.is_valid(config);
        let beyond: Option<Vec<&str>> = errors.iter().map(beyond).collect();
        match (accepted, beyond) {
            (true, Some(kinds)) => self.met.extend(kinds),
            (true, None) => self
                .wrong
                .push(format!("{name}: accepted in spite of {errors:?}")),
            (false, _) if errors.is_empty() => {
                let refused = SCHEMA.iter_errors(config);
                let why: Vec<String> = refused.map(|error| error.to_string()).collect();
                self.wrong.push(format!("{name}: refused, {why:?}"));
            }
            (false, _) => {}
        }
    }

    /// The schema reports each problem at the key, at the object that has it, or at one that lacks it.
    fn compare_places(&mut self, name: &str, config: &Value, errors: &[Problem]) {
        let refused = Self::refused(config);
        for problem in errors {
            let is_here = |path: &String| {
                let rest = problem.path.strip_prefix(path.as_str());
                rest.is_some_and(|rest| is_member(rest) || is_absent(problem))
            };
            match beyond(problem) {
                _ if refused.iter().any(is_here) => {}
                Some(kind) => _ = self.met.insert(kind),
                None => self
                    .wrong
                    .push(format!("{name}: {problem} is not among {refused:?}")),
            }
        }
    }

    /// The paths at which the schema rejects something, as in problems.
    fn refused(config: &Value) -> BTreeSet<String> {
        let path = |pointer: &str| {
            let (mut path, mut at) = (String::new(), config);
            for part in pointer.split('/').skip(1) {
                let part = part.replace("~1", "/").replace("~0", "~");
                (path, at) = match at.get(&part) {
                    Some(member) => (join(&path, &part), member),
                    None => (
                        format!("{path}[{part}]"),
                        &at[part.parse::<usize>().unwrap()],
                    ),
                };
            }
            path
        };
        let errors = SCHEMA.iter_errors(config);
        errors
            .map(|error| path(&error.instance_path().to_string()))
            .collect()
    }

    fn end(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

/// Whether the key is absent, and perhaps its object.
fn is_absent(problem: &Problem) -> bool {
    problem.message.starts_with("is missing") || problem.message.starts_with("has no class")
}

/// Whether the rest of a path is empty, or the name of one member.
fn is_member(rest: &str) -> bool {
    match rest.strip_prefix('[') {
        Some(quoted) => quoted.find(']') == Some(quoted.len() - 1),
        None => !rest.trim_start_matches('.').contains(['.', '[']),
    }
}

#[test]
fn it_is_a_schema_that_describes_every_key() {
    let schema = schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    let outline = keys::outline();
    for entry in &outline {
        let described = Outline(&outline).entry(entry);
        let text = described["description"].as_str().unwrap();
        assert!(
            text.starts_with(entry.key.doc) && text.ends_with('.'),
            "{text}"
        );
        assert_eq!(described["examples"].get(0), entry.key.example.as_ref());
        let mut alone = described.clone();
        alone["$defs"] = schema["$defs"].clone();
        if let Some(value) = entry.key.proposal() {
            assert!(
                jsonschema::draft202012::is_valid(&alone, value),
                "{}",
                entry.path
            );
        }
    }
    let timeouts = &schema["properties"]["manager"]["properties"]["timeouts"]["properties"];
    let text = timeouts["startup"]["description"].as_str().unwrap();
    assert!(text.contains("units: h, m, s"), "{text}");
    assert_eq!(timeouts["interrupted"]["default"], "0s");
}

#[test]
fn it_agrees_with_the_checks() {
    let mut judge = Judge::default();
    let mut count = 0;
    for (name, text, files) in cases() {
        let Ok(config) = serde_json::from_str(&text) else {
            assert_eq!(
                name, "syntax_INVALID",
                "no schema is asked about what is no JSON"
            );
            continue;
        };
        let errors = errors(&text, &files);
        judge.compare(&name, &config, &errors);
        judge.compare_places(&name, &config, &errors);
        count += 1;
    }
    assert!(count > 150, "{count}");

    let example = golden::example(&Value::Null);
    let twice = example
        .to_string()
        .replacen('{', "{\"content\": 1, \"content\": 2, ", 1);
    judge.compare("twice", &example, &errors(&twice, &Value::Null));

    let files = values::files();
    let mut seen = Vec::new();
    for base in values::bases() {
        assert_eq!(errors(&base.to_string(), &files), [], "{base}");
        for entry in keys::outline() {
            let path = values::path(&entry);
            for value in values::of(&entry, !seen.contains(&entry.shape)) {
                let name = format!("{} = {value}", entry.path);
                let config = with(base.clone(), &path, value);
                judge.compare(&name, &config, &errors(&config.to_string(), &files));
            }
            seen.push(entry.shape);
        }
    }
    for (part, why) in BEYOND {
        assert!(
            judge.met.contains(part),
            "{part:?} is not met; a schema {why}"
        );
    }
    judge.end();
}

/// Texts of configurations by the names of their cases, with their files.
fn cases() -> Vec<(String, String, Value)> {
    let mut cases = Vec::new();
    for (name, case) in golden::cases("config") {
        let files = case["files"].clone();
        let patched = |patch: &Value| golden::example(patch).to_string();
        match (&case["text"], &case["config"], &case["each"]) {
            (Value::String(text), _, _) => cases.push((name, text.clone(), files)),
            (_, config @ Value::Object(_), _) => cases.push((name, config.to_string(), files)),
            (_, _, Value::Object(each)) => {
                let each = each
                    .iter()
                    .map(|(part, patch)| (format!("{name}: {part}"), patched(patch)));
                cases.extend(each.map(|(name, text)| (name, text, files.clone())));
            }
            _ => cases.push((name, patched(&case["patch"]), files)),
        }
    }
    cases
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    let mut judge = Judge::default();
    let outline = keys::outline();
    let objects = outline.iter().filter(|entry| entry.shape.is_object());
    let paths: Vec<_> = objects
        .map(|entry| format!("{}.unknown", entry.path))
        .collect();
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths.iter().map(String::as_str).chain(["unknown"]) {
        let config = with(values::bases().remove(0), &values::names(path), json!("x"));
        let errors = errors(&config.to_string(), &values::files());
        assert_eq!(errors.len(), 1, "{path}: {errors:?}");
        judge.compare_places(path, &config, &errors);
    }
    judge.end();
}

#[test]
fn a_file_may_name_its_schema() {
    let mut config = golden::example(&Value::Null);
    config["$schema"] = json!("./config.schema.json");
    let (_, warnings) = golden::resolve(&config.to_string(), &Value::Null).unwrap();
    assert_eq!(warnings, []);
    assert!(SCHEMA.is_valid(&config));
    config["$schema"] = json!(7);
    let errors = errors(&config.to_string(), &Value::Null);
    assert_eq!(
        errors[0].to_string(),
        "$schema: is 7; must be a string, written as \"7\""
    );
    assert_eq!(
        Judge::refused(&config),
        BTreeSet::from(["$schema".to_owned()])
    );
}

proptest! {
    #[test]
    fn keys_that_go_together_are_judged_alike(
        base in 0..2_usize,
        changes in prop::collection::vec(any::<[prop::sample::Index; 2]>(), 2..5),
    ) {
        let outline = keys::outline();
        let mut config = values::bases().swap_remove(base);
        for [entry, value] in changes {
            let entry = entry.get(&outline);
            let path = values::path(entry);
            let (_, objects) = path.split_last().expect("a path");
            let object = objects.iter().try_fold(&config, |at, name| at.get(name));
            if object.is_some_and(Value::is_object) {
                let values = values::plausible(entry);
                config = with(config, &path, value.get(&values).clone());
            }
        }
        let mut judge = Judge::default();
        judge.compare("changed", &config, &errors(&config.to_string(), &values::files()));
        prop_assert_eq!(judge.wrong, [""; 0], "{}", config);
    }
}
