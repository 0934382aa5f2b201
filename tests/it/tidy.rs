//! The rules of the repository that a compiler does not know: layers, purity, file shapes, documents.

mod documents;
mod shapes;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that take values and return values.
const PURE: [&str; 16] = [
    "action",
    "config",
    "decision",
    "duration",
    "error",
    "history",
    "index",
    "json",
    "lease",
    "objects",
    "outbox",
    "proto",
    "quantity",
    "redact",
    "window",
    "workspaces",
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

/// Which modules of ours a module may use. One that is not listed here may use all.
const LAYERS: [(&str, &[&str]); 33] = [
    ("error", &[]),
    ("duration", &[]),
    ("quantity", &[]),
    ("json", &[]),
    ("proto", &["json", "redact"]),
    ("redact", &[]),
    ("objects", &[]),
    ("action", &["objects"]),
    ("decision", &["action"]),
    ("retry", &[]),
    ("tls", &[]),
    ("window", &[]),
    ("clock", &[]),
    (
        "config",
        &[
            "redact",
            "duration",
            "error",
            "json",
            "quantity",
            "tls",
            "workspaces",
            "proto",
        ],
    ),
    (
        "workspaces",
        &[
            "action", "config", "decision", "duration", "error", "index", "objects", "outbox",
            "proto", "quantity", "redact", "updates",
        ],
    ),
    ("history", &["proto"]),
    ("index", &["action", "decision", "objects", "updates"]),
    ("hub", &["clock", "decision", "index", "updates"]),
    ("lease", &["action", "objects"]),
    ("updates", &[]),
    ("outbox", &["retry", "updates"]),
    ("leadership", &["clock", "lease"]),
    // It observes the index, and of nouns it knows what a case is made of.
    (
        "trace",
        &["clock", "index", "objects", "proto", "redact", "workspaces"],
    ),
    (
        "amqp",
        &["config", "outbox", "leadership", "retry", "tls", "updates"],
    ),
    ("readiness", &[]),
    ("spans", &[]),
    ("tasks", &["retry"]),
    ("rpc", &["clock", "config", "error", "proto", "tasks"]),
    ("http", &["error", "proto", "redact", "rpc"]),
    (
        "grpc",
        &[
            "action",
            "clock",
            "cluster",
            "config",
            "error",
            "hub",
            "index",
            "objects",
            "proto",
            "rpc",
            "spans",
            "tasks",
            "tls",
            "leadership",
            "updates",
            "workspaces",
        ],
    ),
    ("admin", &["readiness"]),
    (
        "server",
        &["config", "http", "proto", "readiness", "rpc", "tls"],
    ),
    (
        "cluster",
        &[
            "action",
            "clock",
            "decision",
            "error",
            "hub",
            "index",
            "lease",
            "objects",
            "readiness",
            "retry",
            "spans",
            "tasks",
            "leadership",
            "window",
        ],
    ),
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

/// What code that serves every noun may not say, but for the name of a test.
const NOUNS: [&str; 1] = ["workspace"];

#[test]
fn core_names_no_noun() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !NOUNLESS.contains(&module(&path).as_str()) {
            continue;
        }
        let before_tests = text.lines().take_while(|line| *line != "#[cfg(test)]");
        for (number, line) in before_tests.enumerate() {
            for noun in NOUNS.iter().filter(|n| line.to_lowercase().contains(**n)) {
                let number = number + 1;
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
    for (path, text) in sources()
        .iter()
        .filter(|(path, _)| PURE.contains(&module(path).as_str()))
    {
        if path.ends_with("src/proto.rs") {
            continue;
        }
        for (number, line) in code_lines(text) {
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
    assert_eq!(found, 1, "the trace log observes");
}

#[test]
fn layers_hold() {
    let layers: BTreeMap<_, _> = LAYERS.into_iter().collect();
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let from = module(&path);
        let Some(allowed) = layers.get(from.as_str()) else {
            continue;
        };
        for (number, line) in code_lines(&text) {
            for used in crate_modules(line) {
                if used != from && !allowed.contains(&used.as_str()) {
                    faults.push(format!(
                        "{}:{number}: {from} may not use {used}",
                        path.display()
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "layers:\n{}", faults.join("\n"));
}

#[test]
fn protocols_stand_on_rpc_and_not_on_each_other() {
    let ranks = BTreeMap::from([
        ("rpc", 0),
        ("grpc", 1),
        ("http", 1),
        ("admin", 1),
        ("server", 2),
    ]);
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let from = module(&path);
        let Some(rank) = ranks.get(from.as_str()) else {
            continue;
        };
        for (number, line) in code_lines(&text) {
            for used in crate_modules(line) {
                let above = ranks.get(used.as_str()).is_some_and(|used| used >= rank);
                if used != from && above {
                    faults.push(format!("{}:{number}: {from} uses {used}", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "protocols:\n{}", faults.join("\n"));
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

/// The modules that a line names with `crate::`.
fn crate_modules(line: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for part in line.split("crate::").skip(1) {
        if let Some(list) = part.strip_prefix('{') {
            let names = list
                .split([',', '}'])
                .map(|item| item.trim().split("::").next().unwrap_or_default());
            modules.extend(
                names
                    .filter(|name| !name.is_empty() && *name != ";")
                    .map(str::to_owned),
            );
        } else {
            modules.extend(
                part.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .map(str::to_owned),
            );
        }
    }
    modules
}

/// The lines of a file with code in them, without its tests.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.trim()));
    lines
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .filter(|(_, line)| !line.starts_with("//"))
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
