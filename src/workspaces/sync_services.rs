//! Whether the Services of a workspace are what its marks call for: a start or a change of its ports may have been cut
//! short, and somebody may have changed or removed them.

use std::time::Duration;

use jiff::Timestamp;

use super::decide::{Entry, LifecyclePolicy};
use super::names;
use super::services::Served;
use crate::action::Action;
use crate::config::Services;
use crate::proto::wsman::WorkspacePhase;

/// Who starts a workspace or changes its ports sees to the Services too; before that time they are not missed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be done now, and when to look again.
#[derive(Debug, Default, PartialEq)]
pub struct ServiceSync {
    /// At most one action.
    pub action: Option<Action>,
    /// When Services that are not as they should be will be looked at again.
    pub wake_at: Option<Timestamp>,
}

/// Returns the change of the Services of a workspace; `served` says what a Service of its pod serves, if it is there.
pub fn services<'a>(
    entry: &Entry,
    policy: &LifecyclePolicy,
    now: Timestamp,
    served: impl Fn(&str) -> Option<Served<'a>>,
) -> ServiceSync {
    let ends = matches!(
        entry.status.phase(),
        WorkspacePhase::Stopping | WorkspacePhase::Stopped
    );
    let state = &entry.state;
    let unnamed = state.service_prefix.is_empty();
    if !policy.services.exist() || !state.ours || unnamed || state.deleting.is_some() || ends {
        return ServiceSync::default();
    }
    let prefix = &state.service_prefix;
    let exposed = entry.status.spec.as_ref();
    let exposed = exposed.map_or(&[][..], |spec| spec.exposed_ports.as_slice());
    let ide = served(&names::ide_service(prefix)).is_some_and(Served::is_ide);
    // Without ports there is nothing to serve, and so no Service.
    let there = served(&names::ports_service(prefix)).unwrap_or_default();
    if ide && there.is_ports(exposed) {
        return ServiceSync::default();
    }
    let due = state
        .created
        .max(state.ports_changed)
        .and_then(|since| since.checked_add(PATIENCE).ok());
    match due {
        Some(due) if due > now => ServiceSync {
            action: None,
            wake_at: Some(due),
        },
        _ => ServiceSync {
            action: Some(Action::SyncServices {
                pod: entry.pod.clone(),
                headless: policy.services == Services::Headless,
            }),
            wake_at: None,
        },
    }
}

#[cfg(test)]
mod tests;
