//! Which parts of the daemon are ready to serve: named components, each with a reason while it is not. Probes and the
//! health service ask for all of them and know none.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// What the components say of themselves.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<watch::Sender<Components>>);

/// The components by name, each with the reason why it is not ready, if it is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Components(BTreeMap<&'static str, Option<String>>);

/// One component's way to say how it is.
#[derive(Debug, Clone)]
pub struct Component {
    name: &'static str,
    readiness: Option<Readiness>,
}

impl Components {
    /// Whether all are ready.
    pub fn are_ready(&self) -> bool {
        self.0.values().all(Option::is_none)
    }

    /// The components that are not ready, with their reasons.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let reasons = self.0.iter();
        reasons.filter_map(|(name, reason)| Some((*name, reason.as_deref()?)))
    }
}

impl Readiness {
    /// Follows the components.
    pub fn watch(&self) -> watch::Receiver<Components> {
        self.0.subscribe()
    }

    /// Adds a component that is ready until it says otherwise.
    pub fn component(&self, name: &'static str) -> Component {
        let readiness = Some(self.clone());
        let component = Component { name, readiness };
        component.ready();
        component
    }

    fn set(&self, name: &'static str, reason: Option<String>) {
        self.0.send_if_modified(|components| {
            let changes = components.0.get(name) != Some(&reason);
            if changes {
                components.0.insert(name, reason);
            }
            changes
        });
    }
}

impl Component {
    /// Returns a component that the daemon does without.
    pub fn optional(name: &'static str) -> Self {
        Self {
            name,
            readiness: None,
        }
    }

    /// Says that it is ready.
    pub fn ready(&self) {
        self.set(None);
    }

    /// Says why it is not ready.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        if let Some(readiness) = &self.readiness {
            readiness.set(self.name, reason);
        }
    }
}
