//! The environment of a workspace, in its exact order, and which variables are secret (docs/protocol.md#environment).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};

use super::initializer::checkout_locations;
use super::names;
use super::port::{IDE_PORT, SUPERVISOR_PORT};
use super::start_request::StartRequest;
use crate::config::{Class, Manager};
use crate::proto::wsman::{StartWorkspaceSpec, WorkspaceType};
use crate::quantity::Quantity;

/// GITPOD_ variables that a caller may set.
const ALLOWED: [&str; 8] = [
    "GITPOD_WORKSPACE_CONTEXT",
    "GITPOD_WORKSPACE_CONTEXT_URL",
    "GITPOD_TASKS",
    "GITPOD_RESOLVED_EXTENSIONS",
    "GITPOD_EXTERNAL_EXTENSIONS",
    "GITPOD_WORKSPACE_CLASS_INFO",
    "GITPOD_IDE_ALIAS",
    "GITPOD_RLIMIT_CORE",
];

/// A variable and the source of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    /// Its value or a reference.
    pub(super) source: Source,
}

/// The source of a variable's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// On the pod.
    Plain(String),
    /// In the workspace's Secret; this is its value there.
    Own(String),
    /// In an existing Secret.
    Existing {
        /// Name of the Secret.
        name: String,
        key: String,
    },
}

/// Returns the variables of a workspace. The pod and the Secret are both built from this list, so they always agree.
pub(super) fn build(
    request: &StartRequest,
    manager: &Manager,
    class: &Class,
    url: &str,
    cli_api_token: &str,
) -> Vec<Variable> {
    let spec = &request.spec;
    let roots: Vec<String> = checkout_locations(spec.initializer.as_ref())
        .into_iter()
        .map(workspace_path)
        .collect();
    let memory = class.requests.memory.as_ref().map_or(0, Quantity::value) / 1_000_000;
    let interval = manager.heartbeat_interval.as_nanos() / 1_000_000;
    let git = spec.git.clone().unwrap_or_default();
    let headless = request.kind != WorkspaceType::Regular;
    let before = [
        ("GITPOD_REPO_ROOT", roots[0].clone()),
        ("GITPOD_REPO_ROOTS", roots.join(",")),
        ("GITPOD_CLI_APITOKEN", cli_api_token.to_owned()),
        ("GITPOD_OWNER_ID", request.metadata.owner.clone()),
        ("GITPOD_WORKSPACE_ID", request.metadata.meta_id.clone()),
        ("GITPOD_INSTANCE_ID", request.id.clone()),
        ("GITPOD_THEIA_PORT", IDE_PORT.to_string()),
        (
            "THEIA_WORKSPACE_ROOT",
            workspace_path(&spec.workspace_location),
        ),
        ("GITPOD_HOST", manager.host_url.clone()),
        ("GITPOD_WORKSPACE_URL", url.to_owned()),
        (
            "GITPOD_WORKSPACE_CLUSTER_HOST",
            manager.cluster_host.clone(),
        ),
        ("GITPOD_WORKSPACE_CLASS", spec.class.clone()),
        ("THEIA_SUPERVISOR_ENDPOINT", format!(":{SUPERVISOR_PORT}")),
        (
            "THEIA_WEBVIEW_EXTERNAL_ENDPOINT",
            "webview-{{hostname}}".to_owned(),
        ),
        (
            "THEIA_MINI_BROWSER_HOST_PATTERN",
            "browser-{{hostname}}".to_owned(),
        ),
        ("GITPOD_GIT_USER_NAME", git.username),
        ("GITPOD_GIT_USER_EMAIL", git.email),
    ];
    let after = [
        ("GITPOD_INTERVAL", interval.to_string()),
        ("GITPOD_MEMORY", memory.to_string()),
        (
            "GITPOD_HEADLESS",
            if headless { "true" } else { "" }.to_owned(),
        ),
    ];
    let plain = |(name, value): (&str, String)| Variable {
        name: name.to_owned(),
        source: Source::Plain(value),
    };
    let mut all: Vec<Variable> = before.into_iter().map(plain).collect();
    all.extend(callers(spec));
    all.extend(after.into_iter().map(plain));
    let mut seen = BTreeSet::new();
    all.retain(|v| v.source != Source::Plain(String::new()));
    all.retain(|v| seen.insert(v.name.clone()));
    all
}

