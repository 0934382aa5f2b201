//! The values of a checked configuration.

use std::collections::BTreeMap;

use serde::Deserialize;
use wsman_store::settings::StoreSettings;

use crate::duration::GoDuration;
use crate::quantity::Quantity;
use crate::sessions::rules::SessionRules;
use crate::workspaces::url::UrlTemplate;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The pods and the timeouts of workspaces.
    pub manager: Manager,
    /// The listener for clients.
    pub rpc: Rpc,
    /// The cluster.
    pub kubernetes: Kubernetes,
    /// The program of wsman in pods, if its image is configured.
    pub guest: Option<GuestProgram>,
    /// Sessions, if they are served.
    pub sessions: Option<SessionRules>,
    /// The broker of updates, if any.
    pub message_bus: Option<MessageBus>,
    /// The destination of `builder.ImageBuilder` calls, if any.
    pub image_builder: Option<ImageBuilder>,
    /// `host:port` of the health endpoints, if any.
    pub health_addr: Option<String>,
    /// `host:port` of the metrics endpoint, if any.
    pub prometheus_addr: Option<String>,
    /// `host:port` of the profiling endpoint, if any.
    pub pprof_addr: Option<String>,
}

/// The `manager` block.
#[derive(Debug, Clone)]
pub struct Manager {
    /// Namespace of all objects.
    pub namespace: String,
    /// Scheduler of the pods; empty for the cluster's default.
    pub scheduler_name: String,
    /// Seccomp profile on the nodes; empty for the container runtime's default.
    pub seccomp_profile: String,
    /// The kind of the nodes.
    pub nodes: Nodes,
    /// `hostURL` as written, scheme included if it has one.
    pub host_url: String,
    /// Value of GITPOD_WORKSPACE_CLUSTER_HOST.
    pub cluster_host: String,
    /// URL of a workspace.
    pub url_template: UrlTemplate,
    /// URL of a port of a workspace; may be empty, then ports have no URL.
    pub port_url_template: UrlTemplate,
    /// What fills and saves workspaces on plain nodes, if anything does.
    pub guest: Option<Guest>,
    /// How often a workspace reports activity.
    pub heartbeat_interval: GoDuration,
    /// How long each phase may last.
    pub timeouts: Timeouts,
    /// Classes by id; `default` is among them.
    pub classes: BTreeMap<String, Class>,
    /// Class that DescribeCluster recommends.
    pub preferred_class: String,
    /// The class of a start with an unknown class.
    pub unknown_class: UnknownClass,
    /// Which Services workspaces get.
    pub services: Services,
    /// Added to a pod's resourceVersion to make a status version.
    pub status_version_offset: u64,
    /// File of the event trace log, "-" for the log; empty for none.
    pub event_trace_log: String,
    /// Whether starts are blocked.
    pub maintenance_mode: bool,
    /// Whether pods have a finalizer that only a person removes.
    pub debug_workspace_pod: bool,
    /// The recreation of rejected pods.
    pub recreation: Recreation,
}

impl Manager {
    /// Returns the ws-daemon of the nodes, if they have one that is called.
    pub fn daemon(&self) -> Option<&Daemon> {
        match &self.nodes {
            Nodes::Plain => None,
            Nodes::Gitpod(nodes) => nodes.daemon.as_ref(),
        }
    }

    /// Returns the id and the class for a request with `id`: unknown ones fall back to `default`
    /// (docs/protocol.md#what-callers-can-rely-on). `None` only for settings with errors.
    pub fn class(&self, id: &str) -> Option<(&str, &Class)> {
        self.classes
            .get_key_value(id)
            .or_else(|| self.classes.get_key_value(DEFAULT_CLASS))
            .map(|(id, class)| (id.as_str(), class))
    }
}

/// `manager.services`: which Services workspaces get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Services {
    /// None.
    #[default]
    Off,
    /// Without a cluster IP: the name of a Service resolves to the pod. Only a Service that maps a port has a
    /// cluster IP. An address costs the API server more than a pod, and each node a rule.
    Headless,
    /// With a cluster IP.
    ClusterIp,
}

impl Services {
    /// Whether there are any Services.
    pub fn exist(self) -> bool {
        self != Self::Off
    }
}

/// Id of the class of a request without one.
pub(super) const DEFAULT_CLASS: &str = "default";

/// `manager.unknownClass`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownClass {
    /// The class `default`, as in the classic manager.
    #[default]
    Default,
    /// An error with the known classes.
    Refuse,
}

