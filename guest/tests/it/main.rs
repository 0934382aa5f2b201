//! The guest as pods run it: the real binary against real servers on loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod bad_input;
mod download;
mod git;
mod hold;
mod invariant;
mod kills;
mod lfs;
mod marker;
mod prebuild;
mod s3;
mod save;
mod server;
mod ssh;
mod stores;
mod support;
mod trees;
