//! The gRPC services: one per noun or wire, each with its own parts and the context of all calls.

pub mod forward;
pub mod images;
pub mod inspect;
pub mod lookup;
pub mod workspaces;
