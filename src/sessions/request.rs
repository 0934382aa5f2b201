//! Turns a StartSessionRequest into a [`SessionRequest`] with all defaults, or into all its violations.

#[cfg(test)]
mod tests;
pub(super) mod values;

use std::collections::BTreeSet;
use std::time::Duration;

use prost::Message;

use super::rules::{DEFAULT_QUEUE, Limit, SessionRules};
use crate::error::{Error, FieldViolation};
use crate::names::{
    is_dns_label, is_dns_subdomain, is_env_name, is_label_value, is_name_part, sha256,
};
use crate::proto::wsman::sessions::v1::{Component, SessionSpec, StartSessionRequest};
use crate::redact::show;

/// A valid request: its spec names what it left to defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRequest {
    pub id: String,
    /// With decider, queue, pools, deadline and time to live.
    pub spec: SessionSpec,
    /// Hash of what was asked for.
    pub fingerprint: String,
}

/// Longest id: it is the name of a pod, a label and a name in DNS.
const LONGEST_ID: usize = 40;
/// Priorities are from the negative of this to this.
const PRIORITY: i32 = 1_000;
/// Most violations that are listed. An error must fit into the trailers of a call.
const MAX_LISTED: usize = 32;
/// The role of the decider if none is named.
const DRIVER: &str = "driver";

impl SessionRequest {
    /// Validates a request.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every violation.
    pub fn parse(request: StartSessionRequest, rules: &SessionRules) -> Result<Self, Error> {
        let mut check = Check {
            rules,
            faults: Vec::new(),
        };
        check.request(&request);
        let fingerprint = request.spec.as_ref().map(Message::encode_to_vec);
        let mut spec = request.spec.unwrap_or_default();
        complete(&mut spec, rules);
        check.peers_variable(&spec);
        let faults = check.faults;
        if !faults.is_empty() {
            return Err(invalid(faults));
        }
        Ok(Self {
            id: request.id,
            spec,
            fingerprint: sha256(&fingerprint.unwrap_or_default()),
        })
    }

    /// Returns the component that decides about the session.
    pub fn decider(&self) -> Option<&Component> {
        let mut components = self.spec.components.iter();
        components.find(|component| component.name == self.spec.decider)
    }
}

/// Puts in what a valid spec leaves to defaults.
fn complete(spec: &mut SessionSpec, rules: &SessionRules) {
    if spec.queue.is_empty() {
        DEFAULT_QUEUE.clone_into(&mut spec.queue);
    }
    if spec.decider.is_empty() {
        let driver = spec.components.iter().find(|c| c.role == DRIVER);
        spec.decider = driver.map(|driver| driver.name.clone()).unwrap_or_default();
    }
    for component in &mut spec.components {
        if component.pool.is_empty() {
            let pool = rules.default_pools.get(&component.role);
            component.pool = pool.cloned().unwrap_or_default();
        }
    }
    for (value, limit) in [
        (&mut spec.deadline, rules.deadline),
        (&mut spec.ttl, rules.ttl),
    ] {
        if value.is_none() {
            *value = Some(limit.default.into());
        }
    }
}

struct Check<'a> {
    rules: &'a SessionRules,
    faults: Vec<FieldViolation>,
}

