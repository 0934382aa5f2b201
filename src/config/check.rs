//! The rules of a configuration (spec 7.1), all of them at once.

use std::collections::BTreeMap;

use super::classes::classes;
use super::endpoints::{kubernetes, message_bus, optional_addr, rpc, tls};
use super::file::{self, File};
use super::{
    DEFAULT_CLASS, Daemon, GitpodNodes, Manager, Nodes, Problem, Recreation, Settings, Timeouts,
};
use crate::duration::GoDuration;
use crate::workspaces::names;
use crate::workspaces::url::{self, Purpose, UrlTemplate, Values};

/// Collects problems.
#[derive(Default)]
pub(super) struct Faults(Vec<Problem>);

impl Faults {
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        let problem = Problem {
            path: path.into(),
            message: message.into(),
        };
        // A default template serves several types.
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// Reports `message` at `path` unless `holds`.
    pub(super) fn unless(&mut self, holds: bool, path: &str, message: impl Into<String>) {
        if !holds {
            self.add(path, message);
        }
    }
}

/// Returns the settings and what is wrong with them; only without problems are they fit for use.
pub(super) fn settings(
    file: File,
    files: &BTreeMap<String, Result<String, String>>,
) -> (Settings, Vec<Problem>) {
    let mut faults = Faults::default();
    let settings = Settings {
        manager: manager(file.manager, files, &mut faults),
        rpc: rpc(
            &file.rpc_addr,
            (file.rpc_tls, &file.client_auth),
            file.allow_origins,
            file.rate_limits,
            &mut faults,
        ),
        kubernetes: kubernetes(file.kubernetes, &mut faults),
        message_bus: file.message_bus.map(|bus| message_bus(bus, &mut faults)),
        health_addr: optional_addr("health.addr", &file.health_addr, &mut faults),
        prometheus_addr: optional_addr("prometheus.addr", &file.prometheus_addr, &mut faults),
        pprof_addr: optional_addr("pprof.addr", &file.pprof_addr, &mut faults),
    };
    (settings, faults.0)
}

