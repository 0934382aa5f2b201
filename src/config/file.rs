//! The configuration file as it is written: its keys, with texts as texts (spec 7.1).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::fields::{Fields, Problems};
use super::json::Json;
use super::{Problem, RateLimit, Timeouts, Tls};
use crate::duration::GoDuration;

/// The whole file.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) manager: Manager,
    pub(super) rpc_addr: String,
    pub(super) rpc_tls: Tls,
    pub(super) client_auth: String,
    pub(super) allow_origins: Vec<String>,
    pub(super) rate_limits: BTreeMap<String, RateLimit>,
    pub(super) kubernetes: Option<Kubernetes>,
    pub(super) message_bus: Option<MessageBus>,
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
    pub(super) daemon_port: u32,
    pub(super) daemon_tls: Tls,
    pub(super) registry_facade_host: String,
    pub(super) workspace_cluster_host: String,
    pub(super) classes: BTreeMap<String, Class>,
    pub(super) preferred_class: String,
    pub(super) debug_workspace_pod: bool,
    pub(super) pod_recreation_max_retries: Option<u32>,
    pub(super) pod_recreation_backoff: Option<GoDuration>,
    pub(super) services: Option<bool>,
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
    pub(super) pvc: Claim,
    pub(super) prebuild_pvc: Claim,
}

/// Quantities as texts; empty where not given. `cpu` of limits is the burst limit.
#[derive(Debug, Clone, Default)]
pub(super) struct Amounts {
    pub(super) cpu: String,
    pub(super) memory: String,
    pub(super) ephemeral_storage: String,
    pub(super) storage: String,
}

/// `pvc` and `prebuildPVC`.
#[derive(Debug, Clone, Default)]
pub(super) struct Claim {
    pub(super) size: String,
    pub(super) storage_class: String,
    pub(super) snapshot_class: String,
}

/// `kubernetes`.
#[derive(Debug, Clone, Default)]
pub(super) struct Kubernetes {
    pub(super) mode: String,
    pub(super) kubeconfig: String,
    pub(super) listen: String,
}

/// `messagebus`.
#[derive(Debug, Clone, Default)]
pub(super) struct MessageBus {
    pub(super) url: String,
    pub(super) url_file: String,
    pub(super) exchange: String,
    pub(super) tls: Tls,
    pub(super) confirm_timeout: Option<GoDuration>,
    pub(super) window: Option<u32>,
    pub(super) stopped_timeout: Option<GoDuration>,
}

/// Takes the text apart.
pub(super) fn read(text: &str) -> Result<File, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Json(value) = serde_json::from_str(text).map_err(|e| {
        vec![Problem {
            path: String::new(),
            message: format!("the file cannot be read as JSON: {e}"),
        }]
    })?;
    let problems: Problems = Rc::new(RefCell::new(Vec::new()));
    let mut fields = Fields::new("", value, &problems);
    let file = file(&mut fields);
    fields.finish();
    let problems = problems.take();
    if problems.is_empty() {
        Ok(file)
    } else {
        Err(problems)
    }
}

fn file(fields: &mut Fields) -> File {
    fields.ignore("content");
    fields.ignore("imageBuilderProxy");
    let mut file = File::default();
    fields.object("rpcServer", |rpc| {
        file.rpc_addr = rpc.text("addr");
        rpc.object("tls", |f| {
            file.rpc_tls = tls(f, "crt");
            file.client_auth = f.text("clientAuth");
        });
        file.allow_origins = rpc.object("cors", |f| f.texts("allowOrigins"));
        file.rate_limits = rpc.named("ratelimits", rate_limit);
    });
    File {
        manager: fields.object("manager", manager),
        kubernetes: fields.optional("kubernetes", |f| Kubernetes {
            mode: f.text("mode"),
            kubeconfig: f.text("kubeconfig"),
            listen: f.text("listen"),
        }),
        message_bus: fields.optional("messagebus", message_bus),
        health_addr: fields.object("health", |f| f.text("addr")),
        prometheus_addr: fields.object("prometheus", |f| f.text("addr")),
        pprof_addr: fields.object("pprof", |f| f.text("addr")),
        ..file
    }
}

