//! Imports between files: no circles, but those of a module and its parent.

use std::collections::{BTreeMap, BTreeSet};

use super::{code_lines, root_dir, sources};

type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn files_do_not_import_each_other_in_circles() {
    let all = graph();
    // What a child takes from a module above it is no circle, unless others are part of it.
    let downwards: Graph = all
        .iter()
        .map(|(file, used)| {
            let used = used.iter().filter(|used| !is_above(used, file));
            (file.clone(), used.cloned().collect())
        })
        .collect();
    let is_family = |circle: &BTreeSet<String>| {
        circle
            .iter()
            .any(|top| circle.iter().all(|file| file == top || is_above(top, file)))
    };
    let wider = circles(&all)
        .into_iter()
        .filter(|circle| !is_family(circle));
    let found: Vec<_> = circles(&downwards)
        .into_iter()
        .chain(wider)
        .map(|circle| circle.into_iter().collect::<Vec<_>>().join(" "))
        .collect();
    assert!(
        found.is_empty(),
        "circles of imports:\n{}",
        found.join("\n")
    );
}

#[test]
fn paths_are_found_in_code() {
    let known = ["a", "a/b", "a/c", "d"].map(str::to_owned).into();
    let paths = |line: &str| {
        let found = paths(line).into_iter();
        let mut found: Vec<_> = found
            .filter_map(|path| file_of("a/b", &path, &known))
            .collect();
        found.sort();
        found.join(" ")
    };
    assert_eq!(
        paths("use crate::a::{self, c::{X, Y}}; let z = crate::d::z();"),
        "a a/c a/c d"
    );
    assert_eq!(paths("use super::{c::X, Y}; use std::fmt;"), "a a/c");
    assert_eq!(
        paths("super::super::d::z(self::X, std::mem::take(y))"),
        "a/b d"
    );
}

/// Which files each file names.
fn graph() -> Graph {
    let sources: BTreeMap<String, String> = sources()
        .into_iter()
        .map(|(path, text)| {
            let path = path.strip_prefix(root_dir().join("src")).unwrap();
            (path.with_extension("").display().to_string(), text)
        })
        .filter(|(file, _)| file != "lib" && file != "main")
        .collect();
    let known = sources.keys().cloned().collect();
    let used = |file: &str, text: &str| {
        let code: Vec<_> = code_lines(text).map(|(_, line)| line).collect();
        // Who may see something is no import.
        let code = code.join(" ").replace("pub(in crate::", "pub(in ");
        let mut used: BTreeSet<_> = paths(&code)
            .iter()
            .filter_map(|path| file_of(file, path, &known))
            .collect();
        used.remove(file);
        used
    };
    let used = sources
        .iter()
        .map(|(file, text)| (file.clone(), used(file, text)));
    used.collect()
}

/// The paths in code, with the groups of `use` taken apart.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut path, mut above) = (String::new(), Vec::new());
    for c in code.chars().chain([';']) {
        match c {
            c if c.is_alphanumeric() || c == '_' || c == ':' => path.push(c),
            '{' if path.ends_with("::") => {
                above.push(path.clone());
            }
            _ => {
                let is_prefix = above.last() == Some(&path);
                if path.contains("::") && !is_prefix {
                    found.push(path.clone());
                }
                if c == '}' {
                    above.pop();
                }
                if c == ';' {
                    above.clear();
                }
                path = above.last().cloned().unwrap_or_default();
            }
        }
    }
    found
}

/// The file that a path in `file` names, or is in.
fn file_of(file: &str, path: &str, known: &BTreeSet<String>) -> Option<String> {
    let mut place: Vec<&str> = file.split('/').collect();
    let mut names = path.split("::").peekable();
    match names.peek().copied() {
        Some("crate") => {
            names.next();
            place.clear();
        }
        Some("self") => drop(names.next()),
        Some("super") => {
            while names.next_if_eq(&"super").is_some() {
                place.pop();
            }
        }
        // A child by its name, or another crate.
        Some(name) if known.contains(&format!("{file}/{name}")) => {}
        _ => return None,
    }
    for name in names {
        place.push(name);
        if !known.contains(&place.join("/")) {
            place.pop();
            break;
        }
    }
    Some(place.join("/")).filter(|place| known.contains(place))
}

fn is_above(module: &str, file: &str) -> bool {
    let rest = file.strip_prefix(module);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// Returns the sets of files each of which reaches all others of its set.
fn circles(graph: &Graph) -> Vec<BTreeSet<String>> {
    let reached: Graph = graph
        .keys()
        .map(|file| (file.clone(), reach(graph, file)))
        .collect();
    let circle = |file: &String| -> BTreeSet<String> {
        let back = |other: &&String| reached[*other].contains(file);
        reached[file].iter().filter(back).cloned().collect()
    };
    let all: BTreeSet<_> = reached.keys().map(circle).collect();
    all.into_iter().filter(|circle| circle.len() > 1).collect()
}

fn reach(graph: &Graph, from: &str) -> BTreeSet<String> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        for used in &graph[file] {
            if seen.insert(used.clone()) {
                next.push(used);
            }
        }
    }
    seen
}