fn manager(
    m: file::Manager,
    files: &BTreeMap<String, Result<String, String>>,
    faults: &mut Faults,
) -> Manager {
    faults.unless(
        names::is_dns_label(&m.namespace),
        "manager.namespace",
        blank_or(&m.namespace, "no name of a namespace", "\"default\""),
    );
    faults.unless(
        m.scheduler_name.is_empty() || names::is_dns_subdomain(&m.scheduler_name),
        "manager.schedulerName",
        blank_or(
            &m.scheduler_name,
            "no name of a scheduler",
            "\"\" for the default one",
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
        m.heartbeat_interval.as_nanos() > 0,
        "manager.heartbeatInterval",
        duration_wanted(m.heartbeat_interval, "30s"),
    );
    timeouts(&m.timeouts, faults);
    let backoff = m
        .pod_recreation_backoff
        .unwrap_or(GoDuration::from_secs(15));
    faults.unless(
        backoff.as_nanos() >= 0,
        "manager.podRecreationBackoff",
        duration_wanted(backoff, "15s"),
    );
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
    faults.unless(
        !m.url_template.is_empty(),
        "manager.urlTemplate",
        "cannot be blank; give a template such as \"https://{{ .Prefix }}.ws.example.com\"",
    );
    let nodes = nodes(&m, faults);
    let classes = classes(m.classes, files, faults);
    faults.unless(
        m.preferred_class.is_empty() || classes.contains_key(&m.preferred_class),
        "manager.preferredWorkspaceClass",
        format!(
            "is {:?}, which is no key of manager.workspaceClass",
            m.preferred_class
        ),
    );
    Manager {
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
        services: m.services.unwrap_or(true),
        status_version_offset: m.status_version_offset,
        event_trace_log: m.event_trace_log,
        maintenance_mode: m.maintenance_mode,
        debug_workspace_pod: m.debug_workspace_pod,
        recreation: Recreation {
            max_retries: m.pod_recreation_max_retries.unwrap_or(3),
            backoff,
        },
    }
}

fn timeouts(t: &Timeouts, faults: &mut Faults) {
    let required = [
        ("afterClose", t.after_close, "2m"),
        ("contentFinalization", t.content_finalization, "60m"),
        ("headlessWorkspace", t.headless_workspace, "60m"),
        ("initialization", t.initialization, "30m"),
        ("maxLifetime", t.max_lifetime, "36h"),
        ("regularWorkspace", t.regular_workspace, "30m"),
        ("startup", t.startup, "60m"),
        ("stopping", t.stopping, "60m"),
    ];
    for (key, value, example) in required {
        faults.unless(
            value.as_nanos() > 0,
            &format!("manager.timeouts.{key}"),
            duration_wanted(value, example),
        );
    }
    faults.unless(
        t.interrupted.as_nanos() >= 0,
        "manager.timeouts.interrupted",
        duration_wanted(t.interrupted, "5m"),
    );
    faults.unless(
        t.stopping >= t.content_finalization,
        "manager.timeouts.stopping",
        format!(
            "stopping timeout must be greater than content finalization timeout: {} is less than {}",
            t.stopping, t.content_finalization
        ),
    );
}

/// `hostURL` is a URL, or a host without its scheme.
fn host_url(text: &str, faults: &mut Faults) {
    let path = "manager.hostURL";
    if text.is_empty() {
        faults.add(
            path,
            "cannot be blank; give a URL such as \"https://example.com\"",
        );
    } else if let Err(why) = url::check(text) {
        faults.add(
            path,
            format!("{why}; give a URL such as \"https://example.com\""),
        );
    }
}

/// Compiles a URL template and tries it as the classic manager does (foo, bar, gitpod.io), and with the real host.
fn template(
    path: &str,
    text: &str,
    purpose: Purpose,
    host_url: &str,
    faults: &mut Faults,
) -> UrlTemplate {
    let template = match UrlTemplate::compile(text, purpose) {
        Ok(template) => template,
        Err(why) => {
            faults.add(path, why);
            return UrlTemplate::default();
        }
    };
    if template.is_empty() {
        return template;
    }
    let render = |host| {
        template.render(&Values {
            id: "foo",
            prefix: "bar",
            host,
            port: 8080,
        })
    };
    if let Err(why) = url::check(&render("gitpod.io")) {
        faults.add(path, why);
    } else if render(host_url).matches("://").count() > 1 {
        faults.add(
            path,
            "gives a URL with two schemes: .Host is manager.hostURL with its scheme; write the host out instead",
        );
    }
    template
}

fn nodes(m: &file::Manager, faults: &mut Faults) -> Nodes {
    let daemon_port = u16::try_from(m.daemon_port).ok();
    faults.unless(
        daemon_port.is_some(),
        "manager.wsdaemon.port",
        format!("is {}; must be a port, or 0 for none", m.daemon_port),
    );
    let daemon_tls = tls("manager.wsdaemon.tls", "crt", m.daemon_tls.clone(), faults);
    if m.registry_facade_host.is_empty() {
        return Nodes::Plain;
    }
    let host = &m.registry_facade_host;
    faults.unless(
        !host.contains(['/', '@', '?', '#'])
            && url::check(&format!("https://{host}/remote/id")).is_ok(),
        "manager.registryFacadeHost",
        format!("is {host:?}; must be host or host:port, without a scheme"),
    );
    faults.unless(
        m.workspace_host_path.starts_with('/')
            && !m.workspace_host_path.split('/').any(|s| s == ".."),
        "manager.workspaceHostPath",
        blank_or(
            &m.workspace_host_path,
            "no absolute path without \"..\"",
            "the directory on the nodes that holds workspaces, such as \"/var/gitpod/workspaces\"",
        ),
    );
    Nodes::Gitpod(GitpodNodes {
        registry_facade_host: host.clone(),
        workspace_host_path: m.workspace_host_path.clone(),
        daemon: daemon_port.filter(|port| *port != 0).map(|port| Daemon {
            port,
            tls: daemon_tls,
        }),
    })
}

/// Says that a value is missing, or what is wrong with it.
fn blank_or(value: &str, what: &str, example: &str) -> String {
    if value.is_empty() {
        format!("cannot be blank; give {example}")
    } else {
        format!("is {value:?}, {what}; give {example}")
    }
}

/// Says that a duration is missing, or that it must be positive.
pub(super) fn duration_wanted(value: GoDuration, example: &str) -> String {
    if value.as_nanos() == 0 {
        format!("cannot be blank; give a duration such as {example:?}")
    } else {
        format!("is {value}; must be positive, such as {example:?}")
    }
}
