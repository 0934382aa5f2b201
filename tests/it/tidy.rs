//! The rules of the repository that a compiler does not know: layers, purity, file shapes, documents.

mod documents;
mod imports;
mod layers;
mod shapes;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that take values and return values, beside those of nouns.
const PURE: [&str; 15] = [
    "action", "config", "decision", "duration", "error", "history", "index", "json", "lease",
    "objects", "outbox", "proto", "quantity", "redact", "window",
];

/// What pure code may not contain, and why.
const IMPURE: [(&str, &str); 12] = [
    (".await", "waits"),
    ("async fn", "waits"),
    ("tokio::", "waits"),
    ("Timestamp::now", "reads a clock"),
    ("SystemTime", "reads a clock"),
    ("Instant::now", "reads a clock"),
    ("kube::Client", "holds a client"),
    ("tonic::Status", "speaks gRPC"),
    ("std::fs", "reads files"),
    ("std::env", "reads the environment"),
    ("getrandom", "is not deterministic"),
    ("println!", "prints"),
];

/// What the simulated cluster does not name: it knows Kubernetes alone.
const OURS: [&str; 3] = ["workspace", "gitpod", "wsman::"];

/// The one file that starts the simulated cluster, which is another program.
const SIMULATE: &str = "src/cli/simulate.rs";

/// Modules that serve every noun: each registers in `daemon`, and these name none.
const NOUNLESS: [&str; 24] = [
    "action",
    "admin",
    "amqp",
    "clock",
    "cluster",
    "decision",
    "duration",
    "http",
    "hub",
    "index",
    "lease",
    "objects",
    "outbox",
    "quantity",
    "readiness",
    "redact",
    "retry",
    "rpc",
    "server",
    "spans",
    "tasks",
    "leadership",
    "updates",
    "window",
];

/// Words of a wire that a noun has, too.
const WIRES: [(&str, &str); 1] = [("amqp", "session")];

