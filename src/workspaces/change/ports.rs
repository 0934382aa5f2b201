//! ControlPort: which ports of a workspace are exposed, and their visibility and protocol.

use jiff::Timestamp;

use super::{Seen, is_ending};
use crate::action::{Action, Mark, PodChange};
use crate::config::{Manager, Services};
use crate::error::{Error, FieldViolation};
use crate::proto::wsman::PortSpec;
use crate::workspaces::marks::annotation;
use crate::workspaces::port::{self, MAX_PORTS};
use crate::workspaces::url::Values;
use crate::workspaces::{services, sizes};

#[derive(Debug, Clone)]
pub(super) struct PortChange {
    expose: bool,
    spec: PortSpec,
}

pub(super) fn parse(
    expose: bool,
    spec: Option<PortSpec>,
) -> Result<PortChange, Vec<FieldViolation>> {
    let Some(spec) = spec else {
        return Err(vec![FieldViolation::new("spec", "missing spec")]);
    };
    // A port that was exposed by other means can be hidden.
    let faults = match expose {
        true => port::exposed_faults("spec", &spec),
        false => port::faults("spec", &spec),
    };
    if faults.is_empty() {
        Ok(PortChange { expose, spec })
    } else {
        Err(faults)
    }
}

impl PortChange {
    /// The annotation is changed only in the version that was read; then the Services follow. They are checked even
    /// if the annotation is right: an earlier call may have ended in between.
    pub(super) fn actions(
        &self,
        seen: &Seen,
        manager: &Manager,
        now: Timestamp,
    ) -> Result<Vec<Action>, Error> {
        if is_ending(seen) {
            let why = "cannot control ports of stopping workspaces".to_owned();
            return Err(Error::Precondition {
                state: "STOPPING",
                why,
            });
        }
        let mark = |key: &str| seen.marks.get(key).map_or("", String::as_str);
        let before = services::decode_ports(mark(annotation::EXPOSED_PORTS));
        let after = self.apply(seen, manager, &before)?;
        let mut actions = Vec::new();
        if after != before {
            let mut change = Mark::default();
            let mut set = |key: &str, value| drop(change.set.insert(key.to_owned(), value));
            set(annotation::PORTS_CHANGED, now.to_string());
            if after.is_empty() {
                change.remove.push(annotation::EXPOSED_PORTS.to_owned());
            } else {
                set(annotation::EXPOSED_PORTS, encode(&after)?);
            }
            let version = seen.version.clone();
            actions.push(Action::ChangePod(
                seen.pod.clone(),
                PodChange::mark_at(version, change),
            ));
        }
        // Pods of a classic manager have no Services of ours.
        if manager.services.exist() && seen.marks.contains_key(annotation::SPEC_SHA256) {
            let prefix = seen.marks.get(annotation::SERVICE_PREFIX);
            let prefix = prefix.map_or("", String::as_str);
            actions.push(services::sync(
                seen.owner.clone(),
                seen.pod.clone(),
                prefix,
                manager.services == Services::Headless,
            ));
        }
        Ok(actions)
    }

    /// Returns the ports after the change, in the order in which they were exposed.
    fn apply(
        &self,
        seen: &Seen,
        manager: &Manager,
        before: &[PortSpec],
    ) -> Result<Vec<PortSpec>, Error> {
        let mut ports = before.to_vec();
        let number = self.spec.port;
        let known = ports.iter().position(|port| port.port == number);
        match (self.expose, known) {
            (false, _) => ports.retain(|port| port.port != number),
            (true, Some(at)) => {
                ports[at].visibility = self.spec.visibility;
                ports[at].protocol = self.spec.protocol;
                ports[at].target = self.spec.target;
            }
            (true, None) if ports.len() >= MAX_PORTS => {
                return Err(Error::Exhausted {
                    limit: "PORTS",
                    why: format!(
                        "the workspace exposes {} ports already; at most {MAX_PORTS} are possible",
                        ports.len()
                    ),
                    retry_after: None,
                });
            }
            (true, None) => ports.push(PortSpec {
                url: self.url(seen, manager)?,
                ..self.spec.clone()
            }),
        }
        Ok(ports)
    }

    fn url(&self, seen: &Seen, manager: &Manager) -> Result<String, Error> {
        let mark = |key: &str| seen.marks.get(key).filter(|value| !value.is_empty());
        let (Some(id), Some(prefix)) = (mark(annotation::ID), mark(annotation::SERVICE_PREFIX))
        else {
            let key = annotation::SERVICE_PREFIX;
            return Err(Error::Precondition {
                state: "NO_SERVICE_PREFIX",
                why: format!("pod {} has no annotation {key}", seen.pod.name),
            });
        };
        Ok(manager.port_url_template.render(&Values {
            id,
            prefix,
            host: &manager.host_url,
            port: self.spec.port,
        }))
    }
}

/// A long URL template can make few ports too large.
fn encode(ports: &[PortSpec]) -> Result<String, Error> {
    let text = services::encode_ports(ports);
    if text.len() <= sizes::MAX_PORTS_ANNOTATION {
        return Ok(text);
    }
    Err(Error::Exhausted {
        limit: "PORTS",
        why: format!(
            "{} exposed ports take {} bytes of annotation, more than {}",
            ports.len(),
            text.len(),
            sizes::MAX_PORTS_ANNOTATION
        ),
        retry_after: None,
    })
}
