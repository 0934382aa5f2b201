//! What workspaces register with the core: which pods are theirs, what is kept of one, and how they fold.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use super::activity::last_activity::LastActivity;
use super::case::Case;
use super::decide::LifecyclePolicy;
use super::ending;
use super::image;
use super::lifecycle::{self, LifecycleInput};
use super::marks::{FINALIZER, annotation, label};
use super::pod_state::{self, PodState};
use super::recreate;
use super::status::{self, Defaults, NotWorkspace, Why};
use super::update::StatusUpdate;
use crate::action::Action;
use crate::decision::Decision;
use crate::index::group::Group;
use crate::index::noun::{About, Membership, Noun};
use crate::index::observed::Observed;
use crate::index::{Index, reference};
use crate::objects::{Event, Meta, Pod};
use crate::proto::answers::EncodedStatus;
use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};

/// Workspaces: a group is the pods that were made for one, of which one or none runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Workspace {
    /// When the users were active last.
    pub last_activity: LastActivity,
}

/// What is kept of the pod of a workspace.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What clients see.
    pub status: EncodedStatus,
    /// What the lifecycle needs beside it.
    pub state: PodState,
    /// Which rules made the status.
    pub why: Why,
    /// What a registry facade may ask for.
    pub image: image::Recorded,
}

impl Entry {
    /// Returns the status, and why it is that.
    ///
    /// # Errors
    /// [`NotWorkspace`] where something is missing without which a pod is no workspace.
    pub fn explain(&self) -> Result<(WorkspaceStatus, Why), NotWorkspace> {
        match &self.state.not_workspace {
            Some(why) => Err(why.clone()),
            None => Ok((self.status.read(), self.why)),
        }
    }
}

impl Noun for Workspace {
    const KIND: &'static str = "workspace";

    type Defaults = Defaults;
    type Entry = Entry;
    type Update = StatusUpdate;
    type Policy = LifecyclePolicy;
    type Case = Case;

    fn membership(pod: &Pod) -> Option<Membership> {
        is_workspace(&pod.metadata).then(|| place(pod))
    }

    fn is_stray(pod: &Pod) -> bool {
        status::is_unmarked(&pod.metadata) && status::id(&pod.metadata).is_some()
    }

    fn read(observed: &Observed<'_>, defaults: &Defaults) -> Entry {
        let folded = status::fold(observed, defaults);
        let state = PodState {
            unreadable: folded.unreadable.into(),
            not_workspace: folded.not_workspace,
            ..pod_state::of(observed, &folded.status)
        };
        let image = image::recorded(&observed.pod.metadata, &folded.status);
        Entry {
            status: EncodedStatus::new(folded.status),
            state,
            why: folded.why,
            image,
        }
    }

    fn unreadable(entry: &Entry) -> &str {
        &entry.state.unreadable
    }

    fn keeps(event: &Event) -> bool {
        status::is_kept(event)
    }

    fn depends_on(event: &Event, entry: &Entry) -> bool {
        status::depends_on(event, entry.state.pod_phase)
    }

    fn id(entry: &Entry) -> String {
        entry.status.id()
    }

    fn is_visible(group: &Group<Self>) -> bool {
        !recreate::is_left_over(group)
    }

    fn fold(group: &Group<Self>, _: &Defaults) -> StatusUpdate {
        let newest = group.newest();
        let entry = &newest.entry;
        let status = match newest.gone {
            true => EncodedStatus::new(status::gone(entry.status.read(), None)),
            false => entry.status.clone(),
        };
        StatusUpdate {
            start_uid: Arc::clone(&group.key),
            status,
            trace: entry.state.trace.clone(),
            message: OnceLock::new(),
        }
    }

    fn version_offset(defaults: &Defaults) -> u64 {
        defaults.version_offset
    }

    fn forget(&mut self, last: &StatusUpdate) {
        self.last_activity.forget(&last.status.id());
    }

    fn decide(
        &self,
        index: &Index<Self>,
        key: &str,
        policy: &LifecyclePolicy,
        now: Timestamp,
    ) -> Option<Decision> {
        if let Some(stray) = index.stray(key) {
            let pod = stray.pod.clone();
            let action = match stray.ended {
                true => Action::RemoveFinalizer(pod, FINALIZER),
                false => Action::Label(pod, [(label::MARKER, Some("true"))].into()),
            };
            return Some(Decision {
                rule: "label taken off",
                actions: vec![action],
                ..Decision::default()
            });
        }
        let group = index.group(key)?;
        let services = |name: &str| index.service(name, key);
        let input = LifecycleInput {
            group,
            activity: self.activity(group),
            services: index.has_services().then_some(&services),
        };
        Some(lifecycle::step(&input, policy, now))
    }

    fn case(
        &self,
        index: &Index<Self>,
        key: &str,
        policy: &LifecyclePolicy,
        now: Timestamp,
    ) -> Case {
        let group = index.group(key);
        Case {
            activity: group.and_then(|group| self.activity(group)),
            policy: policy.clone(),
            now,
            ..group.map_or_else(Case::default, |group| Case::beside(group, index))
        }
    }

    fn about(group: &Group<Self>) -> About {
        let status = group.status().read();
        let reason = ending::reason(&status);
        let metadata = status.metadata.unwrap_or_default();
        About {
            id: status.id,
            owner: metadata.owner,
            meta_id: metadata.meta_id,
            reason,
        }
    }
}

/// Returns where the pod of a workspace belongs.
pub fn place(pod: &Pod) -> Membership {
    let meta = &pod.metadata;
    match recreate::anchor(meta) {
        Some(anchor) => Membership {
            anchor,
            rank: recreate::recreations(meta).max(1),
        },
        None => Membership {
            anchor: reference(pod),
            rank: 0,
        },
    }
}

impl Workspace {
    /// Returns when the user of a workspace was active last.
    pub fn activity(&self, group: &Group<Self>) -> Option<Timestamp> {
        let entry = &group.newest().entry;
        self.last_activity
            .last(&entry.status.id(), entry.state.created)
    }
}

impl Group<Workspace> {
    /// Returns what clients see. Whatever comes after a STOPPED, the workspace has stopped.
    pub fn status(&self) -> &EncodedStatus {
        match self.last_published.as_ref().filter(|_| self.is_over()) {
            Some(last) => &last.status,
            None => &self.newest().entry.status,
        }
    }

    /// Returns the phase of [`Group::status`].
    pub fn phase(&self) -> WorkspacePhase {
        self.status().phase()
    }

    /// Whether its newest pod was rejected, and is going to be made again.
    pub fn is_made_again(&self) -> bool {
        let rejected = self.newest().entry.state.rejected;
        rejected && self.phase() == WorkspacePhase::Pending
    }
}

/// A pod with the label by which we find ours is a workspace if it has an id, or if we hold it: its id may have been taken
/// off since.
fn is_workspace(meta: &Meta) -> bool {
    let given = [
        meta.annotation(annotation::ID),
        meta.label(label::WORKSPACE_ID),
    ];
    let has_id = given.into_iter().flatten().any(|id| !id.is_empty());
    let held = meta.finalizers.iter().any(|f| f == FINALIZER);
    meta.label(label::MARKER) == Some("true") && (has_id || held && status::id(meta).is_some())
}
