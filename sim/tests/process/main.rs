//! Pods whose containers are processes: the embedded API server and the kubelet, in a directory of the test. And what the
//! same API server answers about containers that are played.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test did not expect ends it"
)]

mod ends;
mod exec;
mod logs;
mod order;
mod played;
mod restarts;
mod volumes;
mod world;
