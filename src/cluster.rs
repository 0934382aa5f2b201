//! The API server: its connection, watches, writes, and the lifecycle on top of them.

pub mod act;
pub mod connect;
pub mod errors;
pub mod informer;
pub mod lease;
pub mod logs;
pub mod process;
pub mod reachability;
pub mod reconcile;
mod request;
pub mod rights;
pub(crate) mod transport;
pub mod watch;
