//! The API server: connecting to it, watching it, writing to it, and driving the lifecycle against it.

pub mod act;
pub mod connect;
pub mod errors;
pub mod informer;
pub mod lease;
pub mod process;
pub mod reachability;
pub mod reconcile;
mod request;
pub mod rights;
mod transport;
pub mod watch;
