//! Whether a workspace lacks Services that its marks call for: its start was cut short, or somebody removed them.

use std::time::Duration;

use jiff::Timestamp;

use super::decide::{Entry, Rules};
use super::names;
use crate::action::Action;
use crate::proto::wsman::WorkspacePhase;

/// A start creates its Services right after its pod; before that time they are not missed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be done now, and when to look again.
#[derive(Debug, Default, PartialEq)]
pub struct Repair {
    /// At most one action.
    pub action: Option<Action>,
    /// When Services that are not there yet will be missed.
    pub wake_at: Option<Timestamp>,
}

/// Returns the repair of a workspace; `exists` tells which Services there are.
pub fn missing(
    entry: &Entry,
    rules: &Rules,
    now: Timestamp,
    exists: impl Fn(&str) -> bool,
) -> Repair {
    let ends = matches!(
        entry.status.phase(),
        WorkspacePhase::Stopping | WorkspacePhase::Stopped
    );
    if !rules.services || !entry.facts.ours || entry.facts.deleting.is_some() || ends {
        return Repair::default();
    }
    let prefix = &entry.facts.service_prefix;
    let exposes = entry
        .status
        .spec
        .as_ref()
        .is_some_and(|spec| !spec.exposed_ports.is_empty());
    let complete =
        exists(&names::ide_service(prefix)) && (!exposes || exists(&names::ports_service(prefix)));
    let due = entry
        .facts
        .created
        .and_then(|created| created.checked_add(PATIENCE).ok());
    match due {
        _ if complete => Repair::default(),
        Some(due) if due > now => Repair {
            action: None,
            wake_at: Some(due),
        },
        _ => Repair {
            action: Some(Action::CreateServices(entry.pod.clone())),
            wake_at: None,
        },
    }
}
