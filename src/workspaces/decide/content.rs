//! What the ws-daemon of a workspace's node does now (docs/protocol.md#content-on-gitpod-nodes). The marks of the pod say how
//! far it is, so that another daemon continues where one was killed.

use super::{Case, Content};
use crate::proto::wsman::WorkspacePhase;
use crate::workspaces::content::wsdaemon::{Keeping, NodeStep, What};
use crate::workspaces::pod_state::Disposal;

impl Case<'_> {
    /// What goes on beside the writes, whichever row decides.
    pub(super) fn node_step(&self) -> Option<NodeStep> {
        let what = match self.is_deleting() {
            true => self.disposal_step(),
            false => self.filling_step(),
        }?;
        let newest = self.group.newest();
        Some(NodeStep {
            pod: self.pod.clone(),
            id: newest.entry.id.to_string(),
            node: newest.node.to_string(),
            what,
        })
    }

    /// Its ws-daemon fills it, or is asked whether it has.
    pub(super) fn is_filled_by_node(&self) -> bool {
        !self.is_deleting() && self.filling_step().is_some()
    }

    fn filling_step(&self) -> Option<What> {
        let state = self.state;
        let asked = self.is_timed_out() || self.is_asked_to_stop();
        let ends = asked || self.is_failed() || self.limit_reached();
        if self.policy.content != Content::WsDaemon || ends || !state.bound || self.node_is_lost() {
            return None;
        }
        match self.phase() {
            WorkspacePhase::Creating if !state.initialized => Some(What::Fill),
            // Headless ones run before they are filled.
            WorkspacePhase::Running if state.headless && !state.initialized => Some(What::Fill),
            WorkspacePhase::Initializing if state.kubelet_ready => Some(What::AwaitFilled),
            _ => None,
        }
    }

    /// Its pod ended, and its content is saved and removed from the node.
    pub(super) fn disposes(&self) -> bool {
        self.policy.content == Content::WsDaemon
            && self.is_stopping()
            && self.has_ended()
            && self.awaits_disposal()
    }

    fn disposal_step(&self) -> Option<What> {
        let state = self.state;
        if !self.disposes() || self.node_is_lost() || self.stop_expired() {
            return None;
        }
        let was_ready = !state.never_ready;
        let keeping = Keeping {
            backup: was_ready && !state.headless,
            logs: state.prebuild,
        };
        let takes_snapshot = state.prebuild && was_ready;
        match state.disposal {
            Disposal::None => Some(What::BeginDisposal(keeping)),
            Disposal::Started if takes_snapshot && !state.has_snapshot && !state.explicit_fail => {
                Some(What::Snapshot)
            }
            Disposal::Started | Disposal::Retrying => Some(What::Dispose {
                keeping,
                again: state.disposal == Disposal::Retrying,
            }),
            Disposal::Finished => None,
        }
    }
}
