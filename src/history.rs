//! Checks what consumers of a deployment saw against the guarantees: observations in, violations out.
//!
//! Nothing here knows how statuses are made: the rules are those of docs/protocol.md, applied to what came over the wire, so
//! that they hold for any server of this protocol. Consumers record what they see in the order in which they see it;
//! the same rules check a run while it happens and its record afterwards.
//!
//! Per workspace, on every stream: versions grow, nothing is repeated, nothing follows STOPPED but a new start, STOPPED
//! comes once, and only what the filter matches is told. A list, and whatever a new stream tells, is not older than what
//! the same server told before it was asked for. Once things have settled, every open stream knows what the others were
//! told and what the lists say.
//!
//! A workspace that is STOPPING becomes STOPPED within a limit.
//!
//! On the message bus a message may come again under its id, once per reconnect: of the consumer, and of a publisher,
//! which shows in the session that messages name. STOPPED has one id, though another publisher may tell it in another
//! version; under a second id it would be told twice. A new publisher begins with every workspace as it is: the same state
//! may come again once more where the pod changed in what no status shows, in the newer version and under its id.

mod bus;
mod checker;
mod due;
mod observation;
mod stopping;
mod stream;
mod violation;

pub use checker::{Checker, Counts};
pub use observation::{Begin, Channel, Observation, Saw, State, read};
pub use stopping::STOPPING_WITHIN;
pub use violation::{Evidence, How, Kind, Violation};

/// Checks a whole history.
pub fn check<'a>(history: impl IntoIterator<Item = &'a Observation>) -> Vec<Violation> {
    let mut checker = Checker::default();
    let mut violations = Vec::new();
    for observation in history {
        violations.extend(checker.observe(observation));
    }
    violations.extend(checker.finish());
    violations
}

#[cfg(test)]
mod tests;
