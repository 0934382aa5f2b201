//! What the configuration says about sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use super::admission::Discipline;
use super::pools::PoolRules;

/// What the configuration says about sessions.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRules {
    /// Namespace of the pods.
    pub namespace: String,
    /// Value of the label by which several installations in one namespace keep apart.
    pub installation: String,
    /// Queues by name; `default` is always there.
    pub queues: BTreeMap<String, QueueRules>,
    pub pools: PoolRules,
    /// The pool of components that name none, by role.
    pub default_pools: BTreeMap<String, String>,
    /// Images that may run, or beginnings of some that end in a slash; empty: all may.
    pub image_prefixes: Vec<String>,
    /// Most components of a session.
    pub max_components: usize,
    /// How long a session may run that does not say it, and the longest that one may ask for.
    pub deadline: Limit,
    /// How long an ended session stays that does not say it, and the longest that one may ask for.
    pub ttl: Limit,
    /// How long an admitted session may take until all its components are ready.
    pub provisioning: Duration,
    /// How long a component may lack its image or its configuration.
    pub image: Duration,
    /// How long a component may find no node once it was admitted.
    pub unschedulable: Duration,
}

/// A duration that requests may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub default: Duration,
    pub longest: Duration,
}

/// What the configuration says about one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRules {
    pub discipline: Discipline,
    /// Most sessions that are admitted at a time; `None`: any number.
    pub limit: Option<u32>,
}

/// The queue of sessions that name none.
pub const DEFAULT_QUEUE: &str = "default";

const HOUR: Duration = Duration::from_secs(3_600);

impl Default for QueueRules {
    fn default() -> Self {
        Self {
            discipline: Discipline::Backfill {
                barrier: Duration::from_secs(600),
            },
            limit: None,
        }
    }
}

impl Default for SessionRules {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            installation: "wsman".to_owned(),
            queues: [(DEFAULT_QUEUE.to_owned(), QueueRules::default())].into(),
            pools: PoolRules::default(),
            default_pools: BTreeMap::new(),
            image_prefixes: Vec::new(),
            max_components: 500,
            deadline: Limit {
                default: HOUR,
                longest: HOUR * 24,
            },
            ttl: Limit {
                default: HOUR,
                longest: HOUR * 24 * 7,
            },
            provisioning: Duration::from_secs(900),
            image: Duration::from_secs(300),
            unschedulable: Duration::from_secs(120),
        }
    }
}
