//! Workspaces that never end: all timeouts of a stop are over, and they are still STOPPING.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::stream::violation;
use super::violation::{Evidence, Kind, Violation};
use crate::proto::wsman::WorkspacePhase;

/// Longer than the timeouts of any stop in the example configuration.
pub const STOPPING_WITHIN: SignedDuration = SignedDuration::from_hours(2);

/// The workspaces that are STOPPING, by id.
#[derive(Debug, Clone)]
pub(super) struct Stopping {
    limit: SignedDuration,
    since: BTreeMap<String, Since>,
}

#[derive(Debug, Clone)]
struct Since {
    first: Arc<Evidence>,
    last: Arc<Evidence>,
    reported: bool,
}

impl Default for Stopping {
    fn default() -> Self {
        Self::within(STOPPING_WITHIN)
    }
}

impl Stopping {
    pub(super) fn within(limit: SignedDuration) -> Self {
        let since = BTreeMap::new();
        Self { limit, since }
    }

    /// Adds an observation.
    pub(super) fn learn(&mut self, seen: &Arc<Evidence>) {
        let state = &seen.state;
        let known = self.since.get_mut(&state.id);
        if known
            .as_ref()
            .is_some_and(|k| state.is_older(&k.last.state))
        {
            return;
        }
        match known {
            _ if state.phase != WorkspacePhase::Stopping => {
                self.since.remove(&state.id);
            }
            Some(known) if !known.last.state.starts_apart(state) => known.last = Arc::clone(seen),
            _ => {
                let since = Since {
                    first: Arc::clone(seen),
                    last: Arc::clone(seen),
                    reported: false,
                };
                self.since.insert(state.id.clone(), since);
            }
        }
    }

    /// Removes a workspace that is no longer listed.
    pub(super) fn forget(&mut self, id: &str) {
        self.since.remove(id);
    }

    /// Returns those whose limit is over at a moment, each once.
    pub(super) fn overdue(&mut self, at: Timestamp) -> Vec<Violation> {
        let limit = self.limit;
        let late = self
            .since
            .values_mut()
            .filter(|since| !since.reported && at.duration_since(since.first.at) > limit);
        late.map(|since| {
            since.reported = true;
            let why = "it is still stopping, longer than any limit allows";
            let evidence = [&since.first, &since.last];
            let several = usize::from(since.first.line != since.last.line) + 1;
            violation(
                &since.last.who,
                Kind::StuckStopping,
                why,
                evidence.into_iter().take(several),
            )
        })
        .collect()
    }
}
