//! What a group needs: the answer of a noun's rules, which the reconcile loop carries out.

use std::sync::Arc;

use jiff::Timestamp;

use crate::action::Action;

/// A moment at which a group is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wake {
    /// When.
    pub at: Timestamp,
    /// What happens then.
    pub reason: &'static str,
    /// The configuration key or annotation that says when; empty where it is fixed.
    pub source: &'static str,
}

/// What to do with one group. `S` are the noun's steps: what takes longer than a write, and happens outside of the API server.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<S> {
    /// The rule that decided, for people.
    pub rule: &'static str,
    /// Writes, in this order; a failed one ends the sequence.
    pub actions: Vec<Action>,
    /// What is to go on beside the actions; one that this decision does not name ends.
    pub step: Option<S>,
    /// The earliest moment at which the answer changes without any event.
    pub wake_at: Option<Wake>,
    /// The message bus has not confirmed the last update, and the pod waits no longer.
    pub unannounced: bool,
}

impl<S> Default for Decision<S> {
    fn default() -> Self {
        Self {
            rule: "",
            actions: Vec::new(),
            step: None,
            wake_at: None,
            unannounced: false,
        }
    }
}

/// What to do with groups that share something.
#[derive(Debug, Clone, PartialEq)]
pub struct Together<S> {
    /// By the keys of groups, in the order in which they come.
    pub decisions: Vec<(Arc<str>, Decision<S>)>,
    /// The earliest moment at which the answer changes without any event.
    pub wake_at: Option<Timestamp>,
}

impl<S> Default for Together<S> {
    fn default() -> Self {
        Self {
            decisions: Vec::new(),
            wake_at: None,
        }
    }
}
