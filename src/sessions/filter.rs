//! Which sessions a caller selects.

use crate::proto::wsman::sessions::v1::{Phase, SessionFilter, SessionSpec};

/// A selection; an empty one has everything.
#[derive(Debug, Clone, Default)]
pub struct Filter(SessionFilter);

impl Filter {
    /// Returns the filter of a request.
    pub fn new(filter: Option<SessionFilter>) -> Self {
        Self(filter.unwrap_or_default())
    }

    /// Whether a session is selected.
    pub fn selects(&self, spec: &SessionSpec, phase: Phase) -> bool {
        let wanted = &self.0;
        let mut labels = wanted.labels.iter();
        (wanted.queue.is_empty() || wanted.queue == spec.queue)
            && (wanted.phases.is_empty() || wanted.phases.contains(&phase.into()))
            && labels.all(|(key, value)| spec.labels.get(key) == Some(value))
    }

    /// Returns the queue that it selects; empty for all.
    pub fn queue(&self) -> &str {
        &self.0.queue
    }
}
