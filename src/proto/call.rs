//! Which method takes a request, and what answers it: made from the descriptors for every unary method.

use prost::Message;

/// The request of a unary method.
pub trait Call: Message + 'static {
    /// What answers it.
    type Answer: Message + Default + 'static;
    /// The method, such as `/wsman.WorkspaceManager/StartWorkspace`.
    const METHOD: &str;
}

/// The names of all unary methods that are served in every form.
pub use generated::UNARY;

#[allow(deprecated, unreachable_pub)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/calls.rs"));
}
