//! The method and the response of a request: generated from the descriptors for every unary method.

use prost::Message;

/// The request of a unary method.
pub trait Call: Message + 'static {
    /// Its response.
    type Answer: Message + Default + 'static;
    /// The method, such as `/wsman.WorkspaceManager/StartWorkspace`.
    const METHOD: &str;
}

/// The names of all unary methods that HTTP serves too.
pub use generated::UNARY;

#[allow(deprecated, unreachable_pub)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/calls.rs"));
}
