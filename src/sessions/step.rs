//! What a session needs that takes longer than a write.

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Let the held decider go on.
    Release,
}
