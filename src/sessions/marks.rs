//! Every label, annotation, finalizer and gate on the pods of a session (docs/protocol.md#sessions).

/// What begins the labels of a caller's own.
pub const CALLER_PREFIX: &str = "session.wsman.dev/";
/// Keeps a pod until its end was published.
pub const FINALIZER: &str = "wsman.dev/session";
/// Holds a pod back until its session is admitted.
pub const GATE: &str = "wsman.dev/queue";
/// Value of [`label::KIND`].
pub const KIND: &str = "session";

pub mod label {
    /// What kind of group a pod belongs to: `session`.
    pub const KIND: &str = "wsman.dev/kind";
    /// Id of the session.
    pub const GROUP: &str = "wsman.dev/group";
    /// Name of the component.
    pub const COMPONENT: &str = "wsman.dev/component";
    /// Role of the component.
    pub const ROLE: &str = "wsman.dev/role";
    /// Pool of the component.
    pub const POOL: &str = "wsman.dev/pool";
    /// Queue of the session.
    pub const QUEUE: &str = "wsman.dev/queue";
    /// Which installation made it, of several in one namespace.
    pub const INSTALLATION: &str = "wsman.dev/installation";
    /// Several components of one session, and of all sessions, are kept off one node by it.
    pub const ONE_PER_NODE: &str = "wsman.dev/one-per-node";
}

pub mod annotation {
    /// The session as it was asked for, with its defaults: base64 of gzip of its proto3 JSON. On the anchor.
    pub const SPEC: &str = "wsman.dev/spec";
    /// Fingerprint of the request.
    pub const SPEC_SHA256: &str = "wsman.dev/spec-sha256";
    /// How many pods the session has.
    pub const MEMBERS: &str = "wsman.dev/members";
    /// Place of the component in the spec.
    pub const PLACE: &str = "wsman.dev/place";
    /// When the session was put into its queue: orders the queue.
    pub const ENQUEUED_AT: &str = "wsman.dev/enqueued-at";
    /// When the session was admitted. On the anchor: from then on it holds its machines.
    pub const ADMITTED_AT: &str = "wsman.dev/admitted-at";
    /// Addresses of the other components, one in a line, where a file was asked for. On the anchor.
    pub const PEERS: &str = "wsman.dev/peers";
    /// When the decider was released. On the anchor.
    pub const RELEASED_AT: &str = "wsman.dev/released-at";
    /// Who asked for a stop, and why. On the anchor.
    pub const STOP: &str = "wsman.dev/stop";
    /// Why wsman ended a pod, which its own state does not say, as `<Reason>: <message>`. On the anchor: how the session
    /// ended, where the decider does not say it.
    pub const OUTCOME: &str = "wsman.dev/outcome";
    /// When that was.
    pub const OUTCOME_AT: &str = "wsman.dev/outcome-at";
    /// How long the session stays after its end, in seconds. On the anchor.
    pub const TTL: &str = "wsman.dev/ttl";
}
