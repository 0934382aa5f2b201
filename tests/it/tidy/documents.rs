//! Documents and code say the same: references resolve, tests and paths are there, tables
//! are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::layers::LAYERS;
use super::{files, root_dir};
use crate::readme::anchor;

/// Most lines of README.md.
const README_LINES: usize = 200;

/// Most words of the glossary in src/lib.rs.
const WORDS: usize = 25;

/// Where people and programs refer to documents and faults.
const TEXTS: [&str; 13] = [
    ".ci",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.toml",
    "README.md",
    "benches",
    "build.rs",
    "docs",
    "proto",
    "scripts",
    "sim",
    "src",
    "tests",
];

/// Documents that the repository does not hold: nobody can look up their sections.
const ELSEWHERE: [&str; 3] = ["spec", "design", "reliability"];

#[test]
fn every_test_that_documents_name_is_there() {
    let mut faults = Vec::new();
    for (id, tests) in fault_table() {
        if tests.is_empty() {
            faults.push(format!("{id} names no test"));
        }
    }
    for document in ["docs/faults.md", "docs/architecture.md"] {
        for test in named_tests(&read(document)) {
            if !exists(test) {
                faults.push(format!("{document} names {test}, which is not there"));
            }
        }
    }
    assert!(faults.is_empty(), "documents:\n{}", faults.join("\n"));
}

#[test]
fn every_path_that_documents_name_is_there() {
    let roots = TEXTS.into_iter().chain(["testdata"]);
    let roots: Vec<String> = roots.map(|root| format!("{root}/")).collect();
    let mut faults = Vec::new();
    for (path, text) in texts() {
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let spans = text.lines().flat_map(spans);
        let named = spans.filter(|span| roots.iter().any(|root| span.starts_with(root)));
        for name in named.filter(|name| !name.contains(['*', '<', ' '])) {
            if !root_dir().join(name).exists() {
                faults.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "not there:\n{}", faults.join("\n"));
}

#[test]
fn the_layers_are_as_documented() {
    let text = read("docs/architecture.md");
    let section = text.split("## Layers").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1);
    let mut ranks = BTreeMap::new();
    for (rank, row) in rows.enumerate() {
        for module in spans(row.split('|').nth(2).unwrap()) {
            assert!(
                ranks.insert(module, rank).is_none(),
                "{module} is in two layers"
            );
        }
    }
    let map = read("src/lib.rs");
    let modules = map
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let modules: BTreeSet<&str> = modules.collect();
    assert_eq!(ranks.keys().copied().collect::<BTreeSet<_>>(), modules);
    for (module, allowed) in LAYERS {
        for used in allowed {
            let below = ranks[used] >= ranks[module];
            assert!(below, "{module} may use {used}, which stands above it");
        }
    }
}

#[test]
fn every_reference_resolves() {
    let known = fault_table();
    let mut headings = BTreeMap::new();
    let mut faults = Vec::new();
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}", path.display(), number + 1);
            for target in documents(line) {
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let there = headings
                    .entry(file.to_owned())
                    .or_insert_with(|| anchors(file));
                if !there.contains(heading) {
                    faults.push(format!("{place}: {target} is not there"));
                }
            }
            let ids = fault_ids(line)
                .into_iter()
                .filter(|id| !known.contains_key(id));
            faults.extend(ids.map(|id| format!("{place}: docs/faults.md does not have {id}")));
            if let Some(word) = elsewhere(line) {
                faults.push(format!("{place}: refers to a {word} that is not in docs/"));
            }
        }
    }
    assert!(faults.is_empty(), "references:\n{}", faults.join("\n"));
}

