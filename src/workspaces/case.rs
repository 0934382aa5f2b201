//! A case: all that one status and one decision are made of, as a value and as JSON. The cases under testdata/ and the
//! lines of an event trace log hold the same; answering one reads nothing else.

mod answers;
mod json;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::decide::{self, Entry, LifecyclePolicy, Verdict};
use super::lifecycle::{self, Decision, LifecycleInput};
use super::pod_state::{self, PodState};
use super::recreate::Record;
use super::services::Served;
use super::status::{Defaults, NodeView, NotWorkspace, Observed, Why};
use crate::action::PodRef;
use crate::objects::{Event, Node, Pod, ServicePort};
use crate::proto::wsman::WorkspaceStatus;
pub use answers::{actions, decision, outcome, status, verdict};
pub use json::policy;

/// The node of a pod, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum KnownNode {
    /// Nothing is known of it.
    #[default]
    Unknown,
    /// There is none any more.
    Gone,
    /// As it is.
    Present(Box<Node>),
}

/// What a status is folded from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    pub pod: Pod,
    /// Warnings about pods of its name.
    pub events: Vec<Event>,
    pub node: KnownNode,
    /// What the configuration adds.
    pub defaults: Defaults,
}

/// A Service that is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownService {
    /// It has no cluster IP.
    pub headless: bool,
    /// Its ports, in order.
    pub ports: Vec<ServicePort>,
}

/// What the lifecycle knows beside the objects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Case {
    /// The pod and what belongs to it; `None` between two pods.
    pub objects: Option<Objects>,
    /// The status that was sent last, where it is not the one that the objects make: nothing follows a STOPPED.
    pub last: Option<WorkspaceStatus>,
    /// The record that stands for the workspace while its pod is made again.
    pub record: Option<Record>,
    /// The Services of the pod by name; `None` where they are not known.
    pub services: Option<BTreeMap<String, KnownService>>,
    /// When the user was active last.
    pub activity: Option<Timestamp>,
    /// The message bus has confirmed the STOPPED.
    pub announced: bool,
    /// What the configuration says about the lifecycle.
    pub policy: LifecyclePolicy,
    /// What the clock says.
    pub now: Timestamp,
}

impl Objects {
    /// Copies what a fold looks at.
    pub fn of(observed: &Observed<'_>, defaults: &Defaults) -> Self {
        Self {
            pod: observed.pod.clone(),
            events: observed.events.to_vec(),
            node: match observed.node {
                NodeView::Unknown => KnownNode::Unknown,
                NodeView::Gone => KnownNode::Gone,
                NodeView::Present(node) => KnownNode::Present(Box::new(node.clone())),
            },
            defaults: defaults.clone(),
        }
    }

    /// Returns them as the fold takes them.
    pub fn observed(&self) -> Observed<'_> {
        Observed {
            pod: &self.pod,
            events: &self.events,
            node: match &self.node {
                KnownNode::Unknown => NodeView::Unknown,
                KnownNode::Gone => NodeView::Gone,
                KnownNode::Present(node) => NodeView::Present(node),
            },
        }
    }

    /// Folds them into an entry of the index.
    pub fn fold(&self) -> Entry {
        let observed = self.observed();
        let folded = super::status::fold(&observed, &self.defaults);
        Entry {
            pod: PodRef {
                name: self.pod.metadata.name.clone(),
                uid: self.pod.metadata.uid.clone(),
            },
            status: folded.status,
            state: PodState {
                unreadable: folded.unreadable.into(),
                ..pod_state::of(&observed)
            },
            why: folded.why,
        }
    }

    /// Folds them as `explain` does.
    ///
    /// # Errors
    /// [`NotWorkspace`] as [`super::status::explain`].
    pub fn explain(&self) -> Result<(WorkspaceStatus, Why), NotWorkspace> {
        super::status::explain(&self.observed(), &self.defaults)
    }
}

impl Case {
    /// The entry that is decided on.
    pub fn entry(&self) -> Option<Entry> {
        let mut entry = self.objects.as_ref()?.fold();
        entry.state.announced = self.announced;
        if let Some(last) = &self.last {
            entry.status.clone_from(last);
        }
        Some(entry)
    }

    /// What the workspace needs; `None` if there is neither a pod nor a record.
    pub fn decide(&self) -> Option<Decision> {
        let entry = self.entry();
        let known = self.services.as_ref();
        let find = |name: &str| {
            let service = known?.get(name)?;
            Some(Served {
                headless: service.headless,
                ports: &service.ports,
            })
        };
        let input = LifecycleInput {
            pod: entry.as_ref(),
            record: self.record.as_ref(),
            activity: self.activity,
            services: known.is_some().then_some(&find),
        };
        lifecycle::step(input, &self.policy, self.now)
    }

    /// What the table of the lifecycle says about the pod alone.
    pub fn verdict(&self) -> Option<(WorkspaceStatus, Verdict)> {
        let entry = self.entry()?;
        let verdict = decide::decide(&entry, self.activity, &self.policy, self.now);
        Some((entry.status, verdict))
    }
}