/// Returns the variables of the request: the system's first, then the user's.
fn callers(spec: &StartWorkspaceSpec) -> Vec<Variable> {
    let system: BTreeSet<&str> = spec
        .sys_envvars
        .iter()
        .map(|var| var.name.as_str())
        .collect();
    let own = |name: &str, value: &str, protected: bool| Variable {
        name: name.to_owned(),
        source: if protected && !value.is_empty() {
            Source::Own(value.to_owned())
        } else {
            Source::Plain(value.to_owned())
        },
    };
    let first = spec
        .sys_envvars
        .iter()
        .map(|var| own(&var.name, &var.value, is_supervisor_token(&var.name)));
    let second = spec
        .envvars
        .iter()
        .filter(|var| !var.name.starts_with("GITPOD_") || ALLOWED.contains(&var.name.as_str()))
        .map(|var| match &var.secret {
            Some(secret) if var.value.is_empty() => Variable {
                name: var.name.clone(),
                source: Source::Existing {
                    name: secret.secret_name.clone(),
                    key: secret.key.clone(),
                },
            },
            _ => own(&var.name, &var.value, is_protected(&var.name, &system)),
        });
    // A variable without a name is ignored.
    let all = first.chain(second).filter(|var| !var.name.is_empty());
    all.collect()
}

/// Returns the bytes of the request's variables that go into the Secret.
pub(super) fn secret_bytes(spec: &StartWorkspaceSpec) -> usize {
    callers(spec)
        .iter()
        .map(|variable| match &variable.source {
            Source::Own(value) => value.len(),
            Source::Plain(_) | Source::Existing { .. } => 0,
        })
        .sum()
}

/// Returns whether the value of a variable goes into the Secret.
fn is_protected(name: &str, system: &BTreeSet<&str>) -> bool {
    let internal = ["GITPOD_", "SUPERVISOR_", "BOB_", "THEIA_"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    is_supervisor_token(name)
        || !(internal || name == "NODE_EXTRA_CA_CERTS" || system.contains(name))
}

fn is_supervisor_token(name: &str) -> bool {
    name == "THEIA_SUPERVISOR_TOKENS"
}

/// Returns the variable of a container. `secret` is the name of the workspace's Secret.
pub(super) fn on_pod(variable: &Variable, secret: &str) -> EnvVar {
    let reference = |name: &str, key: String| EnvVarSource {
        secret_key_ref: Some(SecretKeySelector {
            name: name.to_owned(),
            key,
            optional: None,
        }),
        ..EnvVarSource::default()
    };
    let (value, value_from) = match &variable.source {
        Source::Plain(value) => (Some(escape(value)), None),
        Source::Own(_) => (None, Some(reference(secret, secret_key(&variable.name)))),
        Source::Existing { name, key } => (None, Some(reference(name, key.clone()))),
    };
    EnvVar {
        name: variable.name.clone(),
        value,
        value_from,
    }
}

/// Returns the key of a variable in the workspace's Secret.
pub(super) fn secret_key(name: &str) -> String {
    names::sha256(name.as_bytes())
}

/// Keeps the kubelet from expanding `$(NAME)` in a value of the request (F-H5). It reads `$$` as `$`, and any other `$`
/// as itself.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '$' && matches!(chars.peek(), Some('$' | '(')) {
            out.push('$');
        }
    }
    out
}

/// Returns the absolute path of a location below /workspace, without "." and "..".
fn workspace_path(location: &str) -> String {
    let below = location.strip_prefix("/workspace").unwrap_or(location);
    let mut parts = vec!["workspace"];
    for part in below.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_cleaned() {
        for (location, path) in [
            ("", "/workspace"),
            ("/", "/workspace"),
            ("/workspace", "/workspace"),
            ("/workspace/a", "/workspace/a"),
            ("a//b/./c/", "/workspace/a/b/c"),
            ("a/../b", "/workspace/b"),
            ("/workspace/workspace", "/workspace/workspace"),
            ("../../etc", "/etc"),
        ] {
            assert_eq!(workspace_path(location), path, "{location:?}");
        }
    }

    /// Kubernetes' expansion of a value without defined variables.
    fn expand(value: &str) -> String {
        let mut out = String::new();
        let mut rest = value;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(tail) = rest.strip_prefix("$$") {
                out.push('$');
                rest = tail;
            } else if rest.starts_with("$(") && rest.contains(')') {
                out.push_str("EXPANDED");
                rest = &rest[rest.find(')').unwrap() + 1..];
            } else {
                out.push('$');
                rest = &rest[1..];
            }
        }
        out + rest
    }

    proptest! {
        #[test]
        fn the_kubelet_gives_back_what_was_asked_for(value in "[$()a]{0,12}") {
            prop_assert_eq!(expand(&escape(&value)), value);
        }
    }
}
