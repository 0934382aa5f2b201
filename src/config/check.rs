//! The rules of a configuration, all checked at once.

use jiff::Timestamp;

use super::classes::classes;
use super::endpoints::{self, image_builder, kubernetes, message_bus, optional_addr, rpc, tls};
use super::faults::Faults;
use super::file::{self, File};
use super::files;
use super::named_file::{Contents, NamedFile};
use super::problem::Problem;
use super::sessions::sessions;
use super::settings::{
    DEFAULT_CLASS, Daemon, GitpodNodes, Manager, Nodes, Recreation, Settings, Timeouts,
};
use crate::duration::GoDuration;
use crate::redact::show;
use crate::workspaces::names;
use crate::workspaces::url::{self, Purpose, UrlTemplate, Values};

/// Returns the settings and their problems.
pub(super) fn settings(
    file: File,
    named: &[NamedFile],
    problems: Vec<Problem>,
    contents: &Contents,
    now: Timestamp,
) -> (Settings, Vec<Problem>) {
    let mut faults = Faults::new(problems);
    let namespace = file.manager.namespace.clone();
    let sessions = file
        .sessions
        .map(|block| sessions(block, namespace, &mut faults));
    let settings = Settings {
        guest: super::content::guest_program(&file.guest, &mut faults),
        manager: manager(
            file.manager,
            (file.guest, file.content),
            contents,
            &mut faults,
        ),
        rpc: rpc(
            &file.rpc_addr,
            (file.rpc_tls, file.client_auth),
            file.allow_origins,
            file.rate_limits,
            &mut faults,
        ),
        kubernetes: kubernetes(file.kubernetes, &mut faults),
        sessions,
        message_bus: file.message_bus.map(|bus| message_bus(bus, &mut faults)),
        image_builder: image_builder(file.image_builder, &mut faults),
        health_addr: optional_addr("health.addr", &file.health_addr, &mut faults),
        prometheus_addr: optional_addr("prometheus.addr", &file.prometheus_addr, &mut faults),
        pprof_addr: optional_addr("pprof.addr", &file.pprof_addr, &mut faults),
    };
    endpoints::addresses_differ(&settings, &mut faults);
    files::check(named, contents, now, &mut faults);
    (settings, faults.finish())
}

fn manager(
    m: file::Manager,
    (guest, content): (file::Guest, file::Content),
    contents: &Contents,
    faults: &mut Faults,
) -> Manager {
    faults.unless(
        names::is_dns_label(&m.namespace),
        "manager.namespace",
        format!(
            "is {:?}; a namespace has at most 63 lower-case letters, digits and '-', such as \"default\"",
            m.namespace
        ),
    );
    faults.unless(
        m.scheduler_name.is_empty() || names::is_dns_subdomain(&m.scheduler_name),
        "manager.schedulerName",
        format!(
            "is {:?}; the name of a scheduler has lower-case letters, digits, '-' and '.'; \"\" is the default one",
            m.scheduler_name
        ),
    );
    faults.unless(
        !m.seccomp_profile.starts_with('/') && !m.seccomp_profile.split('/').any(|s| s == ".."),
        "manager.seccompProfile",
        format!(
            "is {:?}; must be a path below the kubelet's seccomp directory",
            m.seccomp_profile
        ),
    );
    faults.unless(
        !m.workspace_cluster_host.contains(['/', '@'])
            && !m.workspace_cluster_host.contains(char::is_whitespace),
        "manager.workspaceClusterHost",
        format!(
            "is {:?}; must be a host without a scheme, such as \"ws.example.com\"",
            m.workspace_cluster_host
        ),
    );
    timeouts(&m.timeouts, m.heartbeat_interval, faults);
    host_url(&m.host_url, faults);
    let url_template = template(
        "manager.urlTemplate",
        &m.url_template,
        Purpose::Workspace,
        &m.host_url,
        faults,
    );
    let port_url_template = template(
        "manager.portUrlTemplate",
        &m.port_url_template,
        Purpose::Port,
        &m.host_url,
        faults,
    );
    let nodes = nodes(&m, faults);
    let classes = classes(m.classes, contents, faults);
    faults.unless(
        m.preferred_class.is_empty()
            || classes.contains_key(&m.preferred_class)
            || faults.is_unread("manager.workspaceClass"),
        "manager.preferredWorkspaceClass",
        format!(
            "is {:?}; there is no such class; there are {}",
            m.preferred_class,
            classes.keys().cloned().collect::<Vec<_>>().join(", ")
        ),
    );
    let guest = super::content::guest(guest, content, &nodes, contents, faults);
    Manager {
        guest,
        namespace: m.namespace,
        scheduler_name: m.scheduler_name,
        seccomp_profile: m.seccomp_profile,
        nodes,
        host_url: m.host_url,
        cluster_host: m.workspace_cluster_host,
        url_template,
        port_url_template,
        heartbeat_interval: m.heartbeat_interval,
        timeouts: m.timeouts,
        classes,
        preferred_class: if m.preferred_class.is_empty() {
            DEFAULT_CLASS.to_owned()
        } else {
            m.preferred_class
        },
        unknown_class: m.unknown_class,
        services: m.services,
        status_version_offset: m.status_version_offset,
        event_trace_log: m.event_trace_log,
        maintenance_mode: m.maintenance_mode,
        debug_workspace_pod: m.debug_workspace_pod,
        recreation: Recreation {
            max_retries: m.pod_recreation_max_retries,
            backoff: m.pod_recreation_backoff,
        },
    }
}

