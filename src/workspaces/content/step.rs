//! What is to be done with the content of a workspace, beside the writes to its pod: a decision names it, a backend carries
//! it out, and its outcome is a mark on the pod.

use serde_json::Value;

/// One thing that a backend does. Doing it again does nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {}

impl Step {
    /// Says what is done.
    pub fn sentence(&self) -> String {
        match *self {}
    }

    /// Returns the step as `explain` and golden files have it.
    pub fn to_json(&self) -> Value {
        match *self {}
    }
}
