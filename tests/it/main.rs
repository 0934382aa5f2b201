//! The integration tests, one binary: a module per subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test did not expect ends it"
)]

#[macro_use]
mod support;

mod accepted;
mod activity;
mod again;
mod answers;
mod backups;
mod bad_input;
mod builder;
mod bus;
mod classic;
mod client;
mod configuration;
mod conformance;
mod content;
mod content_faults;
mod control;
mod edited;
mod ended;
mod failures;
mod faults;
mod held;
mod http;
mod inspect;
mod kubelet;
mod limits;
mod lost;
mod nodes;
mod outages;
mod pairs;
mod played;
mod processes;
mod readme;
mod recorded;
mod release;
mod reload;
mod replicas;
mod restarts;
mod rights;
mod scenarios;
mod schemas;
mod services;
mod sessions;
mod sessions_api;
mod stops;
mod streams;
mod tidy;
mod timeouts;
mod tls;
mod trace;
mod trace_log;
mod volumes;
mod wire;
mod writes;
mod wsdaemon;
