//! Layers: which modules a module may use.

use std::collections::BTreeMap;

use super::{code_lines, module, sources};

/// Modules that put everything together and may use all.
const SHELLS: [&str; 4] = ["cli", "daemon", "lib", "main"];

/// Which modules of ours a module may use.
pub(super) const LAYERS: [(&str, &[&str]); 40] = [
    ("error", &[]),
    ("duration", &[]),
    ("quantity", &[]),
    ("json", &[]),
    ("proto", &["json", "redact"]),
    ("redact", &[]),
    ("objects", &[]),
    ("action", &["objects"]),
    ("decision", &["action"]),
    ("names", &["redact"]),
    ("random", &["error"]),
    ("spans", &[]),
    ("retry", &[]),
    ("spelling", &[]),
    ("telemetry", &[]),
    ("tls", &[]),
    ("hub", &["clock", "decision", "index", "updates"]),
    ("window", &[]),
    ("clock", &[]),
    (
        "config",
        &[
            "redact",
            "duration",
            "error",
            "json",
            "names",
            "quantity",
            "sessions",
            "spelling",
            "tls",
            "workspaces",
            "proto",
        ],
    ),
    (
        "sessions",
        &[
            "action", "decision", "error", "index", "names", "objects", "outbox", "proto",
            "quantity", "redact", "updates",
        ],
    ),
    (
        "workspaces",
        &[
            "action", "config", "decision", "duration", "error", "index", "names", "objects",
            "outbox", "proto", "quantity", "redact", "spelling", "updates",
        ],
    ),
    ("history", &["proto"]),
    ("index", &["action", "decision", "objects", "updates"]),
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
    ("backups", &["config", "error", "proto", "workspaces"]),
    ("readiness", &[]),
    ("tasks", &["retry"]),
    ("rpc", &["clock", "config", "error", "proto", "tasks"]),
    ("http", &["error", "proto", "redact", "rpc"]),
    (
        "grpc",
        &[
            "action",
            "backups",
            "clock",
            "cluster",
            "config",
            "error",
            "hub",
            "index",
            "objects",
            "proto",
            "random",
            "retry",
            "rpc",
            "spans",
            "tasks",
            "tls",
            "leadership",
            "names",
            "sessions",
            "updates",
            "workspaces",
            "wsdaemon",
        ],
    ),
    ("wsdaemon", &["config", "objects", "proto"]),
    ("admin", &["readiness"]),
    (
        "server",
        &[
            "config",
            "http",
            "proto",
            "readiness",
            "rpc",
            "tasks",
            "tls",
        ],
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

#[test]
fn layers_hold() {
    let layers: BTreeMap<_, _> = LAYERS.into_iter().collect();
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let from = module(&path);
        if SHELLS.contains(&from.as_str()) {
            continue;
        }
        let Some(allowed) = layers.get(from.as_str()) else {
            faults.push(format!("{from} has no layer"));
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
