//! The configuration: text in, `Config` or all of its problems out. It never opens a file.

use serde::Deserialize;

use crate::duration::GoDuration;

/// `manager.timeouts` (spec 5.6 and 7.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// After the user closed it, since the last activity.
    pub after_close: GoDuration,
    /// Whole life of a headless workspace.
    pub headless_workspace: GoDuration,
    /// PENDING, since creation.
    pub initialization: GoDuration,
    /// RUNNING without activity.
    pub regular_workspace: GoDuration,
    /// RUNNING in all, since creation.
    pub max_lifetime: GoDuration,
    /// CREATING and INITIALIZING, since creation.
    pub startup: GoDuration,
    /// STOPPING with a backup under way, since the deletion.
    pub content_finalization: GoDuration,
    /// STOPPING otherwise, since the deletion.
    pub stopping: GoDuration,
    /// INTERRUPTED, since the last activity; zero ends it at once.
    #[serde(default)]
    pub interrupted: GoDuration,
}