/// A shorter timeout of a phase is a mistake.
const SHORTEST: GoDuration = GoDuration::from_secs(1);

fn timeouts(t: &Timeouts, heartbeat: GoDuration, faults: &mut Faults) {
    let zero = GoDuration::default();
    for (key, value) in [
        ("heartbeatInterval", heartbeat),
        ("timeouts.afterClose", t.after_close),
        ("timeouts.contentFinalization", t.content_finalization),
        ("timeouts.headlessWorkspace", t.headless_workspace),
        ("timeouts.initialization", t.initialization),
        ("timeouts.maxLifetime", t.max_lifetime),
        ("timeouts.regularWorkspace", t.regular_workspace),
        ("timeouts.startup", t.startup),
        ("timeouts.stopping", t.stopping),
    ] {
        if value > zero && value < SHORTEST {
            let why = format!("is {value}, less than a second: is that meant?");
            faults.warn(format!("manager.{key}"), why);
        }
    }
    faults.unless(
        t.stopping >= t.content_finalization,
        "manager.timeouts.stopping",
        format!(
            "is {}; must not be less than contentFinalization, which is {}",
            t.stopping, t.content_finalization
        ),
    );
    if heartbeat >= t.regular_workspace && t.regular_workspace > zero {
        faults.warn(
            "manager.heartbeatInterval",
            format!(
                "is {heartbeat}, not less than timeouts.regularWorkspace, which is {}: workspaces in use would be stopped between two signs of life",
                t.regular_workspace
            ),
        );
    }
}

/// `hostURL` is a URL, or a host without its scheme.
fn host_url(text: &str, faults: &mut Faults) {
    let path = "manager.hostURL";
    let example = "must be a URL such as \"https://example.com\", or a host";
    if text.contains('@') {
        faults.add(path, format!("holds a user or a password; {example}"));
    } else if url::check(text).is_err() || (text.contains("://") && web_url(text).is_err()) {
        faults.add(path, format!("is {}; {example}", show(text)));
    }
}

