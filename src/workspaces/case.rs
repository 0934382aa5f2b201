//! A case: all that one status and one decision are made of, as a value and as JSON. The cases under testdata/ and the
//! lines of an event trace log hold the same; answering one reads nothing else.

mod answers;
mod json;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::content::step::Step;
use super::decide::LifecyclePolicy;
use super::entry::{self, Entry, Workspace};
use super::lifecycle::{self, LifecycleInput};
use super::names;
use super::status::{self, Defaults, NotWorkspace, Why};
use super::update::StatusUpdate;
use crate::decision::Decision;
use crate::index::noun::{Group, Member};
use crate::index::served::Served;
use crate::index::{Index, observed, reference};
use crate::objects::ServicePort;
use crate::proto::answers::EncodedStatus;
use crate::proto::wsman::WorkspaceStatus;
pub use answers::{actions, decision, outcome, pass, status};
pub use json::policy;

/// What a status is folded from.
pub type Objects = observed::Objects<Defaults>;

/// A Service that is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownService {
    /// It has no cluster IP.
    pub headless: bool,
    /// Its ports, in order.
    pub ports: Vec<ServicePort>,
}

/// What the lifecycle knows of a workspace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Case {
    /// Its pods that are there, by rank, and the newest in any case.
    pub members: Vec<Objects>,
    /// The newest pod is gone.
    pub gone: bool,
    /// The first pod is gone, but it was seen.
    pub orphaned: bool,
    /// The STOPPED was published.
    pub over: bool,
    /// The message bus has confirmed the STOPPED.
    pub announced: bool,
    /// The Services of the workspace by name; `None` where they are not known.
    pub services: Option<BTreeMap<String, KnownService>>,
    /// When the user was active last.
    pub activity: Option<Timestamp>,
    /// What the configuration says about the lifecycle.
    pub policy: LifecyclePolicy,
    /// What the clock says.
    pub now: Timestamp,
}

impl Objects {
    /// Folds them into what the index keeps.
    pub fn fold(&self) -> Entry {
        Entry::read(&self.observed(), &self.defaults)
    }

    /// Folds them into a status, and why it is that.
    ///
    /// # Errors
    /// [`NotWorkspace`] where something is missing without which a pod is no workspace.
    pub fn explain(&self) -> Result<(WorkspaceStatus, Why), NotWorkspace> {
        self.fold().explain()
    }
}

impl Case {
    /// Returns what is known of a workspace beside its pods.
    pub(super) fn beside(group: &Group<Workspace>, index: &Index<Workspace>) -> Self {
        let prefix = &group.newest().entry.state.service_prefix;
        let names = [names::ide_service(prefix), names::ports_service(prefix)];
        let services = names.into_iter().filter_map(|name| {
            let served = index.service(&name, &group.key)?;
            let known = KnownService {
                headless: served.headless,
                ports: served.ports.to_vec(),
            };
            Some((name, known))
        });
        let is_there = |member: &Member<Workspace>| member.pod.uid == *group.key;
        Self {
            gone: group.newest().gone,
            orphaned: group.is_led() && !group.living().any(is_there),
            over: group.is_over(),
            announced: group.announced,
            services: index.has_services().then(|| services.collect()),
            ..Self::default()
        }
    }

    /// Returns the workspace; `None` if it has no pod.
    pub fn group(&self) -> Option<Group<Workspace>> {
        let (newest, older) = self.members.split_last()?;
        let member = |objects: &Objects, gone| {
            let place = entry::place(&objects.pod);
            let meta = &objects.pod.metadata;
            let member = Member {
                pod: reference(&objects.pod),
                version: meta.version(),
                gone,
                entry: objects.fold(),
                node: objects.pod.spec.node_name.as_str().into(),
                rank: place.rank,
                objects: None,
            };
            (place.anchor, member)
        };
        let (anchor, newest) = member(newest, self.gone);
        let mut group: Group<Workspace> = Group::new(&anchor, newest);
        for objects in older {
            group.put(member(objects, false).1);
        }
        group.announced = self.announced;
        if self.orphaned {
            group.lead();
        }
        if self.over {
            let last = status::gone(group.newest().entry.status.read(), None);
            let last = StatusUpdate::new(&group.key, EncodedStatus::new(last));
            group.last_published = Some(last.into());
        }
        Some(group)
    }

    /// Returns what the workspace needs; `None` if it has no pod.
    pub fn decide(&self) -> Option<Decision<Step>> {
        self.group().map(|group| self.decide_on(&group))
    }

    /// Returns what a workspace needs that [`Case::group`] returned.
    pub fn decide_on(&self, group: &Group<Workspace>) -> Decision<Step> {
        let known = self.services.as_ref();
        let find = |name: &str| {
            let service = known?.get(name)?;
            Some(Served {
                headless: service.headless,
                ports: &service.ports,
            })
        };
        let input = LifecycleInput {
            group,
            activity: self.activity,
            services: known.is_some().then_some(&find),
        };
        lifecycle::step(&input, &self.policy, self.now)
    }
}