#[test]
fn every_row_that_explain_names_is_documented() {
    let protocol = read("docs/protocol.md");
    let documented: BTreeSet<&str> = protocol
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .flat_map(|cell| cell.split(", ").chain([cell]))
        .collect();
    let mut rows = BTreeSet::new();
    for (_, text) in files("src/workspaces/status") {
        rows.extend(quoted(&text).filter(|name| is_row(name)).map(str::to_owned));
    }
    let lifecycle = read("src/workspaces/decide.rs");
    let table = lifecycle.lines().map(str::trim);
    let table = table.filter_map(|line| line.strip_prefix("row(\"")?.split('"').next());
    rows.extend(table.map(str::to_owned));
    assert!(rows.len() > 30, "found too few rows: {rows:?}");
    let missing: Vec<_> = rows
        .iter()
        .filter(|row| !documented.contains(row.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/protocol.md has no row for {missing:?}"
    );
}

/// Names of rules are words in small letters; what else is so is a reason to wake up, or a message.
#[test]
fn every_rule_of_sessions_is_documented() {
    let protocol = read("docs/protocol.md");
    let documented: BTreeSet<&str> = protocol
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .collect();
    let mut rules = BTreeSet::new();
    for file in ["decide", "ending", "outcome", "queue"] {
        let text = read(&format!("src/sessions/{file}.rs"));
        let code = text.lines().filter(|line| !line.trim().starts_with("//"));
        let code = code.filter(|line| !line.contains("wake(") && !line.contains("\".to_owned()"));
        for line in code {
            let words = quoted(line).filter(|word| {
                !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == ' ')
            });
            rules.extend(words.map(str::to_owned));
        }
    }
    assert!(rules.len() > 15, "found too few rules: {rules:?}");
    let missing: Vec<_> = rules
        .iter()
        .filter(|rule| !documented.contains(rule.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/protocol.md has no row for {missing:?}"
    );
}

#[test]
fn the_readme_is_short_and_links_every_document() {
    let readme = read("README.md");
    let lines = readme.lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines");
    for entry in fs::read_dir(root_dir().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().display().to_string();
        let link = format!("](docs/{name})");
        assert!(
            readme.contains(&link),
            "README.md does not link docs/{name}"
        );
    }
}

#[test]
fn the_glossary_is_short() {
    let map = read("src/lib.rs");
    let glossary = map.split("//! # Glossary").nth(1).unwrap();
    let glossary = glossary.split("//! # ").next().unwrap();
    let words: Vec<_> = glossary
        .lines()
        .filter(|line| line.starts_with("//! - *"))
        .collect();
    assert!(
        !words.is_empty() && words.len() <= WORDS,
        "{} words",
        words.len()
    );
}

/// The ids of docs/faults.md, each with the tests of its row.
fn fault_table() -> BTreeMap<String, Vec<String>> {
    let text = read("docs/faults.md");
    let rows = text.lines().filter(|line| line.starts_with("| F-"));
    let mut table = BTreeMap::new();
    for row in rows {
        let id = row.trim_start_matches("| ").split(" |").next().unwrap();
        let tests = named_tests(row).map(str::to_owned).collect();
        let known = table.insert(id.to_owned(), tests);
        assert!(known.is_none(), "docs/faults.md: two rows of {id}");
    }
    table
}

/// The tests that a text names by their module paths.
fn named_tests(text: &str) -> impl Iterator<Item = &str> {
    let spans = text.lines().flat_map(spans);
    spans.filter(|span| span.contains("::"))
}

/// What a line has between backticks.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether a story or a unit test of this module path is there. The module `tests` may be in the file that it tests.
fn exists(test: &str) -> bool {
    let (module, name) = test.rsplit_once("::").unwrap();
    let parent = module.strip_suffix("::tests").unwrap_or(module);
    let file = |root: &str, module: &str| {
        root_dir().join(format!("{root}/{}.rs", module.replace("::", "/")))
    };
    if let Some(module) = module.strip_prefix("guest::") {
        let text = fs::read_to_string(file("guest/tests/it", module)).unwrap_or_default();
        return text.contains(&format!("fn {name}("));
    }
    let places: [PathBuf; 3] = [
        file("tests/it", module),
        file("src", module),
        file("src", parent),
    ];
    places
        .iter()
        .filter_map(|place| fs::read_to_string(place).ok())
        .any(|text| text.contains(&format!("fn {name}(")))
}

/// The anchors of a document's headings, and the empty one; none where there is no such document.
fn anchors(file: &str) -> BTreeSet<String> {
    let Ok(text) = fs::read_to_string(root_dir().join(file)) else {
        return BTreeSet::new();
    };
    let headings = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(anchor);
    headings.chain([String::new()]).collect()
}

/// What a line names of `docs/`, such as `docs/faults.md#streams`.
fn documents(line: &str) -> Vec<&str> {
    let places = line.match_indices("docs/").map(|(at, _)| &line[at..]);
    places
        .map(|rest| {
            let part = |c: char| c.is_ascii_alphanumeric() || "/._#-".contains(c);
            let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
            rest[..end].trim_end_matches('.')
        })
        .filter(|target| target.contains(".md"))
        .collect()
}

/// The faults that a line names, as an id or in the name of a test.
fn fault_ids(line: &str) -> Vec<String> {
    let digits = |text: &str| -> String { text.chars().take_while(char::is_ascii_digit).collect() };
    let mut ids = Vec::new();
    for (at, _) in line.match_indices("F-") {
        let within = line[..at].ends_with(|c: char| c.is_alphanumeric());
        let mut rest = line[at + 2..].chars();
        let group = rest.next().filter(char::is_ascii_uppercase);
        let number = digits(rest.as_str());
        if let (false, Some(group), false) = (within, group, number.is_empty()) {
            ids.push(format!("F-{group}{number}"));
        }
    }
    let name = line.split("fn ").nth(1).unwrap_or_default();
    for word in name.split('_') {
        let mut rest = word.strip_prefix('f').unwrap_or_default().chars();
        let group = rest.next().filter(char::is_ascii_lowercase);
        let number = digits(rest.as_str());
        match group {
            Some(group) if !number.is_empty() && number == rest.as_str() => {
                ids.push(format!("F-{}{number}", group.to_ascii_uppercase()));
            }
            _ => break,
        }
    }
    ids
}

/// The word that refers to a section of a document which is not here.
fn elsewhere(line: &str) -> Option<&'static str> {
    if line.contains('\u{a7}') {
        return Some("section");
    }
    let line = line.to_lowercase();
    ELSEWHERE.into_iter().find(|word| {
        line.match_indices(&format!("{word} ")).any(|(at, found)| {
            let alone = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            alone && line[at + found.len()..].starts_with(|c: char| c.is_ascii_digit())
        })
    })
}

/// The texts between quotation marks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('"').skip(1).step_by(2))
}

/// Whether this is what a row of a status is called: a letter and a number.
fn is_row(name: &str) -> bool {
    let number = name.strip_prefix(['F', 'P', 'S']).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Every text that may refer to something, with its path.
fn texts() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut places: Vec<PathBuf> = TEXTS.iter().map(|name| root_dir().join(name)).collect();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let entries = fs::read_dir(&place).unwrap();
            places.extend(
                entries
                    .map(|entry| entry.unwrap().path())
                    .filter(|path| is_ours(path)),
            );
        } else if let Ok(text) = fs::read_to_string(&place) {
            found.push((place, text));
        }
    }
    found
}

/// Recorded data refers to nothing of ours, and neither does what a package manager fetched.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name != "testdata" && name != "node_modules" && name != "target"
}

fn read(path: &str) -> String {
    fs::read_to_string(root_dir().join(path)).unwrap()
}
