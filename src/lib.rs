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
//! [`rpc`] is below all services and protocols: methods from descriptors, deadlines, limits, errors. [`grpc`] has one
//! service per noun, [`http`] turns JSON into calls, and neither knows the other; [`server`] composes them, and
//! [`daemon`] registers each service with one line.
//!
//! Replicas differ in one thing only: `cluster/reconcile` runs on the leader ([`lease`] decides, `cluster/lease` does
//! the IO).
//!
//! [`index`], [`hub`], [`cluster`], [`updates`], [`outbox`] and [`amqp`] serve every noun and name none. A noun registers
//! with the core by [`index::noun::Noun`], and with the daemon in [`daemon::workspaces`].
//!
//! # Glossary
//!
//! Words of Kubernetes and gRPC have their usual meaning. The others:
//!
//! - *noun*: a kind of thing that is served, with its own rules; so far [`workspaces`].
//! - *workspace*: one pod with a URL, an owner, timeouts, and an end that every subscriber receives.
//! - *group*: the pods that share one id; a workspace is one pod, and those that nodes rejected before it.
//! - *class*: the resources and the pod template of workspaces, by configuration.
//! - *mark*: a label, annotation or finalizer of a pod that wsman or another program reads.
//! - *plan*: the pod, Secret and Services of a start, before anything is written.
//! - *action*: one write to the API server, as a value.
//! - *status*: what clients see of a workspace; folded from its pod, the pod's warnings and its node.
//! - *phase*: the state of a workspace in its life, from PENDING to STOPPED.
//! - *version*: the resourceVersion of the pod of a status, plus an offset.
//! - *index*: everything known of the cluster, folded; the hub is the index behind its lock.
//! - *update*: a status that differs from the last one published; the log holds them in order.
//! - *topic*: a key for subscriptions: an owner, a meta id, an annotation.
//! - *subscription*: a cursor into the log; what it has not read is merged per group.
//! - *token*: a version as text, at which a subscription continues on any replica.
//! - *observer*: sees every input of the index and its result, such as the event trace log.
//! - *lifecycle*: the rules for what a workspace needs now.
//! - *decision*: their result: a rule, actions, and when to decide again.
//! - *leader*: the replica that holds the Lease, runs the lifecycle and publishes to the bus.
//! - *activity*: when a user was last active; recorded in ConfigMaps.
//! - *recreation*: creating a pod again that its node rejected; the rejected one stays as the anchor of its group.
//! - *rejection*: why a request reached no call.
//! - *deadline*: the moment by which a call must be answered.
//! - *outbox*: what the message bus has not confirmed yet.
//! - *component*: a part of the daemon that is ready, or has a reason why not.
//!
//! # Invariants
//!
//! `tests/it/tidy.rs` or a type holds each of these.
//!
//! 1. Pure modules do not await, read a clock, a file or the environment, and hold no client.
//! 2. Nothing outside [`cluster::act`] writes to Kubernetes; every write is a value of [`action::Action`].
//! 3. The hub's lock is private and never held across an await; updates are published under it, so a subscriber has
//!    neither gap nor repeat. That of [`updates`] is taken after it, never the other way round.
//! 4. Nothing is kept only in memory that a restart must not lose: state is in the marks of a pod
//!    ([`workspaces::marks`]), activity in ConfigMaps that all replicas merge ([`workspaces::activity::last_activity`]).
//! 5. The status is total: a malformed pod is UNKNOWN with a reason; it is never an error and never affects another.
//! 6. Every dependant of a workspace has an owner reference to its first pod, and so has every pod that is created for
//!    it again ([`workspaces::recreate`]), so garbage collection removes it.
//! 7. Only [`rpc::errors`] turns an [`error::Error`] into a gRPC status.
//! 8. An observer ([`index::observer`]) sees every input before it is folded, and its result; it hands over and
//!    returns, so it cannot delay the watch.
//! 9. The simulated cluster ([`wsman_sim`]) is another program, in a crate that does not know this one: only
//!    [`cli::simulate`] starts it, and the daemon reaches it over HTTP.
//!
//! Modules come in reading order: first the vocabulary, then the things, then what runs them.

pub mod action;
pub mod decision;
pub mod duration;
pub mod error;
pub mod json;
pub mod names;
pub mod objects;
pub mod proto;
pub mod quantity;
pub mod random;
pub mod redact;
pub mod retry;
pub mod spelling;
pub mod tls;

pub mod config;
pub mod history;
pub mod index;
pub mod lease;
pub mod outbox;
pub mod sessions;
pub mod updates;
pub mod window;
pub mod workspaces;

pub mod admin;
pub mod amqp;
pub mod backups;
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
pub mod spans;
pub mod tasks;
pub mod telemetry;
pub mod trace;
pub mod wsdaemon;

pub mod cli;

#[cfg(test)]
mod golden;
