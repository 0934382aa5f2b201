//! Stories of sessions, through the gRPC port, on the embedded cluster and on a real API server.

mod gang;
mod life;
mod queue;
