//! Signs of life: what a MarkActive counts for and what it marks (docs/protocol.md#what-each-call-checks).

pub mod last_activity;

use jiff::Timestamp;

use super::marks::annotation;
use super::pod_state::PodState;
use crate::action::Mark;
use crate::proto::wsman::MarkActiveRequest;

/// Value of [`super::marks::label::RECORD`] on the ConfigMaps that record activity; they carry no label of a workspace.
pub const RECORD: &str = "activity";

/// What follows from a MarkActive.
#[derive(Debug, PartialEq, Eq)]
pub struct Activity {
    /// It moves the last activity.
    pub counts: bool,
    /// It changes marks; most heartbeats do not.
    pub mark: Option<Mark>,
}

/// Returns what follows from a request at `now`.
pub fn mark(state: &PodState, request: &MarkActiveRequest, now: Timestamp) -> Activity {
    if request.ignore_if_active && state.ever_active {
        return Activity {
            counts: false,
            mark: None,
        };
    }
    let mut mark = Mark::default();
    if !state.ever_active {
        mark.set
            .insert(annotation::FIRST_USER_ACTIVITY.to_owned(), format(now));
    }
    match (request.closed, state.closed) {
        (true, false) => drop(
            mark.set
                .insert(annotation::CLOSED.to_owned(), "true".to_owned()),
        ),
        (false, true) => mark.remove.push(annotation::CLOSED.to_owned()),
        _ => {}
    }
    let unchanged = mark == Mark::default();
    Activity {
        counts: true,
        mark: (!unchanged).then_some(mark),
    }
}

/// Prints a moment as RFC 3339 with nanoseconds, UTC; zeros at the end are left out, as Go does.
pub fn format(moment: Timestamp) -> String {
    moment.to_string()
}
