//! The Services of the groups: whose they are and what they serve.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::noun::Noun;
use super::served::Served;
use super::{Changes, Index};
use crate::objects::{Service, ServicePort};

/// The Services as far as they were seen.
#[derive(Debug, Default)]
pub(super) struct Services {
    by_name: HashMap<Arc<str>, Owned>,
    /// Every list of ports once: most groups have the same.
    ports: HashSet<Arc<[ServicePort]>>,
    listed: bool,
}

/// A Service of a pod.
#[derive(Debug, PartialEq)]
struct Owned {
    /// uid of the pod: the key of a group.
    key: Arc<str>,
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

impl<N: Noun> Index<N> {
    /// Takes in a Service; one that belongs to no pod is nobody's.
    pub fn apply_service(&mut self, service: Service) -> Changes<N> {
        let name = service.metadata.name.as_str();
        let owners = service.metadata.owner_references.iter();
        let Some(owner) = owners.into_iter().find(|owner| owner.kind == "Pod") else {
            return self.delete_service(name);
        };
        let group = self.groups.get_key_value(owner.uid.as_str());
        let owned = Owned {
            key: group.map_or_else(|| owner.uid.as_str().into(), |(key, _)| Arc::clone(key)),
            headless: service.spec.is_headless(),
            ports: self.services.shared(service.spec.ports),
        };
        if self.services.by_name.get(name) == Some(&owned) {
            return Changes::default();
        }
        let mut changes = self.delete_service(name);
        changes.extend(self.dirty(&owned.key));
        self.services.by_name.insert(name.into(), owned);
        changes
    }

    /// Takes in that a Service is gone.
    pub fn delete_service(&mut self, service: &str) -> Changes<N> {
        match self.services.by_name.remove(service) {
            Some(owned) => self.dirty(&owned.key),
            None => Changes::default(),
        }
    }

    fn dirty(&self, key: &Arc<str>) -> Changes<N> {
        let known = self.groups.contains_key(key);
        Changes {
            dirty: known.then(|| Arc::clone(key)).into_iter().collect(),
            ..Changes::default()
        }
    }

    /// Takes in that a complete list held only the Services in `present`.
    pub fn retain_services(&mut self, present: &HashSet<String>) -> Changes<N> {
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
            changes.dirty.extend(self.groups.keys().cloned());
        }
        changes
    }

    /// Whether a complete list of the Services was seen: only then a missing one is missing.
    pub fn has_services(&self) -> bool {
        self.services.listed
    }

    /// Returns what the Service of that name serves, if it belongs to the group.
    pub fn service(&self, name: &str, key: &str) -> Option<Served<'_>> {
        let owned = self.services.by_name.get(name)?;
        (*owned.key == *key).then_some(Served {
            headless: owned.headless,
            ports: &owned.ports,
        })
    }
}
