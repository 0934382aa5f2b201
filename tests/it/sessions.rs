//! Stories of sessions, through the gRPC port, on the embedded cluster and on a real API server. A story that
//! begins with `c11` proves a promise of docs/protocol.md#sessions.

mod ends;
mod faults;
pub(crate) mod gang;
mod life;
mod queue;
mod rights;
mod starts;
