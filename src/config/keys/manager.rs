//! The keys of `manager`.

use serde_json::{Value, json};

use super::super::fields::Fields;
use super::super::file::Manager;
use super::super::format::Format;
use super::super::key::key;
use super::super::rule::{given, needs, no};
use super::super::settings::{DEFAULT_CLASS, Services, Timeouts, UnknownClass};
use super::{CERTIFICATES, classes, client_tls};
use crate::workspaces::names::NAME_PART;
use crate::workspaces::url::Purpose;

/// Keys of the classic manager without a meaning here.
const CLASSIC: [&str; 9] = [
    "secretsNamespace",
    "initProbe",
    "reconnectionInterval",
    "workspaceMaxConcurrentReconciles",
    "timeoutMaxConcurrentReconciles",
    "experimentalMode",
    "enableCustomSSLCertificate",
    "workspacekitImage",
    "sshGatewayCAPublicKeyFile",
];

/// Rules of the schema for keys that depend on each other.
pub(super) fn rules() -> Vec<Value> {
    let templates = |pattern: &str| {
        let not = json!({ "not": no(pattern) });
        json!({ "properties": { "urlTemplate": not, "portUrlTemplate": not } })
    };
    let path = json!({ "type": "string", "pattern": "^/", "not": no("(^|/)\\.\\.(/|$)") });
    let gitpod = json!({
        "required": ["workspaceHostPath"],
        "properties": { "workspaceHostPath": path },
    });
    vec![
        // `{{ .Host }}` is the URL of the platform with its scheme, if it has one.
        json!({
            "if": { "properties": { "hostURL": { "pattern": "://" } } },
            "then": templates("://.*\\{\\{[ \\t]*\\.Host"),
            "else": templates("^\\{\\{[ \\t]*\\.Host"),
        }),
        json!({ "if": given("registryFacadeHost"), "then": gitpod }),
    ]
}

