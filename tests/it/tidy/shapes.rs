//! Files: each says what it is for, is not too long, is compiled, and has nothing left undone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{files, root_dir, sources};

/// Longest file. Around 300 lines is good, 500 is a question.
const LINES: usize = 500;

#[test]
fn files_have_one_purpose_and_say_it() {
    let mut faults = Vec::new();
    for (path, text) in sources()
        .into_iter()
        .chain(files("proto"))
        .chain(files("sim"))
        .chain(files("tests"))
    {
        let lines = text.lines().count();
        if !text.starts_with("//! ") {
            faults.push(format!(
                "{}: does not open with a `//!` sentence",
                path.display()
            ));
        }
        if lines > LINES {
            faults.push(format!(
                "{}: {lines} lines, more than {LINES}",
                path.display()
            ));
        }
    }
    assert!(faults.is_empty(), "files:\n{}", faults.join("\n"));
}

#[test]
fn every_file_is_compiled() {
    for (root, main) in [
        ("src", "lib.rs"),
        ("proto/src", "lib.rs"),
        ("sim/src", "lib.rs"),
        ("tests/it", "main.rs"),
    ] {
        let declared: BTreeSet<String> = files(root)
            .iter()
            .flat_map(|(path, text)| children(root, path, text))
            .collect();
        for (path, _) in files(root) {
            let relative = path
                .strip_prefix(root_dir().join(root))
                .unwrap()
                .to_string_lossy()
                .into_owned();
            if relative != main && relative != "main.rs" {
                assert!(
                    declared.contains(&relative),
                    "{root}/{relative} is declared by no module"
                );
            }
        }
    }
}

#[test]
fn nothing_is_left_undone() {
    let words = [
        "TO".to_owned() + "DO",
        "FIX".to_owned() + "ME",
        "XX".to_owned() + "X",
    ];
    for (path, text) in sources()
        .into_iter()
        .chain(files("proto"))
        .chain(files("sim"))
        .chain(files("tests"))
    {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{}: {word}", path.display());
        }
    }
}

/// Paths, relative to `root`, that the `mod` lines of a file declare.
fn children(root: &str, path: &Path, text: &str) -> Vec<String> {
    let relative = path.strip_prefix(root_dir().join(root)).unwrap();
    let folder = match relative.file_name().and_then(|name| name.to_str()) {
        Some("lib.rs" | "main.rs") => PathBuf::new(),
        _ => relative.with_extension(""),
    };
    let declared = text.lines().filter_map(|line| {
        let line = line
            .trim()
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub(super) ")
            .trim_start_matches("pub(in crate::cli) ")
            .trim_start_matches("pub ");
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    declared
        .map(|name| {
            folder
                .join(format!("{name}.rs"))
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}
