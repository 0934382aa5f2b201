//! The status of a workspace as it is published.

use std::sync::{Arc, OnceLock};

use super::filter::{Filter, Topic};
use super::trace::Trace;
use crate::proto::answers::{EncodedStatus, SubscribeResponse};
use crate::proto::wsman::WorkspacePhase;
use crate::updates::{self, Update};

/// A status that subscribers get to see.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusUpdate {
    /// uid of the first pod of the workspace: a new pod under an old id is a new start, unless the old one is recreated.
    pub start_uid: Arc<str>,
    /// The status, with its version.
    pub status: EncodedStatus,
    /// The trace that the workspace was started in.
    pub trace: Trace,
    /// The message that streams send for it, once one did.
    pub message: OnceLock<SubscribeResponse>,
}

impl StatusUpdate {
    /// Returns the update of a pod that was started in no trace.
    pub fn new(start_uid: &str, status: EncodedStatus) -> Self {
        Self {
            start_uid: start_uid.into(),
            status,
            trace: Trace::default(),
            message: OnceLock::new(),
        }
    }
}

impl Update for StatusUpdate {
    type Topic = Topic;
    type Filter = Filter;

    fn group_id(&self) -> Arc<str> {
        self.status.id().into()
    }

    fn start_uid(&self) -> &Arc<str> {
        &self.start_uid
    }

    fn version(&self) -> u64 {
        self.status.version()
    }

    fn is_last(&self) -> bool {
        self.status.phase() == WorkspacePhase::Stopped
    }

    fn topics(&self) -> Vec<Topic> {
        Topic::of(&self.status)
    }

    fn same(&self, other: &Self) -> bool {
        self.status.same(&other.status)
    }

    fn at(&self, version: u64) -> Self {
        Self {
            status: self.status.at(version),
            message: OnceLock::new(),
            ..self.clone()
        }
    }

    fn size(&self) -> usize {
        self.status.size()
    }
}

impl updates::Filter<StatusUpdate> for Filter {
    fn matches(&self, update: &StatusUpdate) -> bool {
        self.matches(&update.status)
    }

    fn topic(&self) -> Option<Topic> {
        self.topic()
    }
}