pub(super) fn manager(f: &mut Fields) -> Manager {
    let namespace = f.text(
        key(
            "namespace",
            "Namespace of all objects of wsman. A change takes effect with the next start.",
        )
        .format(Format::Label)
        .required("default"),
    );
    let scheduler_name = f.text(
        key("schedulerName", "Scheduler of the pods.")
            .format(Format::Subdomain)
            .unset("the cluster's default")
            .example("my-scheduler"),
    );
    let seccomp_profile = f.text(
        key(
            "seccompProfile",
            "Seccomp profile of the pods: a path below the kubelet's seccomp directory.",
        )
        .format(Format::PathBelow)
        .unset("the container runtime's default")
        .example("workspace.json"),
    );
    let heartbeat_interval = f.duration(
        key(
            "heartbeatInterval",
            "How often a workspace reports activity; it gets this in its environment.",
        )
        .required("30s"),
    );
    let host_url = f.text(
        key("hostURL", "URL of the platform, or its host alone. Workspaces get it in their environment; URL templates as `{{ .Host }}`.")
            .format(Format::HostUrl)
            .required("https://example.com"),
    );
    let workspace_cluster_host = f.text(
        key(
            "workspaceClusterHost",
            "Host of the workspaces; they get it in their environment.",
        )
        .format(Format::Host)
        .example("ws.example.com"),
    );
    let url_template = f.text(
        key("urlTemplate", "URL of a workspace. May use `{{ .ID }}`, `{{ .Prefix }}` and `{{ .Host }}`. Must result in an http or https URL.")
            .format(Format::Template(Purpose::Workspace))
            .required("https://{{ .Prefix }}.ws.example.com"),
    );
    let port_url_template = f.text(
        key("portUrlTemplate", "URL of a port of a workspace. May also use `{{ .WorkspacePort }}` and `{{ .IngressPort }}`.")
            .format(Format::Template(Purpose::Port))
            .unset("ports have no URL")
            .example("https://{{ .WorkspacePort }}-{{ .Prefix }}.ws.example.com"),
    );
    let registry_facade_host = f.text(
        key("registryFacadeHost", "Registry facade, without a scheme. Pods are then for Gitpod's nodes: images come from this host, with their supervisor, host paths and affinities.")
            .format(Format::HostAndPort)
            .unset("plain nodes: the image of the request runs as it is")
            .example("reg.example.com:20000"),
    );
    let workspace_host_path = f.text(
        key("workspaceHostPath", "Directory on the nodes with the content of workspaces. Required with `registryFacadeHost`, without effect otherwise.")
            .format(Format::Path)
            .example("/var/gitpod/workspaces"),
    );
    let (daemon_port, daemon_tls) = f.object(
        key("wsdaemon", "The ws-daemon of each of Gitpod's nodes, which fills and saves workspaces. Without effect on plain nodes."),
        |f| {
            let port = f.whole(
                key("port", "Its port; 0: it is not called, and only empty workspaces start.")
                    .default(0)
                    .example(8080),
                0..=u16::MAX,
            );
            let tls = f.object(
                key("tls", "Certificates, if the ws-daemon uses TLS. Its own is for the name `wsdaemon`. The files are read for each connection, and changed ones lead to a new one.")
                    .rules(|| [needs(&CERTIFICATES), needs(&[("crt", "ca")])].concat()),
                |f| client_tls(f, "crt"),
            );
            (port, tls)
        },
    );
    let kinds = [
        (json!("headless"), Services::Headless),
        (json!("clusterIP"), Services::ClusterIp),
        (json!(true), Services::Headless),
        (json!(false), Services::Off),
    ];
    let services = f.choice(
        key("services", "Which Services workspaces get. `headless` (`true` means the same): without a cluster IP, their names resolve to the pod; only a Service that maps a port has one. `clusterIP`: with a cluster IP. `false`: none.")
            .default("headless"),
        &kinds,
    ).unwrap_or_default();
    let status_version_offset = f.whole(
        key("statusVersionOffset", "Added to the resourceVersion of a pod to make the version of its status; raise it when workspaces move to another cluster. A change takes effect with the next start.")
            .default(0),
        0..=1_u64 << 62,
    );
    let pod_recreation_max_retries = f.whole(
        key(
            "podRecreationMaxRetries",
            "How often a pod that its node rejects is recreated; 0 is never.",
        )
        .default(3),
        0..=1_000,
    );
    let pod_recreation_backoff = f.duration_or_zero(
        key(
            "podRecreationBackoff",
            "How long to wait before each recreation.",
        )
        .default("15s"),
    );
    let maintenance_mode = f.flag(
        key(
            "maintenanceMode",
            "Reject StartWorkspace and TakeSnapshot, and let timeouts wait.",
        )
        .default(false),
    );
    let debug_workspace_pod = f.flag(
        key(
            "debugWorkspacePod",
            "Keep ended pods by a finalizer until a person removes it.",
        )
        .default(false),
    );
    let event_trace_log = f.text(
        key(
            "eventTraceLog",
            "File of the event trace log, `-` for the log of the process; at 64 MiB it is renamed to end in `.1`.",
        )
        .format(Format::File)
        .unset("off")
        .example("/tmp/evts.json"),
    );
    let preferred_class = f.text(
        key(
            "preferredWorkspaceClass",
            "Class that DescribeCluster recommends.",
        )
        .format(Format::Class)
        .unset("`default`")
        .example("large"),
    );
    let unknown_class = f.choice(
        key(
            "unknownClass",
            "The class of a start with an unknown class. `default`: the class `default`, which its response shows. `refuse`: an error with the known classes.",
        )
        .default("default"),
        &[
            (json!("default"), UnknownClass::Default),
            (json!("refuse"), UnknownClass::Refuse),
        ],
    );
    let timeouts = f.object(key("timeouts", "How long each phase may last."), timeouts);
    let classes = f.named(
        key("workspaceClass", "Classes of workspaces by id. An id is a label value: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends. `default` is required: requests without a class get it.")
            .rules(|| vec![
                json!({ "required": [DEFAULT_CLASS] }),
                json!({ "propertyNames": { "pattern": format!("^{NAME_PART}$") } }),
            ]),
        "id",
        classes::class,
    );
    for key in CLASSIC {
        f.ignore(key);
    }
    Manager {
        namespace,
        scheduler_name,
        seccomp_profile,
        timeouts,
        url_template,
        port_url_template,
        workspace_host_path,
        heartbeat_interval,
        host_url,
        event_trace_log,
        maintenance_mode,
        daemon_port,
        daemon_tls,
        registry_facade_host,
        workspace_cluster_host,
        classes,
        preferred_class,
        unknown_class: unknown_class.unwrap_or_default(),
        debug_workspace_pod,
        pod_recreation_max_retries,
        pod_recreation_backoff,
        services,
        status_version_offset,
    }
}

fn timeouts(f: &mut Fields) -> Timeouts {
    Timeouts {
        initialization: f
            .duration(key("initialization", "PENDING, since creation.").required("30m")),
        startup: f
            .duration(key("startup", "CREATING and INITIALIZING, since creation.").required("60m")),
        regular_workspace: f.duration(
            key(
                "regularWorkspace",
                "RUNNING without activity; a request may have another value for its workspace.",
            )
            .required("30m"),
        ),
        after_close: f.duration(
            key(
                "afterClose",
                "After the user closed it, since the last activity.",
            )
            .required("2m"),
        ),
        max_lifetime: f
            .duration(key("maxLifetime", "RUNNING in all, since creation.").required("36h")),
        headless_workspace: f.duration(
            key(
                "headlessWorkspace",
                "The whole life of a prebuild or an image build.",
            )
            .required("60m"),
        ),
        interrupted: f.duration_or_zero(
            key(
                "interrupted",
                "INTERRUPTED, since the last activity; `0s` ends it at once.",
            )
            .default("0s")
            .example("5m"),
        ),
        content_finalization: f.duration(
            key(
                "contentFinalization",
                "STOPPING during a backup, since the deletion.",
            )
            .required("60m"),
        ),
        stopping: f.duration(
            key(
                "stopping",
                "STOPPING otherwise, since the deletion. Not less than `contentFinalization`.",
            )
            .required("60m"),
        ),
    }
}
