//! Words: code and documents have those of Kubernetes and gRPC, and no private ones.

use std::fs;
use std::path::PathBuf;

use super::{files, root_dir};

/// Words without a technical meaning, and the terms of the field for them.
const PRIVATE: [(&str, &str); 16] = [
    ("goodbye", "close, shutdown"),
    ("heard", "received"),
    ("hears", "receives"),
    ("journal", "LastActivity, record"),
    ("lest", "so that"),
    ("lineage", "start_uid"),
    ("patience", "timeout"),
    ("standing", "LeaseState"),
    ("tell", "publish, send, report, print"),
    ("tells", "publishes, sends, reports, prints"),
    ("tenure", "Leadership"),
    ("told", "published, sent, received, logged, printed"),
    ("verdict", "Decision, outcome"),
    ("verdicts", "decisions, outcomes"),
    ("whoever", "the caller, the client, the reader"),
    ("whom", "the caller, the client, the reader"),
];

#[test]
fn words_are_those_of_the_field() {
    let code = files("src").into_iter().chain(files("sim"));
    let mut faults = Vec::new();
    for (path, text) in code.chain(documents()) {
        for (number, line) in text.lines().enumerate() {
            for (word, instead) in PRIVATE {
                if words(line).any(|found| found == word) {
                    let number = number + 1;
                    faults.push(format!("{}:{number}: {word}: {instead}", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "private words:\n{}", faults.join("\n"));
}

#[test]
fn words_are_found_in_names_and_comments_but_not_in_texts() {
    let found = |line| words(line).collect::<Vec<_>>();
    assert_eq!(found("fn last_told(&self)"), ["fn", "last", "told", "self"]);
    assert_eq!(found("/// LeaseState tells."), ["lease", "state", "tells"]);
    assert_eq!(found("MAX_TOLD"), ["max", "told"]);
    assert_eq!(found(r#"rename = "told" // `told`"#), ["rename"]);
}

/// The words of a line in lower case, without texts and quoted names. Names are split at `_` and at capital letters.
fn words(line: &str) -> impl Iterator<Item = String> {
    let plain = outside(&outside(line, '"'), '`');
    let mut split = String::new();
    let mut last = ' ';
    for c in plain.chars() {
        if c.is_uppercase() && last.is_lowercase() {
            split.push(' ');
        }
        split.push(if c.is_alphabetic() { c } else { ' ' });
        last = c;
    }
    let words: Vec<_> = split.split_whitespace().map(str::to_lowercase).collect();
    words.into_iter()
}

/// What is outside of pairs of quotes.
fn outside(line: &str, quote: char) -> String {
    line.split(quote).step_by(2).collect::<Vec<_>>().join(" ")
}

fn documents() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root_dir().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let top = ["README.md", "CONTRIBUTING.md"].map(|name| root_dir().join(name));
    docs.chain(top)
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}
