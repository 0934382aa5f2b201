//! Stories of sessions, through the gRPC port, on the embedded cluster and on a real API server. Each is named after the
//! row of docs/protocol.md#what-sessions-promise that it proves.

mod ends;
mod faults;
pub(crate) mod gang;
mod life;
mod queue;
mod starts;
