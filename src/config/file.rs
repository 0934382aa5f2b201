//! The configuration file as written, with quantities and durations as strings.

use std::collections::BTreeMap;
use std::fmt;

use super::settings::{ClientAuth, RateLimit, Services, StorageKind, Timeouts, Tls, UnknownClass};
use crate::duration::GoDuration;

/// The whole file.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) manager: Manager,
    pub(super) rpc_addr: String,
    pub(super) rpc_tls: Tls,
    pub(super) client_auth: Option<ClientAuth>,
    pub(super) allow_origins: Vec<String>,
    pub(super) rate_limits: BTreeMap<String, RateLimit>,
    pub(super) kubernetes: Option<Kubernetes>,
    pub(super) sessions: Option<Sessions>,
    pub(super) message_bus: Option<MessageBus>,
    pub(super) guest: Guest,
    pub(super) content: Content,
    pub(super) image_builder: ImageBuilder,
    pub(super) health_addr: String,
    pub(super) prometheus_addr: String,
    pub(super) pprof_addr: String,
}

/// `manager`.
#[derive(Debug, Clone, Default)]
pub(super) struct Manager {
    pub(super) namespace: String,
    pub(super) scheduler_name: String,
    pub(super) seccomp_profile: String,
    pub(super) timeouts: Timeouts,
    pub(super) url_template: String,
    pub(super) port_url_template: String,
    pub(super) workspace_host_path: String,
    pub(super) heartbeat_interval: GoDuration,
    pub(super) host_url: String,
    pub(super) event_trace_log: String,
    pub(super) maintenance_mode: bool,
    pub(super) daemon_port: u16,
    pub(super) daemon_tls: Tls,
    pub(super) registry_facade_host: String,
    pub(super) workspace_cluster_host: String,
    pub(super) classes: BTreeMap<String, Class>,
    pub(super) preferred_class: String,
    pub(super) unknown_class: UnknownClass,
    pub(super) debug_workspace_pod: bool,
    pub(super) pod_recreation_max_retries: u32,
    pub(super) pod_recreation_backoff: GoDuration,
    pub(super) services: Services,
    pub(super) status_version_offset: u64,
}

/// A class.
#[derive(Debug, Clone, Default)]
pub(super) struct Class {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) credits_per_minute: f64,
    pub(super) requests: Amounts,
    pub(super) limits: Amounts,
    pub(super) cpu_min: String,
    pub(super) default_path: String,
    pub(super) regular_path: String,
    pub(super) prebuild_path: String,
    pub(super) imagebuild_path: String,
    pub(super) pvc: Pvc,
    pub(super) prebuild_pvc: Pvc,
    pub(super) backup_interval: GoDuration,
    pub(super) git_secret: String,
}

/// Quantities as strings; empty if absent. `cpu` of limits is the burst limit.
#[derive(Debug, Clone, Default)]
pub(super) struct Amounts {
    pub(super) cpu: String,
    pub(super) memory: String,
    pub(super) ephemeral_storage: String,
    pub(super) storage: String,
}

/// `pvc` and `prebuildPVC`.
#[derive(Debug, Clone, Default)]
pub(super) struct Pvc {
    pub(super) size: String,
    pub(super) storage_class: String,
    pub(super) snapshot_class: String,
}

/// `kubernetes`.
#[derive(Debug, Clone, Default)]
pub(super) struct Kubernetes {
    pub(super) mode: Mode,
    pub(super) kubeconfig: String,
    pub(super) listen: String,
    pub(super) runtime: Runtime,
    pub(super) directory: String,
    pub(super) allow_root: bool,
    pub(super) nodes: BTreeMap<String, Node>,
}

/// `kubernetes.nodes.<node>`.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) count: u32,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) capacity: BTreeMap<String, String>,
}

/// `kubernetes.runtime`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Runtime {
    #[default]
    Simulated,
    Process,
}

/// `kubernetes.mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Mode {
    Embedded,
    Kubeconfig,
    #[default]
    InCluster,
}

/// `sessions`.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    pub(super) installation: String,
    pub(super) queues: BTreeMap<String, Queue>,
    pub(super) pools: Pools,
    pub(super) default_pools: BTreeMap<String, String>,
    pub(super) image_prefixes: Vec<String>,
    pub(super) max_components: u32,
    pub(super) deadline: Limit,
    pub(super) ttl: Limit,
    pub(super) provisioning: GoDuration,
    pub(super) image_timeout: GoDuration,
    pub(super) unschedulable_timeout: GoDuration,
}

/// `sessions.queues.<queue>`. A barrier or a limit of 0 is absent.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    pub(super) order: Order,
    pub(super) barrier: GoDuration,
    pub(super) limit: u32,
}

/// `sessions.queues.<queue>.discipline`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Backfill,
    Strict,
}

/// `sessions.pools`.
#[derive(Debug, Clone, Default)]
pub(super) struct Pools {
    pub(super) label: String,
    pub(super) tolerations: Vec<String>,
    pub(super) elastic: BTreeMap<String, u32>,
    pub(super) fixed: BTreeMap<String, u32>,
}

/// `sessions.deadline` and `sessions.ttl`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limit {
    pub(super) default: GoDuration,
    pub(super) longest: GoDuration,
}

/// `messagebus`.
#[derive(Debug, Clone, Default)]
pub(super) struct MessageBus {
    pub(super) url: String,
    pub(super) url_file: String,
    pub(super) exchange: String,
    pub(super) tls: Tls,
    pub(super) confirm_timeout: GoDuration,
    pub(super) window: u32,
    pub(super) stopped_timeout: GoDuration,
}

/// `guest`.
#[derive(Debug, Clone, Default)]
pub(super) struct Guest {
    pub(super) image: String,
    pub(super) content_image: String,
    pub(super) command: String,
}

/// `content`.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) storage: Storage,
    pub(super) git: Git,
}

/// `content.storage`.
#[derive(Clone, Default)]
pub(super) struct Storage {
    pub(super) kind: StorageKind,
    pub(super) keep: u32,
    pub(super) path: String,
    pub(super) s3: Bucket,
    pub(super) minio: Bucket,
    pub(super) gcloud: Bucket,
    pub(super) azure: Bucket,
}

/// One bucket. A secret may be in it.
#[derive(Clone, Default)]
pub(super) struct Bucket {
    pub(super) bucket: String,
    pub(super) region: String,
    pub(super) endpoint: String,
    pub(super) secure: bool,
    pub(super) account: String,
    pub(super) access_key: String,
    pub(super) access_key_file: String,
    pub(super) secret_key: String,
    pub(super) secret_key_file: String,
    pub(super) credentials_file: String,
}

/// It shows no secret.
impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// `content.git`.
#[derive(Debug, Clone, Default)]
pub(super) struct Git {
    pub(super) known_hosts_file: String,
    pub(super) accept_new_host_keys: bool,
    pub(super) allow_file_remotes: bool,
    pub(super) instead_of: Vec<String>,
}

/// `imageBuilderProxy`.
#[derive(Debug, Clone, Default)]
pub(super) struct ImageBuilder {
    pub(super) target_addr: String,
    pub(super) tls: Tls,
}
