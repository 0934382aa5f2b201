//! What lies below every service and every form of a call: its method, its deadline, its limits, its errors, its end.
//!
//! Nothing here names a service. Which methods there are, and what kind each is, comes from descriptors ([`methods`]).

pub mod arriving;
pub mod call;
pub mod deadline;
pub mod errors;
pub mod frames;
pub mod in_flight;
pub mod intake;
pub mod keyed_lock;
pub mod limits;
pub mod methods;
pub mod packing;
pub mod rejection;

/// Largest request, as callers of the classic manager know it (docs/protocol.md#limits-of-a-request).
pub const REQUEST_LIMIT: usize = 16 << 20;
