//! The rules of what a component and its peers are given: annotations, resources, paths.

use std::collections::BTreeSet;

use super::Check;
use crate::names::{is_dns_label, is_dns_subdomain, is_env_name, is_name_part};
use crate::proto::wsman::sessions::v1::{Component, DryRun, Engine, Peers, SessionSpec};
use crate::quantity::Quantity;
use crate::redact::show;

/// Most bytes of the annotations of a component. Beside them the pod has those of wsman, the spec among them, and all
/// together may have 256 KiB.
const MAX_ANNOTATIONS: usize = 40 << 10;
/// Prefixes of annotations that belong to wsman and to Kubernetes.
const RESERVED: [&str; 3] = ["wsman.dev", "session.wsman.dev", "kubernetes.io"];
/// Most labels of a session.
const MAX_LABELS: usize = 32;
/// The variable with the addresses of the others.
pub(crate) const PEERS: &str = "WSMAN_PEERS";

impl Check<'_> {
    /// A number that is none of an enum would count as its first value.
    pub(super) fn dry_run(&mut self, number: i32) {
        if DryRun::try_from(number).is_err() {
            self.add("dry_run", format!("{number} is no DryRun"));
        }
    }

    pub(super) fn engine(&mut self, number: i32) {
        match Engine::try_from(number) {
            Ok(Engine::BuiltIn) => {}
            Ok(other) => {
                let why = format!("{} is not served yet", other.as_str_name());
                self.add("spec.engine", why);
            }
            Err(_) => self.add("spec.engine", format!("{number} is no Engine")),
        }
    }

    pub(super) fn label_count(&mut self, count: usize) {
        if count > MAX_LABELS {
            let why = format!("has {count} labels; at most {MAX_LABELS} are allowed");
            self.add("spec.labels", why);
        }
    }

    pub(super) fn peers(&mut self, peers: &Peers) {
        if !peers.variable.is_empty() && !is_env_name(&peers.variable) {
            let why = format!("{} is no name of a variable", show(&peers.variable));
            self.add("spec.peers.variable", why);
        }
        if peers.port > u32::from(u16::MAX) {
            self.add("spec.peers.port", format!("{} is no port", peers.port));
        }
        let mut roles = BTreeSet::new();
        for (at, role) in peers.role_order.iter().enumerate() {
            let field = format!("spec.peers.role_order[{at}]");
            if !is_dns_label(role) {
                self.add(&*field, format!("is {}, no DNS label", show(role)));
            }
            if !roles.insert(role) {
                self.add(field, format!("{} is not unique", show(role)));
            }
        }
        if !peers.file.is_empty() && (!is_path(&peers.file) || peers.file.ends_with('/')) {
            let why = format!("is {}, no absolute path of a file", show(&peers.file));
            self.add("spec.peers.file", why);
        }
    }

    /// The decider has the addresses of the others in a variable, which must not be set otherwise.
    pub(super) fn peers_variable(&mut self, spec: &SessionSpec) {
        let named = spec.peers.as_ref().map_or("", |peers| &peers.variable);
        let name = match named {
            "" => PEERS,
            named => named,
        };
        for (at, component) in spec.components.iter().enumerate() {
            if component.name == spec.decider && component.env.contains_key(name) {
                let why = format!("{} is the variable of the peers", show(name));
                self.add(format!("spec.components[{at}].env"), why);
            }
        }
    }

    pub(super) fn values(&mut self, component: &Component, path: &str) {
        let mut numbers = BTreeSet::new();
        for (at, port) in component.ports.iter().enumerate() {
            if !numbers.insert(port.port) {
                let why = format!("{} is not unique", port.port);
                self.add(format!("{path}.ports[{at}].port"), why);
            }
        }
        let mut paths = BTreeSet::new();
        for (at, mount) in component.secrets.iter().enumerate() {
            if !paths.insert(&mount.path) {
                let why = format!("{} is not unique", show(&mount.path));
                self.add(format!("{path}.secrets[{at}].path"), why);
            }
        }
        for (name, value) in &component.env {
            if value.contains('\0') {
                let why = format!("the value of {} has a NUL", show(name));
                self.add(format!("{path}.env"), why);
            }
        }
        let field = format!("{path}.annotations");
        for key in component.annotations.keys() {
            if !is_qualified(key) {
                self.add(&*field, format!("{} is no key", show(key)));
            }
            let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
            if RESERVED.contains(&prefix) {
                let why = format!("{}: the prefix {prefix}/ is reserved", show(key));
                self.add(&*field, why);
            }
        }
        let size = component.annotations.iter();
        let size: usize = size.map(|(key, value)| key.len() + value.len()).sum();
        if size > MAX_ANNOTATIONS {
            let why = format!("has {size} bytes; at most {MAX_ANNOTATIONS} are allowed");
            self.add(field, why);
        }
        let field = format!("{path}.requests");
        for (resource, value) in &component.requests {
            if !is_qualified(resource) {
                self.add(&*field, format!("{} is no resource", show(resource)));
            }
            let quantity = Quantity::parse(value);
            if quantity.is_err() || quantity.is_ok_and(|quantity| quantity.is_negative()) {
                let why = format!("{}: {} is no quantity", show(resource), show(value));
                self.add(&*field, why);
            }
        }
    }
}

/// A name, perhaps behind a DNS subdomain and a slash.
fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name_part(name),
        None => is_name_part(key),
    }
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && !path.chars().any(char::is_control)
}
