//! wsman: a stateless gRPC daemon that runs workspaces as raw Kubernetes pods. This file is the map;
//! docs/architecture.md walks through it.
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
//! # Glossary
//!
//! Words of Kubernetes and of gRPC mean here what they mean there. The others:
//!
//! - *noun*: a kind of thing that is served, with rules of its own; so far [`workspaces`].
//! - *workspace*: one pod with a web address, an owner, timeouts, and an end that everybody hears of.
//! - *group*: what belongs together under one id; a workspace is a group of one pod.
//! - *class*: what a workspace may use and what its pod is made from, by configuration.
//! - *mark*: a label, annotation or finalizer of a pod that wsman or a caller's tools read.
//! - *plan*: the pod, Secret and Services of a start, before anything is written.
//! - *action*: one write to the API server, as a value.
//! - *status*: what clients see of a workspace; folded from its pod, the pod's warnings and its node.
//! - *phase*: where a workspace is in its life, from PENDING to STOPPED.
//! - *version*: the resourceVersion of the pod that a status was made of, plus an offset.
//! - *index*: everything known of the cluster, folded; the hub is the index behind its lock.
//! - *update*: a status that differs from the last one published; the log holds them in order.
//! - *topic*: what an update can be subscribed to by: an owner, a meta id, an annotation.
//! - *subscription*: a cursor into the log; what it has not read is merged per group.
//! - *token*: a version as text, at which a subscription continues on any replica.
//! - *observer*: what sees every input of the index and what came of it, such as the event trace log.
//! - *lifecycle*: the rules that say what a workspace needs now.
//! - *decision*: what they say: a rule, actions, and when to look again.
//! - *leader*: the replica that holds the Lease, runs the lifecycle and publishes to the bus.
//! - *activity*: when a user last gave a sign of life; recorded in ConfigMaps.
//! - *recreation*: making a pod again that its node rejected; a record stands for the workspace meanwhile.
//! - *rejection*: why a request never reached its call.
//! - *deadline*: the moment by which a call is answered.
//! - *outbox*: what the message bus has not confirmed yet.
//! - *component*: a part of the daemon that is ready or says why not.
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
//!    ([`workspaces::marks`]), activity in ConfigMaps that all replicas merge ([`workspaces::activity::last_activity`]).
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
pub mod decision;
pub mod duration;
pub mod error;
pub mod json;
pub mod objects;
pub mod proto;
pub mod quantity;
pub mod redact;
pub mod retry;
pub mod tls;

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
pub mod leadership;
pub mod readiness;
pub mod rpc;
pub mod server;
pub mod tasks;
pub mod telemetry;
pub mod trace;

pub mod cli;

#[cfg(test)]
mod golden;
