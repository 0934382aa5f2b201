//! Whether the Services of a workspace are what its marks call for: a start or a change of its ports may have been cut
//! short, and somebody may have changed or removed them.

use std::time::Duration;

use jiff::Timestamp;

use super::decide::LifecyclePolicy;
use super::entry::Workspace;
use super::{names, services};
use crate::action::Action;
use crate::config::Services;
use crate::index::noun::Group;
use crate::index::served::Served;
use crate::proto::wsman::WorkspacePhase;

/// Who starts a workspace or changes its ports sees to the Services too; before that time they are not missed.
const GRACE: Duration = Duration::from_secs(10);

/// What is to be done now, and when to look again.
#[derive(Debug, Default, PartialEq)]
pub struct ServiceSync {
    /// At most one action.
    pub action: Option<Action>,
    /// When Services that are not as they should be will be looked at again.
    pub wake_at: Option<Timestamp>,
}

/// Returns the change of the Services of a workspace; `served` says what a Service of it serves, if it is there.
pub fn step<'a>(
    group: &Group<Workspace>,
    policy: &LifecyclePolicy,
    now: Timestamp,
    served: impl Fn(&str) -> Option<Served<'a>>,
) -> ServiceSync {
    let ends = matches!(
        group.phase(),
        WorkspacePhase::Stopping | WorkspacePhase::Stopped
    );
    let newest = group.newest();
    let state = &newest.entry.state;
    let unnamed = state.service_prefix.is_empty();
    if !policy.services.exist() || !state.ours || unnamed || state.deleting.is_some() || ends {
        return ServiceSync::default();
    }
    let prefix = &state.service_prefix;
    let exposed = state.exposed_ports.as_slice();
    let ide = served(&names::ide_service(prefix)).is_some_and(services::is_ide);
    // Without ports there is nothing to serve, and so no Service.
    let there = served(&names::ports_service(prefix)).unwrap_or_default();
    if ide && services::is_ports(there, exposed) {
        return ServiceSync::default();
    }
    let due = state
        .created
        .max(state.ports_changed)
        .and_then(|since| since.checked_add(GRACE).ok());
    match due {
        Some(due) if due > now => ServiceSync {
            action: None,
            wake_at: Some(due),
        },
        _ => ServiceSync {
            action: Some(services::sync(
                group.anchor(),
                newest.pod.clone(),
                prefix,
                policy.services == Services::Headless,
            )),
            wake_at: None,
        },
    }
}

#[cfg(test)]
mod tests;
