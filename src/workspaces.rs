//! A workspace: a pod with marks. Requests become pods, pods become statuses, statuses become decisions.

pub mod activity;
pub mod bus_message;
pub mod case;
pub mod change;
pub mod classes;
pub mod container;
pub mod content;
pub mod decide;
pub mod ending;
pub mod entry;
mod env;
pub mod explanation;
pub mod filter;
pub mod id;
pub mod idempotency;
pub mod image;
pub mod initializer;
pub mod lifecycle;
pub mod maintenance;
pub mod marks;
pub mod names;
pub mod node;
pub mod noun;
pub mod plan;
mod pod;
pub mod pod_state;
pub mod port;
mod pvc;
pub mod recreate;
pub mod rejected;
pub mod request;
pub mod secret;
pub mod services;
mod sizes;
pub mod ssh_key;
pub mod start_request;
pub mod status;
pub mod stop;
pub mod sync_services;
pub mod template;
pub mod trace;
pub mod update;
pub mod url;

#[cfg(test)]
mod tests;

use crate::config::{Manager, Settings};
use content::Content;
use decide::{LifecyclePolicy, REPORT_STUCK_AFTER};
use status::Defaults;

/// Returns the values of a status whose pod has no mark for them.
pub fn defaults(manager: &Manager) -> Defaults {
    Defaults {
        timeout: manager.timeouts.regular_workspace.to_string(),
        closed_timeout: manager.timeouts.after_close.to_string(),
        version_offset: manager.status_version_offset,
        max_recreations: manager.recreation.max_retries,
    }
}

/// Returns the configured lifecycle policy.
pub fn policy(settings: &Settings) -> LifecyclePolicy {
    let manager = &settings.manager;
    let bus = settings.message_bus.as_ref();
    LifecyclePolicy {
        timeouts: Some(manager.timeouts.clone()),
        maintenance: manager.maintenance_mode.then_some(maintenance::FOR_EVER),
        recreate_after: manager.recreation.backoff.to_std(),
        services: manager.services,
        content: match (&manager.guest, manager.daemon()) {
            (Some(_), _) => Content::Guest,
            (None, Some(_)) => Content::WsDaemon,
            (None, None) => Content::None,
        },
        has_backups: manager
            .guest
            .as_ref()
            .is_some_and(|guest| guest.store.is_some()),
        report_stuck_after: Some(REPORT_STUCK_AFTER),
        announce_within: bus.map(|bus| bus.stopped_timeout.to_std()),
    }
}
