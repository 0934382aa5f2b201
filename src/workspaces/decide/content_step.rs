//! Which step of its content a workspace waits for, and until when (docs/protocol.md#content).

use super::Case;
use crate::decision::Wake;

/// A step of the content that goes on in the pod; the decision itself names what the daemon does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentStep {
    /// What goes on.
    pub doing: &'static str,
    /// When the lifecycle no longer waits for it.
    pub until: Option<Wake>,
}

impl Case<'_> {
    pub(super) fn content_step(&self) -> Option<ContentStep> {
        let state = self.state;
        let saves = self.is_deleting() && self.saves();
        let doing = match state.container_ended {
            _ if state.filling && !self.is_deleting() => "content-init fills the workspace",
            true if saves => "content-save saves the content",
            false if saves => "content-save saves the content once the container workspace ends",
            _ => return None,
        };
        let limits = self.limits().into_iter();
        let until = limits.filter_map(|limit| {
            Some(Wake {
                at: limit.ends_at()?,
                reason: limit.reason,
                source: limit.source,
            })
        });
        Some(ContentStep {
            doing,
            until: until.min(),
        })
    }
}
