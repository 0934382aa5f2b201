//! Which sessions a caller selects.

use std::sync::Arc;

use crate::error::{Error, FieldViolation};
use crate::proto::wsman::sessions::v1::{Phase, SessionFilter, SessionSpec};

/// A selection; an empty one has everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    wanted: SessionFilter,
    /// Only the session of this id.
    id: Option<Arc<str>>,
}

impl Filter {
    /// Returns the filter of a request.
    ///
    /// # Errors
    /// [`Error::Invalid`] with each phase that is none.
    pub fn parse(filter: Option<SessionFilter>) -> Result<Self, Error> {
        let wanted = filter.unwrap_or_default();
        let phases = wanted.phases.iter().enumerate();
        let unknown = phases.filter(|(_, phase)| Phase::try_from(**phase).is_err());
        let violations: Vec<_> = unknown
            .map(|(at, phase)| {
                let why = format!("{phase} is no Phase");
                FieldViolation::new(format!("filter.phases[{at}]"), why)
            })
            .collect();
        if let Some(first) = violations.first() {
            return Err(Error::Invalid {
                message: format!("invalid request: {}: {}", first.field, first.why),
                violations,
            });
        }
        Ok(Self { wanted, id: None })
    }

    /// Returns the filter of one session, which is in a queue.
    pub fn one(id: &Arc<str>, queue: &str) -> Self {
        let wanted = SessionFilter {
            queue: queue.to_owned(),
            ..SessionFilter::default()
        };
        Self {
            wanted,
            id: Some(Arc::clone(id)),
        }
    }

    /// Whether a session is selected.
    pub fn selects(&self, id: &str, spec: &SessionSpec, phase: Phase) -> bool {
        let wanted = &self.wanted;
        let mut labels = wanted.labels.iter();
        self.id.as_deref().is_none_or(|wanted| wanted == id)
            && (wanted.queue.is_empty() || wanted.queue == spec.queue)
            && (wanted.phases.is_empty() || wanted.phases.contains(&phase.into()))
            && labels.all(|(key, value)| spec.labels.get(key) == Some(value))
    }

    /// Returns the queue that it selects; empty for all.
    pub fn queue(&self) -> &str {
        &self.wanted.queue
    }
}
