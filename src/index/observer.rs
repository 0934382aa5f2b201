//! Who sees what the index is told and what comes of it. An index that nobody observes keeps nothing for it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::Index;
use super::decision::activity_of;
use super::input::Input;
use crate::objects::Pod;
use crate::proto::wsman::WorkspaceStatus;
use crate::workspaces::activity::last_activity::LastActivity;
use crate::workspaces::case::{Case, KnownService, Objects};
use crate::workspaces::decide::{Entry, LifecyclePolicy};
use crate::workspaces::lifecycle::Decision;
use crate::workspaces::services::Served;
use crate::workspaces::status::{Observed, Why};
use crate::workspaces::update::StatusUpdate;

/// Sees every input before it is folded, and what came of it, in order. It is called under the lock of the hub: it hands
/// over what it wants and returns.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Sees one thing. Must neither wait nor fail.
    fn see(&self, seen: &Seen<'_>);
}

/// What an observer sees.
#[derive(Debug)]
pub enum Seen<'a> {
    /// An input that is about to be folded.
    Input(&'a Input<'a>),
    /// The clock was read, to decide.
    Clock(Timestamp),
    /// A pod was folded.
    Status(&'a Folded),
    /// The last update of a workspace.
    Ended(&'a StatusUpdate),
    /// What a workspace needs.
    Decision(&'a Decided),
}

/// A status, and what it was folded from.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    /// The pod and what was known beside it.
    pub objects: Arc<Objects>,
    /// What clients see.
    pub status: WorkspaceStatus,
    /// Which rules made it.
    pub why: Why,
}

/// A decision, and what it was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// Name of the pod.
    pub name: Arc<str>,
    /// The objects of the pod, if there is one.
    pub objects: Option<Arc<Objects>>,
    /// Everything else that it was made from.
    pub case: Case,
    /// The answer.
    pub decision: Decision,
}

impl Index {
    /// Keeps from now on what statuses are folded from.
    pub fn observe(&mut self) {
        self.observed = true;
    }

    /// What a pod is folded from, if anybody wants to know.
    pub(super) fn objects(&self, pod: &Pod) -> Option<Arc<Objects>> {
        let observed = Observed {
            pod,
            events: self.warnings.of(&pod.metadata.name),
            node: self.node(pod),
        };
        let copy = || Arc::new(Objects::of(&observed, &self.defaults));
        self.observed.then(copy)
    }

    /// Decides as [`Index::decide`] does, and tells from what.
    pub fn decide_observed(
        &self,
        name: &str,
        last_activity: &LastActivity,
        policy: &LifecyclePolicy,
        now: Timestamp,
    ) -> Option<Decided> {
        let asked = RefCell::new(BTreeMap::new());
        let looked = |service: &str, served: Served<'_>| {
            let known = KnownService {
                headless: served.headless,
                ports: served.ports.to_vec(),
            };
            asked.borrow_mut().insert(service.to_owned(), known);
        };
        let decision = self.decide_seen(name, last_activity, policy, now, &looked)?;
        let pod = self.pod(name);
        let pod = pod.as_ref();
        let objects = pod.and_then(|_| self.folded_from(name));
        let both = pod.zip(objects.as_ref());
        let case = Case {
            objects: None,
            last: both.and_then(|(entry, objects)| other_status(entry, objects)),
            record: self.record(name).cloned(),
            services: self.has_services().then(|| asked.take()),
            activity: pod.and_then(|entry| activity_of(entry, last_activity)),
            announced: pod.is_some_and(|entry| entry.state.announced),
            policy: policy.clone(),
            now,
        };
        Some(Decided {
            name: name.into(),
            objects,
            case,
            decision,
        })
    }

    fn folded_from(&self, name: &str) -> Option<Arc<Objects>> {
        let tracked = self.workspaces.get(name).filter(|known| !known.gone);
        let held = || self.held.get(name).and_then(|(_, pod)| self.objects(pod));
        tracked.map_or_else(held, |tracked| tracked.objects.clone())
    }
}

/// The status that is decided on, where it is not the one that the objects make.
fn other_status(entry: &Entry, objects: &Objects) -> Option<WorkspaceStatus> {
    let folded = objects.fold().status;
    (folded != entry.status).then(|| entry.status.clone())
}
