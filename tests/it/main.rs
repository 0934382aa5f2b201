//! The integration tests, one binary: a module per subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test did not expect ends it"
)]

#[macro_use]
mod support;

mod activity;
mod bad_input;
mod client;
mod conformance;
mod control;
mod faults;
mod kubelet;
mod limits;
mod processes;
mod reload;
mod replicas;
mod scenarios;
mod tidy;
mod tls;
