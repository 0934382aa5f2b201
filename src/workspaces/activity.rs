//! User activity: when a MarkActive counts and what it marks (docs/protocol.md#what-each-call-checks).

pub mod last_activity;
pub mod records;

use jiff::Timestamp;

use super::marks::annotation;
use super::pod_state::PodState;
use crate::action::Mark;
use crate::proto::wsman::MarkActiveRequest;

/// Value of [`super::marks::label::RECORD`] on the ConfigMaps that record activity; they have no label of a workspace.
pub const RECORD: &str = "activity";

/// The effect of a MarkActive.
#[derive(Debug, PartialEq, Eq)]
pub struct Activity {
    /// It updates the last activity.
    pub counts: bool,
    /// It changes marks; most heartbeats do not.
    pub mark: Option<Mark>,
}

/// Returns the effect of a request at `now`.
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

/// Prints a moment as RFC 3339 with nanoseconds, UTC; trailing zeros are omitted, as in Go.
pub fn format(moment: Timestamp) -> String {
    moment.to_string()
}
