//! The Services of the workspaces: whose they are and what they serve.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Changes, Index, Tracked};
use crate::action::PodRef;
use crate::objects::{Service, ServicePort};
use crate::workspaces::services::Served;

/// The Services as far as they were seen.
#[derive(Debug, Default)]
pub(super) struct Services {
    by_name: HashMap<Arc<str>, Owned>,
    /// Every list of ports once: most workspaces have the same.
    ports: HashSet<Arc<[ServicePort]>>,
    listed: bool,
}

/// A Service of a pod.
#[derive(Debug, PartialEq)]
struct Owned {
    pod: Arc<str>,
    uid: Box<str>,
    headless: bool,
    ports: Arc<[ServicePort]>,
}

impl Services {
    fn shared(&mut self, ports: Vec<ServicePort>) -> Arc<[ServicePort]> {
        if let Some(known) = self.ports.get(ports.as_slice()) {
            return Arc::clone(known);
        }
        // Lists that nobody has any more go when a new one comes.
        self.ports.retain(|ports| Arc::strong_count(ports) > 1);
        let ports: Arc<[ServicePort]> = ports.into();
        self.ports.insert(Arc::clone(&ports));
        ports
    }
}

impl Index {
    /// Takes in a Service; one that belongs to no pod is nobody's.
    pub fn apply_service(&mut self, service: Service) -> Changes {
        let name = service.metadata.name.as_str();
        let owners = service.metadata.owner_references.iter();
        let Some(owner) = owners.into_iter().find(|owner| owner.kind == "Pod") else {
            return self.delete_service(name);
        };
        let pod = self.workspaces.get_key_value(owner.name.as_str());
        let owned = Owned {
            pod: pod.map_or_else(|| owner.name.as_str().into(), |(name, _)| Arc::clone(name)),
            uid: owner.uid.as_str().into(),
            headless: service.spec.is_headless(),
            ports: self.services.shared(service.spec.ports),
        };
        if self.services.by_name.get(name) == Some(&owned) {
            return Changes::default();
        }
        let mut changes = self.delete_service(name);
        changes.extend(self.dirty(&owned.pod));
        self.services.by_name.insert(name.into(), owned);
        changes
    }

    /// Takes in that a Service is gone.
    pub fn delete_service(&mut self, service: &str) -> Changes {
        match self.services.by_name.remove(service) {
            Some(owned) => self.dirty(&owned.pod),
            None => Changes::default(),
        }
    }

    fn dirty(&self, pod: &Arc<str>) -> Changes {
        let known = self.workspaces.contains_key(pod);
        Changes {
            dirty: known.then(|| Arc::clone(pod)).into_iter().collect(),
            ..Changes::default()
        }
    }

    /// Takes in that a complete list held only the Services in `present`.
    pub fn retain_services(&mut self, present: &HashSet<String>) -> Changes {
        let gone: Vec<_> = self
            .services
            .by_name
            .keys()
            .filter(|name| !present.contains(&***name))
            .cloned()
            .collect();
        let mut changes = Changes::default();
        for name in gone {
            changes.dirty.extend(self.delete_service(&name).dirty);
        }
        if !std::mem::replace(&mut self.services.listed, true) {
            changes.dirty.extend(self.workspaces.keys().cloned());
        }
        changes
    }

    /// Whether a complete list of the Services was seen: only then a missing one is missing.
    pub fn has_services(&self) -> bool {
        self.services.listed
    }

    /// Returns a workspace whose Services have the names that another of this prefix would give its own.
    pub fn of_prefix(&self, prefix: &str, other: &str) -> Option<&Tracked> {
        let same = |tracked: &&Tracked| {
            let state = &tracked.state;
            state.ours
                && state.service_prefix.eq_ignore_ascii_case(prefix)
                && tracked.pod.name != other
        };
        self.workspaces.values().find(same)
    }

    /// Returns what a pod's Service of that name serves.
    pub fn service(&self, name: &str, pod: &PodRef) -> Option<Served<'_>> {
        let owned = self.services.by_name.get(name)?;
        (*owned.uid == *pod.uid).then_some(Served {
            headless: owned.headless,
            ports: &owned.ports,
        })
    }
}
