//! wsman.
pub mod proto;
