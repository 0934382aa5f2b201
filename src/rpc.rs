//! What all services and protocols share: methods, deadlines, limits, errors, shutdown.
//!
//! Nothing here names a service. The methods and their kinds come from descriptors ([`methods`]).

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

/// Largest request, as in the classic ws-manager (docs/protocol.md#limits-of-a-request).
pub const REQUEST_LIMIT: usize = 16 << 20;
