//! A stop by request, as marks; and whether a status ends the wait for RUNNING.

use std::collections::BTreeMap;
use std::time::Duration;

use super::id;
use super::marks::annotation;
use crate::action::Mark;
use crate::duration::GoDuration;
use crate::error::{Error, FieldViolation};
use crate::proto::wsman::{
    StopWorkspacePolicy, StopWorkspaceRequest, WorkspacePhase, WorkspaceStatus,
};

/// Validates the request for a stop and returns its policy.
///
/// # Errors
/// [`Error::Invalid`] with every violation.
pub fn policy(request: &StopWorkspaceRequest) -> Result<StopWorkspacePolicy, Error> {
    let policy = StopWorkspacePolicy::try_from(request.policy).map_err(|_| {
        let why = format!("value {} is out of range", request.policy);
        FieldViolation::new("policy", why)
    });
    match (id::fault(&request.id), policy) {
        (None, Ok(policy)) => Ok(policy),
        (fault, policy) => Err(id::invalid(fault.into_iter().chain(policy.err()).collect())),
    }
}

/// Returns the mark of a stop request; `decide` deletes the pod when it sees it
/// (docs/protocol.md#what-each-call-checks).
pub fn mark(policy: StopWorkspacePolicy) -> Mark {
    let grace = GoDuration::from_secs(i64::try_from(grace(policy).as_secs()).unwrap_or(30));
    let mut set = BTreeMap::from([(annotation::STOPPED_BY_REQUEST.to_owned(), grace.to_string())]);
    if policy == StopWorkspacePolicy::Abort {
        set.insert(annotation::ABORT_REQUEST.to_owned(), "true".to_owned());
    }
    Mark {
        set,
        remove: Vec::new(),
    }
}

/// Returns the grace period of a policy.
pub fn grace(policy: StopWorkspacePolicy) -> Duration {
    match policy {
        StopWorkspacePolicy::Normally => Duration::from_secs(30),
        StopWorkspacePolicy::Immediately | StopWorkspacePolicy::Abort => Duration::from_secs(1),
    }
}

/// The state of a wait for RUNNING.
#[derive(Debug, PartialEq, Eq)]
pub enum Wait {
    Running,
    /// It will not run any more, and why.
    Over(String),
    /// Not yet.
    Goes,
}

/// Returns the state of a wait for RUNNING.
pub fn wait(status: &WorkspaceStatus) -> Wait {
    let conditions = status.conditions.clone().unwrap_or_default();
    let why = [conditions.failed, conditions.timeout]
        .into_iter()
        .find(|why| !why.is_empty());
    match (status.phase(), why) {
        (_, Some(why)) => Wait::Over(format!("workspace {} will not run: {why}", status.id)),
        (WorkspacePhase::Running, None) => Wait::Running,
        (WorkspacePhase::Stopping | WorkspacePhase::Stopped, None) => {
            Wait::Over(format!("workspace {} was stopped before it ran", status.id))
        }
        (_, None) => Wait::Goes,
    }
}
