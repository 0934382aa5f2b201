//! The spans of logs, with the same fields wherever something is done: `kind` of Kubernetes objects, `noun` and `group` of
//! what they belong to, the `rule` of a decision, the `method` of a call.

use tracing::{Span, debug_span, info_span};

/// The watch of one kind of objects.
pub fn watch(kind: &str) -> Span {
    debug_span!("watch", kind)
}

/// The actions of one decision on a group.
pub fn act(noun: &'static str, group: &str, rule: &'static str) -> Span {
    info_span!("act", noun, group, rule)
}

/// A call that changes a group.
pub fn call(method: &'static str, noun: &'static str, group: &str) -> Span {
    info_span!("call", method, noun, group)
}
