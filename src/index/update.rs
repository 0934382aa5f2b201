//! The status of a workspace as it goes out to those who follow it.

use std::sync::{Arc, OnceLock};

use super::{Trace, is_last};
use crate::proto::encoded::{Encoded, SubscribeResponse};

/// A status that subscribers get to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// uid of the first pod of the workspace: a new pod under an old id is a new start, unless it is an old one made
    /// again.
    pub uid: Arc<str>,
    /// The status, with its version.
    pub status: Encoded,
    /// The trace that the workspace was started in.
    pub trace: Trace,
    /// The message that streams send for it, once one did.
    pub message: OnceLock<SubscribeResponse>,
}

impl Update {
    /// Returns the update of a pod that was started in no trace.
    pub fn new(uid: &str, status: Encoded) -> Self {
        Self {
            uid: uid.into(),
            status,
            trace: Trace::default(),
            message: OnceLock::new(),
        }
    }

    /// Whether this is the last update of its pod.
    pub fn is_last(&self) -> bool {
        is_last(&self.status)
    }
}
