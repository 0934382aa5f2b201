//! What the index keeps of workspaces: an entry for each pod, and what their group shows.

use jiff::Timestamp;

use super::activity::last_activity::LastActivity;
use super::image;
use super::pod_state::{self, PodState};
use super::rejected;
use super::status::{self, Defaults, NotWorkspace, Why};
use crate::index::noun::{Group, Membership};
use crate::index::observed::Observed;
use crate::index::reference;
use crate::objects::Pod;
use crate::proto::answers::EncodedStatus;
use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};
use crate::updates::Update as _;

/// Workspaces: a group is the pods that were made for one, of which one or none runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Workspace {
    /// When the users were active last.
    pub last_activity: LastActivity,
}

/// What is kept of the pod of a workspace.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Id of the workspace.
    pub id: Box<str>,
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
    /// Folds a pod.
    pub fn read(observed: &Observed<'_>, defaults: &Defaults) -> Self {
        let folded = status::fold(observed, defaults);
        let state = PodState {
            unreadable: folded.unreadable.into(),
            not_workspace: folded.not_workspace,
            ..pod_state::of(observed, &folded.status)
        };
        let image = image::recorded(&observed.pod.metadata, &folded.status);
        Self {
            id: folded.status.id.as_str().into(),
            status: EncodedStatus::new(folded.status),
            state,
            why: folded.why,
            image,
        }
    }

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

/// Returns where the pod of a workspace belongs.
pub fn place(pod: &Pod) -> Membership {
    let meta = &pod.metadata;
    match rejected::anchor(meta) {
        Some(anchor) => Membership {
            anchor,
            rank: rejected::recreations(meta).max(1),
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
        self.last_activity.last(&entry.id, entry.state.created)
    }
}

impl Group<Workspace> {
    /// Returns what clients see. Whatever comes after a STOPPED, the workspace has stopped.
    pub fn status(&self) -> &EncodedStatus {
        match self.last_published.as_ref().filter(|last| last.is_last()) {
            Some(last) => &last.status,
            None => &self.newest().entry.status,
        }
    }

    /// Returns the phase of [`Group::status`].
    pub fn phase(&self) -> WorkspacePhase {
        self.status().phase()
    }
}