/// What code that serves every noun may not say, but for the name of a test.
#[test]
fn core_names_no_noun() {
    let nouns = nouns();
    assert!(nouns.values().any(|kind| kind == "workspace"), "{nouns:?}");
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !NOUNLESS.contains(&module(&path).as_str()) {
            continue;
        }
        for (number, line) in lines_without_tests(&text) {
            let line = line.to_lowercase();
            let of_wire = |noun: &String| WIRES.contains(&(module(&path).as_str(), noun));
            let nouns = nouns.values().filter(|noun| line.contains(*noun));
            for noun in nouns.filter(|noun| !of_wire(noun)) {
                faults.push(format!("{}:{number}: says `{noun}`", path.display()));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "what serves every noun names none:\n{}",
        faults.join("\n")
    );
}

#[test]
fn pure_modules_do_no_io() {
    let mut faults = Vec::new();
    let nouns = nouns();
    let pure = sources().into_iter().filter(|(path, _)| {
        let module = module(path);
        PURE.contains(&module.as_str()) || nouns.contains_key(&module)
    });
    // The codecs say to tonic what they could not read.
    let generated = files("proto/src")
        .into_iter()
        .filter(|(path, _)| !path.ends_with("wire.rs"));
    for (path, text) in pure.chain(generated) {
        for (number, line) in code_lines(&text) {
            let awaits = line.replace(".awaits", "");
            for (word, why) in IMPURE.iter().filter(|(word, _)| awaits.contains(word)) {
                faults.push(format!("{}:{number}: `{word}` {why}", path.display()));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "things are pure, protocols do IO:\n{}",
        faults.join("\n")
    );
}

/// An observer is called under the hub's lock: what implements one may hand over, and nothing else.
#[test]
fn observers_do_not_wait() {
    let mut found = 0;
    for (path, text) in sources() {
        let Some((_, body)) = text.split_once("Observer<Workspace> for ") else {
            continue;
        };
        found += 1;
        let body = body.split("\n}\n").next().unwrap();
        for word in [
            ".await", "blocking", ".lock()", "std::fs", "File::", "println!",
        ] {
            assert!(!body.contains(word), "{}: {word}", path.display());
        }
    }
    assert!(found > 0, "the trace log observes");
}

/// `tasks` has what is named and watched, what is cut with its owner, and what ends by itself.
#[test]
fn only_tasks_spawns() {
    // It is being rewritten.
    let known = "src/trace.rs";
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if path.ends_with("src/tasks.rs") || path.ends_with(known) {
            continue;
        }
        for (number, line) in code_lines(&text) {
            if ["tokio::spawn", "task::spawn("]
                .iter()
                .any(|word| line.contains(word))
            {
                faults.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "bare spawns:\n{}", faults.join("\n"));
}

#[test]
fn only_act_writes_to_the_cluster() {
    let writes = [
        "Method::POST",
        "Method::PATCH",
        "Method::PUT",
        "Method::DELETE",
        "Api::",
    ];
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let simulates = path.ends_with(SIMULATE);
        let acts = path.starts_with(root_dir().join("src/cluster/act"))
            || path.ends_with("src/cluster/act.rs");
        if simulates || acts {
            continue;
        }
        for (number, line) in code_lines(&text) {
            for write in writes.iter().filter(|write| line.contains(**write)) {
                faults.push(format!("{}:{number}: {write}", path.display()));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "only src/cluster/act writes to Kubernetes:\n{}",
        faults.join("\n")
    );
}

#[test]
fn the_simulated_cluster_is_another_program() {
    let mut faults = Vec::new();
    for (path, text) in files("sim") {
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            for word in OURS.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    // It depends on no crate of ours.
    let manifest = fs::read_to_string(root_dir().join("sim/Cargo.toml")).unwrap();
    faults.extend(
        manifest
            .lines()
            .filter(|line| line.contains("path ="))
            .map(|line| format!("sim/Cargo.toml: {line}")),
    );
    for (path, text) in sources() {
        if path.ends_with(SIMULATE) {
            continue;
        }
        for (number, _) in code_lines(&text).filter(|(_, line)| line.contains("wsman_sim")) {
            faults.push(format!("{}:{number}: wsman_sim", path.display()));
        }
    }
    assert!(
        faults.is_empty(),
        "sim knows Kubernetes alone, and only {SIMULATE} starts it:\n{}",
        faults.join("\n")
    );
}

#[test]
fn generated_code_has_one_door() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if path.ends_with("src/proto.rs") {
            continue;
        }
        for (number, _) in code_lines(&text).filter(|(_, line)| line.contains("wsman_proto")) {
            faults.push(format!("{}:{number}: wsman_proto", path.display()));
        }
    }
    assert!(
        faults.is_empty(),
        "src/proto.rs shows what is generated:\n{}",
        faults.join("\n")
    );
}

/// The lines of a file with code in them, without its tests.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = lines_without_tests(text).into_iter();
    lines.filter(|(_, line)| !line.starts_with("//"))
}

/// The lines of a file, trimmed and with their numbers, but for items that only tests have.
fn lines_without_tests(text: &str) -> Vec<(usize, &str)> {
    let mut kept = Vec::new();
    // How far an item of tests is indented.
    let mut skipped = None;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start().len();
        if skipped == Some(indent) && trimmed.ends_with([';', '}']) {
            skipped = None;
        } else if trimmed == "#[cfg(test)]" {
            skipped = Some(indent);
        } else if skipped.is_none() {
            kept.push((number + 1, trimmed));
        }
    }
    kept
}

#[test]
fn only_what_tests_have_is_skipped() {
    let text = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\n#[path = \"x\"]\nmod x {\n    fn c() {}\n}\n    // d\n";
    let lines: Vec<_> = lines_without_tests(text);
    assert_eq!(lines, [(1, "a"), (4, "b"), (10, "// d")]);
    assert_eq!(code_lines(text).collect::<Vec<_>>(), [(1, "a"), (4, "b")]);
}

/// The modules of nouns, and what one is called.
fn nouns() -> BTreeMap<String, String> {
    let kind = |text: &str| {
        let (_, rest) = text.split_once("const KIND: &'static str = \"")?;
        Some(rest.split('"').next()?.to_owned())
    };
    let registered = sources().into_iter();
    registered
        .filter_map(|(path, text)| Some((module(&path), kind(&text)?)))
        .collect()
}

/// The top-level module of a file in `src`.
fn module(path: &Path) -> String {
    let relative = path.strip_prefix(root_dir().join("src")).unwrap();
    let first = relative
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The files of `src` without test modules.
fn sources() -> Vec<(PathBuf, String)> {
    let is_test = |path: &Path| {
        path.components().any(|part| {
            matches!(
                part.as_os_str().to_str(),
                Some("tests" | "tests.rs" | "golden.rs")
            )
        })
    };
    files("src")
        .into_iter()
        .filter(|(path, _)| !is_test(path))
        .collect()
}

fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root_dir().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

fn root_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