/// The kind of the cluster's nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nodes {
    /// Ordinary nodes: the workspace's own image runs on an empty volume.
    Plain,
    /// A registry facade and a ws-daemon (docs/protocol.md#pods).
    Gitpod(GitpodNodes),
}

/// The `manager` keys for Gitpod nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitpodNodes {
    /// `host[:port]` of the registry facade.
    pub registry_facade_host: String,
    /// Directory on the node with the content of workspaces.
    pub workspace_host_path: String,
    /// The ws-daemon of each node, if it is called.
    pub daemon: Option<Daemon>,
}

/// `guest`: the program of wsman that runs in pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestProgram {
    /// Image with `wsman-guest`; it may have nothing else.
    pub image: String,
    /// Path of `wsman-guest` in it.
    pub command: String,
}

/// `guest` and `content`: what fills and saves workspaces on plain nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Guest {
    /// Image with `wsman-guest`, git, git-lfs and ssh.
    pub image: String,
    /// Path of `wsman-guest` in it.
    pub command: String,
    /// Where content is saved, if it is.
    pub store: Option<Store>,
    /// How it clones.
    pub git: Git,
}

/// `content.storage.kind`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum StorageKind {
    /// Nothing is saved.
    #[default]
    None,
    /// A directory of the node.
    Local,
    /// Amazon S3.
    S3,
    /// A server of the S3 protocol.
    Minio,
    /// Google Cloud Storage.
    Gcloud,
    /// Azure Blob Storage.
    Azure,
}

/// `content.storage`.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// Backups of a workspace that are kept.
    pub keep: u32,
    /// As the guest reads it, with its credentials.
    pub settings: StoreSettings,
}

/// `content.git`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Git {
    /// Lines of a `known_hosts` file.
    pub known_hosts: String,
    pub accept_new_host_keys: bool,
    pub allow_file_remotes: bool,
    /// Prefixes of URLs and their replacements.
    pub instead_of: Vec<(String, String)>,
}

/// `manager.wsdaemon`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Port on the node.
    pub port: u16,
    /// Certificates, if the daemon uses TLS.
    pub tls: Option<Tls>,
}

/// Paths of certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificate authority of the peer; empty for none.
    pub ca: String,
    /// Our certificate; empty for none.
    pub cert: String,
    /// Its key; empty for none.
    pub key: String,
}

/// `manager.timeouts` (docs/protocol.md#timeouts).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// After the user closed it, since the last activity.
    pub after_close: GoDuration,
    /// Whole life of a headless workspace.
    pub headless_workspace: GoDuration,
    /// PENDING, since creation.
    pub initialization: GoDuration,
    /// RUNNING without activity.
    pub regular_workspace: GoDuration,
    /// RUNNING in all, since creation.
    pub max_lifetime: GoDuration,
    /// CREATING and INITIALIZING, since creation.
    pub startup: GoDuration,
    /// STOPPING with a backup in progress, since the deletion.
    pub content_finalization: GoDuration,
    /// STOPPING otherwise, since the deletion.
    pub stopping: GoDuration,
    /// INTERRUPTED, since the last activity; zero ends it at once.
    #[serde(default)]
    pub interrupted: GoDuration,
}

/// `manager.podRecreationMaxRetries` and `podRecreationBackoff` (docs/protocol.md#rejected-pods).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recreation {
    /// Most recreations of a pod.
    pub max_retries: u32,
    /// Wait before each.
    pub backoff: GoDuration,
}

/// One of `manager.workspaceClass`.
#[derive(Debug, Clone, Default)]
pub struct Class {
    /// Name for people.
    pub name: String,
    /// Description for people; empty to generate one.
    pub description: String,
    /// Price.
    pub credits_per_minute: f32,
    /// Guaranteed resources.
    pub requests: Resources,
    /// Resource limits; an absent one is unlimited.
    pub limits: Resources,
    /// Lower CPU limit, which a node may enforce under load.
    pub cpu_min_limit: Option<Quantity>,
    /// Pod template of each type, merged from the class's files.
    pub templates: Templates,
    /// Why no pod can be built; only in settings with errors.
    pub broken: Option<String>,
    /// How often the content of a running workspace is saved; zero: only at its end.
    pub backup_interval: GoDuration,
    /// Secret with the SSH key and the known hosts that repositories are cloned with; empty for none.
    pub git_secret: String,
    /// PersistentVolumeClaim of regular workspaces with PERSISTENT_VOLUME_CLAIM.
    pub pvc: Pvc,
    /// PersistentVolumeClaim of prebuilds with PERSISTENT_VOLUME_CLAIM.
    pub prebuild_pvc: Pvc,
}