/// Compiles a URL template and tests it.
fn template(
    path: &str,
    text: &str,
    purpose: Purpose,
    host: &str,
    faults: &mut Faults,
) -> UrlTemplate {
    let template = match UrlTemplate::compile(text, purpose) {
        Ok(template) => template,
        Err(why) => {
            faults.add(path, why);
            return UrlTemplate::default();
        }
    };
    if template.is_empty() || faults.is_unread("manager.hostURL") {
        return template;
    }
    let render = |id, prefix, port| {
        let values = Values {
            id,
            prefix,
            host,
            port,
        };
        template.render(&values)
    };
    let tried = render("foo", "bar", 8080);
    if tried.matches("://").count() > 1 {
        faults.add(
            path,
            "gives a URL with two schemes: .Host is manager.hostURL with its scheme; write the host out instead",
        );
    } else if !tried.contains("://") {
        let why = without_scheme(&tried);
        faults.push(Problem {
            serving_only: true,
            ..Problem::error(path, why)
        });
    } else if let Err(why) = web_url(&tried) {
        faults.add(path, why);
    } else if tried == render("other", "another", 8080) {
        faults.warn(
            path,
            "gives every workspace the same URL; put {{ .Prefix }} or {{ .ID }} into it",
        );
    } else if purpose == Purpose::Port && tried == render("foo", "bar", 9090) {
        faults.warn(
            path,
            "gives every port the same URL; put {{ .WorkspacePort }} into it",
        );
    }
    template
}

fn without_scheme(text: &str) -> String {
    let shown = show(text);
    format!("gives {shown}, which has no scheme; begin it with \"https://\"")
}

/// Checks that a text is an http or https URL with a host.
fn web_url(text: &str) -> Result<(), String> {
    if text.contains('@') {
        return Err("gives a URL with a user or a password; remove it".to_owned());
    }
    if !text.contains("://") {
        return Err(without_scheme(text));
    }
    let what = format!("gives {}, which is no URL", show(text));
    let is_odd = |c: &char| c.is_control() || " {}<>\"\\^`|".contains(*c);
    if let Some(odd) = text.chars().find(is_odd) {
        return Err(format!("{what}: it contains {odd:?}"));
    }
    let url = ::url::Url::parse(text).map_err(|e| format!("{what}: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "gives {}; begin it with \"https://\" or \"http://\"",
            show(text)
        ));
    }
    if url
        .host_str()
        .is_none_or(|host| host.starts_with('.') || host.contains(".."))
    {
        return Err(format!("{what}: a part of its host is empty"));
    }
    Ok(())
}

fn nodes(m: &file::Manager, faults: &mut Faults) -> Nodes {
    let daemon_tls = tls("manager.wsdaemon.tls", "crt", m.daemon_tls.clone(), faults);
    let named = daemon_tls.as_ref().is_none_or(|tls| !tls.ca.is_empty());
    let why = "is missing: give the authority of the ws-daemons";
    faults.unless(named, "manager.wsdaemon.tls.ca", why);
    let path = "manager.workspaceHostPath";
    if m.registry_facade_host.is_empty() {
        if !m.workspace_host_path.is_empty() {
            faults.warn(path, "has no effect without registryFacadeHost");
        }
        return Nodes::Plain;
    }
    let host = &m.registry_facade_host;
    endpoints::host_and_port("manager.registryFacadeHost", host, faults);
    let example =
        "the directory on the nodes that holds workspaces, such as \"/var/gitpod/workspaces\"";
    if m.workspace_host_path.is_empty() {
        faults.add(
            path,
            format!("is missing, but needed with registryFacadeHost; give {example}"),
        );
    } else {
        faults.unless(
            m.workspace_host_path.starts_with('/')
                && !m.workspace_host_path.split('/').any(|s| s == ".."),
            path,
            format!(
                "is {:?}; must be an absolute path without \"..\": {example}",
                m.workspace_host_path
            ),
        );
    }
    Nodes::Gitpod(GitpodNodes {
        registry_facade_host: host.clone(),
        workspace_host_path: m.workspace_host_path.clone(),
        daemon: Some(m.daemon_port)
            .filter(|port| *port != 0)
            .map(|port| Daemon {
                port,
                tls: daemon_tls,
            }),
    })
}
