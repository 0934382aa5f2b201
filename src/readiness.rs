//! Named components of the daemon, each with a state and a reason. Probes and the health service read all of them and
//! know none.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// The shared states of the components.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<watch::Sender<Components>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Components(BTreeMap<&'static str, State>);

/// The state of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Why it is not ready.
    reason: Option<String>,
    /// Whether the daemon is ready without it.
    optional: bool,
}

/// Reports the state of one component.
#[derive(Debug, Clone)]
pub struct Component {
    name: &'static str,
    optional: bool,
    readiness: Option<Readiness>,
}

impl State {
    pub fn is_ready(&self) -> bool {
        self.reason.is_none()
    }

    /// Whether the daemon is ready without it.
    pub fn is_optional(&self) -> bool {
        self.optional
    }

    /// Why it is not ready.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

impl Components {
    /// Whether all required components are ready.
    pub fn are_ready(&self) -> bool {
        self.reasons().next().is_none()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &State)> {
        self.0.iter().map(|(name, state)| (*name, state))
    }

    /// Returns the state of one of them.
    pub fn state(&self, name: &str) -> Option<&State> {
        self.0.get(name)
    }

    /// The required components that are not ready, with their reasons.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let needed = self.iter().filter(|(_, state)| !state.optional);
        needed.filter_map(|(name, state)| Some((name, state.reason()?)))
    }
}

impl Readiness {
    /// Watches the components.
    pub fn watch(&self) -> watch::Receiver<Components> {
        self.0.subscribe()
    }

    /// Adds a component, ready until it reports otherwise.
    pub fn component(&self, name: &'static str) -> Component {
        self.add(name, false)
    }

    /// Adds a component whose state is shown and not required.
    pub fn optional(&self, name: &'static str) -> Component {
        self.add(name, true)
    }

    fn add(&self, name: &'static str, optional: bool) -> Component {
        let readiness = Some(self.clone());
        let component = Component {
            name,
            optional,
            readiness,
        };
        component.ready();
        component
    }

    fn set(&self, name: &'static str, state: State) {
        self.0.send_if_modified(|components| {
            let changes = components.0.get(name) != Some(&state);
            if changes {
                components.0.insert(name, state);
            }
            changes
        });
    }
}

impl Component {
    /// Returns a component that is not registered.
    pub fn optional(name: &'static str) -> Self {
        Self {
            name,
            optional: true,
            readiness: None,
        }
    }

    /// Reports that it is ready.
    pub fn ready(&self) {
        self.set(None);
    }

    /// Reports why it is not ready.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        if let Some(readiness) = &self.readiness {
            let optional = self.optional;
            readiness.set(self.name, State { reason, optional });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_counts_and_everything_shows() {
        let readiness = Readiness::default();
        let components = readiness.watch();
        let (cluster, bus) = (readiness.component("cluster"), readiness.optional("bus"));
        bus.not_ready("away");
        let states = |components: &Components| {
            let states = components.iter().map(|(name, state)| {
                let reason = state.reason().unwrap_or("ready");
                format!("{name}: {reason}")
            });
            states.collect::<Vec<_>>()
        };
        assert!(components.borrow().are_ready());
        assert_eq!(
            states(&components.borrow()),
            ["bus: away", "cluster: ready"]
        );
        cluster.not_ready("silent");
        bus.ready();
        assert!(!components.borrow().are_ready());
        let reasons: Vec<_> = components
            .borrow()
            .reasons()
            .map(|(name, why)| format!("{name}: {why}"))
            .collect();
        assert_eq!(reasons, ["cluster: silent"]);
    }
}
