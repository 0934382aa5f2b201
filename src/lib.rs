//! wsman: a stateless gRPC daemon that runs workspaces as raw Kubernetes pods. This file is the map.
//!
//! ```text
//!  client ─▶ rpc ─▶ grpc ── plan (pure) ─┐                ┌─▶ grpc Subscribe ─▶ clients
//!    http ───▲                           ▼                ├─▶ amqp { outbox (pure) } ─▶ RabbitMQ
//!  API server ◀── cluster/act ◀─ Actions                  │
//!       │                         ▲                       │
//!       │                         └── decide (pure) ◀── cluster/reconcile
//!       └─▶ cluster/informer ─▶ hub { index (pure) } ─▶ updates
//!                                └─▶ observers, such as trace ─▶ file
//! ```
//!
//! [`rpc`] is below every service and every form of a call: methods as descriptors tell them, deadlines, limits, errors.
//! [`grpc`] has one service per noun, [`http`] makes calls of JSON, and neither knows the other; [`server`] puts them
//! together, and [`daemon`] registers each service with one line.
//!
//! Replicas differ in one thing only: `cluster/reconcile` runs where the Lease is held ([`lease`] decides,
//! `cluster/lease` carries it out).
//!
//! [`updates`], [`outbox`] and [`amqp`] serve every noun and name none. What they need to know of [`workspaces`] is
//! registered once, by [`daemon::feed`] and by [`workspaces::update`].
//!
//! # Invariants
//!
//! `tests/it/tidy.rs` or a type holds each of these.
//!
//! 1. Pure modules do not await, read a clock, a file or the environment, and hold no client.
//! 2. Nothing outside [`cluster::act`] writes to Kubernetes; every write is a value of [`action::Action`].
//! 3. The hub's lock is private and never held across an await; updates are published under it, so a subscriber has
//!    neither gap nor repeat. That of [`updates`] is taken after it, never the other way round.
//! 4. Nothing is remembered that a restart may not forget: state lives in the marks of a pod
//!    ([`workspaces::marks`]), activity in ConfigMaps that all replicas merge ([`workspaces::activity::journal`]).
//! 5. The status is total: a malformed pod is UNKNOWN and says why; it is never an error and never spoils another.
//! 6. Whatever a pod needs beside it carries an owner reference to it, or to the record that stands for it while it is
//!    made again ([`workspaces::recreate`]), so nothing has to be swept.
//! 7. Only [`rpc::errors`] turns an [`error::Error`] into a gRPC status.
//! 8. An observer ([`index::observer`]) sees every input before it is folded, and what came of it; it hands over and
//!    returns, so that it can never delay the watch.
//! 9. The simulated cluster ([`wsman_sim`]) is another program, in a crate that does not know this one: only
//!    [`cli::simulate`] starts it, and the daemon reaches it over HTTP.
//!
//! Modules come in reading order: first the vocabulary, then the things, then what runs them.

pub mod action;
pub mod duration;
pub mod error;
pub mod objects;
pub mod proto;
pub mod quantity;
pub mod redact;

pub mod config;
pub mod history;
pub mod index;
pub mod lease;
pub mod outbox;
pub mod updates;
pub mod window;
pub mod workspaces;

pub mod admin;
pub mod amqp;
pub mod clock;
pub mod cluster;
pub mod daemon;
pub mod grpc;
pub mod http;
pub mod hub;
pub mod readiness;
pub mod rpc;
pub mod server;
pub mod tasks;
pub mod telemetry;
pub mod tenure;
pub mod trace;

pub mod cli;

#[cfg(test)]
mod golden;
