//! The configuration file as written, with quantities and durations as strings.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::fields::{Fields, Findings, Unknown};
use super::key::Entry;
use super::named_file::NamedFile;
use super::problem::Problem;
use super::settings::{ClientAuth, RateLimit, Services, Timeouts, Tls, UnknownClass};
use super::{keys, syntax};
use crate::duration::GoDuration;
use crate::json::{self, join};
use crate::spelling::nearest;

/// The whole file.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) manager: Manager,
    pub(super) rpc_addr: String,
    pub(super) rpc_tls: Tls,
    pub(super) client_auth: Option<ClientAuth>,
    pub(super) allow_origins: Vec<String>,
    pub(super) rate_limits: BTreeMap<String, RateLimit>,
    pub(super) kubernetes: Option<Kubernetes>,
    pub(super) message_bus: Option<MessageBus>,
    pub(super) image_builder: ImageBuilder,
    pub(super) health_addr: String,
    pub(super) prometheus_addr: String,
    pub(super) pprof_addr: String,
}

/// `manager`.
#[derive(Debug, Clone, Default)]
pub(super) struct Manager {
    pub(super) namespace: String,
    pub(super) scheduler_name: String,
    pub(super) seccomp_profile: String,
    pub(super) timeouts: Timeouts,
    pub(super) url_template: String,
    pub(super) port_url_template: String,
    pub(super) workspace_host_path: String,
    pub(super) heartbeat_interval: GoDuration,
    pub(super) host_url: String,
    pub(super) event_trace_log: String,
    pub(super) maintenance_mode: bool,
    pub(super) daemon_port: u16,
    pub(super) daemon_tls: Tls,
    pub(super) registry_facade_host: String,
    pub(super) workspace_cluster_host: String,
    pub(super) classes: BTreeMap<String, Class>,
    pub(super) preferred_class: String,
    pub(super) unknown_class: UnknownClass,
    pub(super) debug_workspace_pod: bool,
    pub(super) pod_recreation_max_retries: u32,
    pub(super) pod_recreation_backoff: GoDuration,
    pub(super) services: Services,
    pub(super) status_version_offset: u64,
}

/// A class.
#[derive(Debug, Clone, Default)]
pub(super) struct Class {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) credits_per_minute: f64,
    pub(super) requests: Amounts,
    pub(super) limits: Amounts,
    pub(super) cpu_min: String,
    pub(super) default_path: String,
    pub(super) regular_path: String,
    pub(super) prebuild_path: String,
    pub(super) imagebuild_path: String,
    pub(super) pvc: Pvc,
    pub(super) prebuild_pvc: Pvc,
}

/// Quantities as strings; empty if absent. `cpu` of limits is the burst limit.
#[derive(Debug, Clone, Default)]
pub(super) struct Amounts {
    pub(super) cpu: String,
    pub(super) memory: String,
    pub(super) ephemeral_storage: String,
    pub(super) storage: String,
}

/// `pvc` and `prebuildPVC`.
#[derive(Debug, Clone, Default)]
pub(super) struct Pvc {
    pub(super) size: String,
    pub(super) storage_class: String,
    pub(super) snapshot_class: String,
}

/// `kubernetes`.
#[derive(Debug, Clone, Default)]
pub(super) struct Kubernetes {
    pub(super) mode: Mode,
    pub(super) kubeconfig: String,
    pub(super) listen: String,
}

/// `kubernetes.mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Mode {
    Embedded,
    Kubeconfig,
    #[default]
    InCluster,
}

/// `messagebus`.
#[derive(Debug, Clone, Default)]
pub(super) struct MessageBus {
    pub(super) url: String,
    pub(super) url_file: String,
    pub(super) exchange: String,
    pub(super) tls: Tls,
    pub(super) confirm_timeout: GoDuration,
    pub(super) window: u32,
    pub(super) stopped_timeout: GoDuration,
}

/// A parsed file.
#[derive(Debug, Clone, Default)]
pub(super) struct Parsed {
    pub(super) file: File,
    pub(super) files: Vec<NamedFile>,
    /// Unknown keys, wrong types, missing keys, keys without effect.
    pub(super) problems: Vec<Problem>,
}

/// `imageBuilderProxy`.
#[derive(Debug, Clone, Default)]
pub(super) struct ImageBuilder {
    pub(super) target_addr: String,
    pub(super) tls: Tls,
}

/// Parses the text.
///
/// # Errors
/// A syntax error.
pub(super) fn read(text: &str) -> Result<Parsed, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (value, twice) =
        json::read(text).map_err(|error| Problem::error("", syntax::explain(text, &error)))?;
    let findings = Rc::new(RefCell::new(Findings::default()));
    let mut fields = Fields::new("", value, &findings);
    let file = keys::file(&mut fields);
    fields.finish();
    let findings = findings.take();
    let mut problems = findings.problems;
    // A pair of keys that exclude each other is one problem; those of its values follow.
    let within = |path: &str, outer: &str| {
        let rest = path.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    problems.retain(|problem| !twice.iter().any(|path| within(&problem.path, path)));
    problems.extend(
        twice
            .into_iter()
            .map(|path| Problem::error(path, "is given more than once; keep one".to_owned())),
    );
    let known = if findings.unknown.is_empty() {
        Vec::new()
    } else {
        outline()
    };
    problems.extend(findings.unknown.iter().map(|key| unknown(key, &known)));
    Ok(Parsed {
        file,
        files: findings.files,
        problems,
    })
}

/// Lists all known keys, in the order of reading.
pub(super) fn outline() -> Vec<Entry> {
    let findings = Rc::new(RefCell::new(Findings {
        outline: Some(Vec::new()),
        ..Findings::default()
    }));
    keys::file(&mut Fields::new("", Value::Object(Map::new()), &findings));
    let outline = findings.borrow_mut().outline.take();
    outline.unwrap_or_default()
}

/// Returns the problem of an unknown key, with a suggestion.
fn unknown(key: &Unknown, outline: &[Entry]) -> Problem {
    let elsewhere = || {
        let named = |entry: &&Entry| entry.key.name.eq_ignore_ascii_case(&key.name);
        let mut places = outline.iter().filter(named);
        // A name that is a key in many objects suggests nothing.
        places.next().filter(|_| places.next().is_none())
    };
    let advice = if let Some(near) = nearest(&key.name, key.known.iter().copied()) {
        format!("did you mean {near:?}?")
    } else if let Some(entry) = elsewhere() {
        format!("did you mean \"{}\"?", entry.path)
    } else if key.known.is_empty() || key.known.len() > 12 {
        "remove it".to_owned()
    } else {
        format!("remove it; known here: {}", key.known.join(", "))
    };
    Problem::error(join(&key.path, &key.name), format!("unknown key; {advice}"))
}
