//! Checks the observations of a deployment's consumers against the guarantees: observations in, violations out.
//!
//! Nothing here knows how statuses are made. The rules are those of docs/protocol.md, applied to what comes over the
//! wire, so they hold for any server of this protocol. Consumers record what they see in the order in which they see
//! it; the same rules check a run while it happens and its record afterwards.
//!
//! Per workspace, on every stream: versions grow, nothing is repeated, only a new start follows STOPPED, STOPPED is
//! sent once, and only what the filter matches is sent. A list, and whatever a new stream sends, is not older than what
//! the same server sent before the request. When a history is settled, every open stream has received what the others
//! received and what the lists have.
//!
//! A workspace that is STOPPING becomes STOPPED within a limit.
//!
//! On the message bus a message may be repeated under its id, once per reconnect of the consumer or of a publisher,
//! which shows in the session id of the messages. STOPPED has one id, though another publisher may send it in another
//! version; under a second id it would be published twice. A new publisher starts with the current state of every
//! workspace: the same state may be repeated once more, in the newer version and under its id, if the pod changed in a
//! way that no status shows.

mod bus;
mod checker;
mod observation;
mod settle;
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
