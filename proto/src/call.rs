//! The method and the response of a request: generated from the descriptors for every unary method.

use super::wire::Wire;

/// The request of a unary method.
pub trait Call: Wire {
    /// Its response.
    type Answer: Wire;
    /// The method, such as `/wsman.WorkspaceManager/StartWorkspace`.
    const METHOD: &str;
}

/// The names of all unary methods that HTTP serves too.
pub use generated::UNARY;

#[allow(deprecated, unreachable_pub)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/calls.rs"));
}
