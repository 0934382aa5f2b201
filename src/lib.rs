//! wsman.
pub mod action;
pub mod config;
pub mod duration;
pub mod error;
pub mod objects;
pub mod proto;
pub mod workspaces;