fn manager(fields: &mut Fields) -> Manager {
    for key in [
        "secretsNamespace",
        "initProbe",
        "reconnectionInterval",
        "workspaceMaxConcurrentReconciles",
        "timeoutMaxConcurrentReconciles",
        "experimentalMode",
        "enableCustomSSLCertificate",
        "workspacekitImage",
        "sshGatewayCAPublicKeyFile",
    ] {
        fields.ignore(key);
    }
    let (daemon_port, daemon_tls) = fields.object("wsdaemon", |f| {
        let port = f.whole("port").unwrap_or(0);
        (port, f.object("tls", |f| tls(f, "crt")))
    });
    Manager {
        namespace: fields.text("namespace"),
        scheduler_name: fields.text("schedulerName"),
        seccomp_profile: fields.text("seccompProfile"),
        timeouts: fields.object("timeouts", timeouts),
        url_template: fields.text("urlTemplate"),
        port_url_template: fields.text("portUrlTemplate"),
        workspace_host_path: fields.text("workspaceHostPath"),
        heartbeat_interval: fields.duration("heartbeatInterval").unwrap_or_default(),
        host_url: fields.text("hostURL"),
        event_trace_log: fields.text("eventTraceLog"),
        maintenance_mode: fields.flag("maintenanceMode").unwrap_or(false),
        daemon_port,
        daemon_tls,
        registry_facade_host: fields.text("registryFacadeHost"),
        workspace_cluster_host: fields.text("workspaceClusterHost"),
        classes: fields.named("workspaceClass", class),
        preferred_class: fields.text("preferredWorkspaceClass"),
        debug_workspace_pod: fields.flag("debugWorkspacePod").unwrap_or(false),
        pod_recreation_max_retries: fields.whole("podRecreationMaxRetries"),
        pod_recreation_backoff: fields.duration("podRecreationBackoff"),
        services: fields.flag("services"),
        status_version_offset: fields.whole("statusVersionOffset").unwrap_or(0),
    }
}

fn timeouts(fields: &mut Fields) -> Timeouts {
    let mut get = |key| fields.duration(key).unwrap_or_default();
    Timeouts {
        after_close: get("afterClose"),
        headless_workspace: get("headlessWorkspace"),
        initialization: get("initialization"),
        regular_workspace: get("regularWorkspace"),
        max_lifetime: get("maxLifetime"),
        startup: get("startup"),
        content_finalization: get("contentFinalization"),
        stopping: get("stopping"),
        interrupted: get("interrupted"),
    }
}

fn class(fields: &mut Fields) -> Class {
    let mut class = Class {
        name: fields.text("name"),
        description: fields.text("description"),
        credits_per_minute: fields.number("creditsPerMinute").unwrap_or(0.0),
        pvc: fields.object("pvc", claim),
        prebuild_pvc: fields.object("prebuildPVC", claim),
        ..Class::default()
    };
    fields.object("container", |container| {
        container.object("requests", |f| {
            class.requests = Amounts {
                cpu: f.text("cpu"),
                ..amounts(f)
            };
        });
        container.object("limits", |f| {
            class.limits = amounts(f);
            f.object("cpu", |f| {
                class.cpu_min = f.text("min");
                class.limits.cpu = f.text("burst");
            });
        });
    });
    fields.object("templates", |f| {
        f.ignore("probePath");
        class.default_path = f.text("defaultPath");
        class.regular_path = f.text("regularPath");
        class.prebuild_path = f.text("prebuildPath");
        class.imagebuild_path = f.text("imagebuildPath");
    });
    class
}

fn amounts(fields: &mut Fields) -> Amounts {
    Amounts {
        cpu: String::new(),
        memory: fields.text("memory"),
        ephemeral_storage: fields.text("ephemeral-storage"),
        storage: fields.text("storage"),
    }
}

fn claim(fields: &mut Fields) -> Claim {
    Claim {
        size: fields.text("size"),
        storage_class: fields.text("storageClass"),
        snapshot_class: fields.text("snapshotClass"),
    }
}

fn rate_limit(fields: &mut Fields) -> RateLimit {
    RateLimit {
        block: fields.flag("block").unwrap_or(false),
        bucket_size: fields.whole("bucketSize").unwrap_or(0),
        refill_interval: fields.duration("refillInterval").unwrap_or_default(),
        key: fields.text("key"),
        key_cache_size: fields.whole("keyCacheSize").unwrap_or(0),
    }
}

fn message_bus(fields: &mut Fields) -> MessageBus {
    MessageBus {
        url: fields.text("url"),
        url_file: fields.text("urlFile"),
        exchange: fields.text("exchange"),
        tls: fields.object("tls", |f| tls(f, "cert")),
        confirm_timeout: fields.duration("confirmTimeout"),
        window: fields.whole("window"),
        stopped_timeout: fields.duration("stoppedTimeout"),
    }
}

fn tls(fields: &mut Fields, cert: &'static str) -> Tls {
    Tls {
        ca: fields.text("ca"),
        cert: fields.text(cert),
        key: fields.text("key"),
    }
}