/// Quantities of resources; an absent one is not configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Cores; of limits the burst limit.
    pub cpu: Option<Quantity>,
    /// Bytes of memory.
    pub memory: Option<Quantity>,
    /// Bytes of the node's disk.
    pub ephemeral_storage: Option<Quantity>,
    /// Quota of the workspace's content; never on the pod.
    pub storage: Option<Quantity>,
}

/// A pod template per type; JSON null if there is none, the error if it is invalid.
#[derive(Debug, Clone)]
pub struct Templates {
    pub regular: Result<serde_json::Value, String>,
    pub prebuild: Result<serde_json::Value, String>,
    pub imagebuild: Result<serde_json::Value, String>,
}

impl Default for Templates {
    fn default() -> Self {
        let none = || Ok(serde_json::Value::Null);
        Self {
            regular: none(),
            prebuild: none(),
            imagebuild: none(),
        }
    }
}

/// `pvc` of a class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pvc {
    /// Bytes; absent means none.
    pub size: Option<Quantity>,
    /// Storage class; empty for the cluster's default.
    pub storage_class: String,
    /// Class of volume snapshots.
    pub snapshot_class: String,
}

/// The client certificates that TLS requires (`rpcServer.tls.clientAuth`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// None: there is no authority to verify one.
    #[default]
    None,
    /// Optional; verified if presented.
    Request,
    /// A certificate of the authority.
    Require,
}

/// The `rpcServer` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpc {
    /// `host:port` to listen on.
    pub addr: String,
    /// Certificates; absent means plaintext.
    pub tls: Option<Tls>,
    /// Whether clients present certificates.
    pub client_auth: ClientAuth,
    /// Allowed origins of web pages (CORS): none, some, or `*` for all.
    pub allow_origins: Vec<String>,
    /// Rate limits by full method, such as `/wsman.WorkspaceManager/StartWorkspace`
    /// (docs/protocol.md#what-each-call-checks).
    pub rate_limits: BTreeMap<String, RateLimit>,
}

/// One of `rpcServer.ratelimits`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// Wait for a token instead of an error.
    pub block: bool,
    /// Tokens of a full bucket.
    pub bucket_size: u32,
    /// Time per new token.
    pub refill_interval: GoDuration,
    /// Request fields that select the bucket, such as `metadata.owner,type`; empty for one bucket in all.
    pub key: String,
    /// Most buckets to keep.
    pub key_cache_size: u32,
}

/// The `kubernetes` block: the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kubernetes {
    /// An API server and a simulated kubelet inside the process.
    Embedded {
        /// `host:port` on loopback; port 0 for any.
        listen: String,
        /// Its containers are processes.
        processes: Option<Processes>,
        /// Its nodes, if they are not to be alike.
        nodes: Vec<SimulatedNode>,
    },
    /// The cluster of a kubeconfig; without a path the usual one (KUBECONFIG, ~/.kube/config).
    Kubeconfig {
        /// Path of the file.
        path: Option<String>,
    },
    /// The cluster of this process's pod; the meaning of a classic file, which has no such block.
    InCluster,
}

/// One of `kubernetes.nodes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedNode {
    /// Its name.
    pub name: String,
    /// Labels besides the usual ones.
    pub labels: BTreeMap<String, String>,
    /// Quantities by resource.
    pub capacity: BTreeMap<String, String>,
}

/// `kubernetes.runtime: "process"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processes {
    /// Where containers and volumes are; a new directory where none is named.
    pub directory: Option<String>,
    /// Run them even as root.
    pub allow_root: bool,
}

/// The `imageBuilderProxy` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBuilder {
    /// `host:port`.
    pub addr: String,
    /// Certificates; absent means plaintext.
    pub tls: Option<Tls>,
}

/// The `messagebus` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageBus {
    pub broker: Broker,
    /// Topic exchange.
    pub exchange: String,
    /// Certificates for amqps.
    pub tls: Option<Tls>,
    /// Timeout of a confirm.
    pub confirm_timeout: GoDuration,
    /// Most unconfirmed messages.
    pub window: u32,
    /// How long a stopped pod waits for the confirm of its STOPPED.
    pub stopped_timeout: GoDuration,
}

/// The address of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broker {
    /// `amqp://` or `amqps://` URL without a password.
    Url(String),
    /// Path of a file with the URL, including its password; read at every connect.
    UrlFile(String),
}