impl Check<'_> {
    fn add(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.faults.push(FieldViolation::new(field, why));
    }

    fn request(&mut self, request: &StartSessionRequest) {
        if !is_dns_label(&request.id) || request.id.len() > LONGEST_ID {
            let why = format!(
                "is {}, no DNS label of at most {LONGEST_ID} characters",
                show(&request.id)
            );
            self.add("id", why);
        }
        self.dry_run(request.dry_run);
        match &request.spec {
            Some(spec) => self.spec(spec),
            None => self.add("spec", "is missing"),
        }
    }

    fn spec(&mut self, spec: &SessionSpec) {
        let (count, most) = (spec.components.len(), self.rules.max_components);
        if count == 0 {
            self.add("spec.components", "is empty: a session has at least one");
        }
        if count > most {
            let why = format!("has {count} components; at most {most} are allowed");
            self.add("spec.components", why);
        }
        let mut names = BTreeSet::new();
        for (at, component) in spec.components.iter().enumerate().take(most) {
            let path = format!("spec.components[{at}]");
            if !names.insert(component.name.as_str()) {
                let why = format!("{} is not unique", show(&component.name));
                self.add(format!("{path}.name"), why);
            }
            self.component(component, &path);
        }
        self.decider(spec, &names);
        if !spec.queue.is_empty() && !self.rules.queues.contains_key(&spec.queue) {
            let known: Vec<_> = self.rules.queues.keys().map(String::as_str).collect();
            let why = format!(
                "{} is not configured; there is {}",
                show(&spec.queue),
                known.join(", ")
            );
            self.add("spec.queue", why);
        }
        if !(-PRIORITY..=PRIORITY).contains(&spec.priority) {
            let why = format!("is {}, not from -{PRIORITY} to {PRIORITY}", spec.priority);
            self.add("spec.priority", why);
        }
        self.duration("spec.deadline", spec.deadline.as_ref(), self.rules.deadline);
        self.duration("spec.ttl", spec.ttl.as_ref(), self.rules.ttl);
        for (key, value) in &spec.labels {
            if !is_name_part(key) || !is_label_value(value) {
                let why = format!("{}={} is no label", show(key), show(value));
                self.add("spec.labels", why);
            }
        }
        self.label_count(spec.labels.len());
        self.engine(spec.engine);
        if spec.requeue {
            self.add("spec.requeue", "true is not served yet");
        }
        if let Some(peers) = &spec.peers {
            self.peers(peers);
        }
    }

    fn decider(&mut self, spec: &SessionSpec, names: &BTreeSet<&str>) {
        if !spec.decider.is_empty() {
            if !names.contains(spec.decider.as_str()) {
                let why = format!("{} is no component", show(&spec.decider));
                self.add("spec.decider", why);
            }
            return;
        }
        let drivers = spec.components.iter().filter(|c| c.role == DRIVER).count();
        if drivers != 1 {
            let why = format!("is missing, and {drivers} components have the role {DRIVER}");
            self.add("spec.decider", why);
        }
    }

    fn component(&mut self, component: &Component, path: &str) {
        if !is_dns_label(&component.name) {
            let why = format!("is {}, no DNS label", show(&component.name));
            self.add(format!("{path}.name"), why);
        }
        if !is_dns_label(&component.role) {
            let why = format!("is {}, no DNS label", show(&component.role));
            self.add(format!("{path}.role"), why);
        }
        self.image(&component.image, path);
        self.values(component, path);
        if component.pool.is_empty() {
            if !self.rules.default_pools.contains_key(&component.role) {
                let why = format!(
                    "is missing, and the role {} has no default pool",
                    show(&component.role)
                );
                self.add(format!("{path}.pool"), why);
            }
        } else if !is_label_value(&component.pool) {
            let why = format!("is {}, no name of a pool", show(&component.pool));
            self.add(format!("{path}.pool"), why);
        }
        for name in component.env.keys() {
            if !is_env_name(name) {
                let why = format!("{} is no name of a variable", show(name));
                self.add(format!("{path}.env"), why);
            }
        }
        let mut ports = BTreeSet::new();
        for (at, port) in component.ports.iter().enumerate() {
            if port.port == 0 || port.port > u32::from(u16::MAX) {
                let why = format!("{} is no port", port.port);
                self.add(format!("{path}.ports[{at}].port"), why);
            }
            if !is_port_name(&port.name) {
                let why = format!("is {}, no name of a port", show(&port.name));
                self.add(format!("{path}.ports[{at}].name"), why);
            }
            if !ports.insert(&port.name) {
                let why = format!("{} is not unique", show(&port.name));
                self.add(format!("{path}.ports[{at}].name"), why);
            }
        }
        for (at, mount) in component.secrets.iter().enumerate() {
            if !is_dns_subdomain(&mount.secret) {
                let why = format!("is {}, no name of a Secret", show(&mount.secret));
                self.add(format!("{path}.secrets[{at}].secret"), why);
            }
            if !mount.path.starts_with('/') || mount.path.contains(':') {
                let why = format!("is {}, no absolute path", show(&mount.path));
                self.add(format!("{path}.secrets[{at}].path"), why);
            }
        }
    }

    fn image(&mut self, image: &str, path: &str) {
        let allowed = &self.rules.image_prefixes;
        if image.is_empty() || image.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let why = format!("is {}, no image", show(image));
            self.add(format!("{path}.image"), why);
        } else if !allowed.is_empty() && !allowed.iter().any(|allowed| is_of(image, allowed)) {
            let why = format!(
                "{} is not allowed; allowed is {}",
                show(image),
                allowed.join(" or ")
            );
            self.add(format!("{path}.image"), why);
        }
    }

    fn duration(&mut self, field: &str, value: Option<&pbjson_types::Duration>, limit: Limit) {
        let Some(value) = value else { return };
        let std = Duration::try_from(*value);
        let longest = limit.longest;
        if !std.is_ok_and(|value| Duration::from_secs(1) <= value && value <= longest) {
            let why = format!(
                "is {}.{:09} s, not from 1 s to {} s",
                value.seconds,
                value.nanos.unsigned_abs(),
                longest.as_secs()
            );
            self.add(field, why);
        }
    }
}

/// Whether an image is another one, with any tag or digest, or begins with a prefix that ends in a slash.
fn is_of(image: &str, allowed: &str) -> bool {
    let rest = image.strip_prefix(allowed);
    rest.is_some_and(|rest| {
        allowed.ends_with('/') || rest.is_empty() || rest.starts_with([':', '@'])
    })
}

/// An IANA service name, as Kubernetes wants the names of ports.
fn is_port_name(name: &str) -> bool {
    is_dns_label(name)
        && name.len() <= 15
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.contains("--")
}

/// Returns the error of violations, of which the first are listed.
pub(super) fn invalid(mut violations: Vec<FieldViolation>) -> Error {
    let omitted = violations.len().saturating_sub(MAX_LISTED);
    violations.truncate(MAX_LISTED);
    let mut texts: Vec<String> = violations
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.why))
        .collect();
    if omitted > 0 {
        texts.push(format!("{omitted} more"));
    }
    Error::Invalid {
        message: format!("invalid request: {}", texts.join("; ")),
        violations,
    }
}
