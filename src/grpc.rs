//! The gRPC services: one per noun, each with its own parts and the context that all calls share.

pub mod backups;
pub mod forward;
pub mod images;
pub mod inspect;
pub mod lookup;
pub mod operations;
pub mod sessions;
pub mod subscribe;
pub mod workspaces;
