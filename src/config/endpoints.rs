//! The rules for connections and listeners: clients, cluster, broker, certificates, addresses.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::broker::{self, BrokerUrl};
use super::faults::Faults;
use super::file::{self, Mode, Runtime};
use super::limits;
use super::nodes;
use super::settings::{
    Broker, ClientAuth, ImageBuilder, Kubernetes, MessageBus, Processes, RateLimit, Rpc, Settings,
    Tls,
};
use crate::redact::show;
use crate::workspaces::{names, url};

pub(super) fn rpc(
    addr: &str,
    (certificates, clients): (Tls, Option<ClientAuth>),
    allow_origins: Vec<String>,
    rate_limits: BTreeMap<String, RateLimit>,
    faults: &mut Faults,
) -> Rpc {
    limits::check(&rate_limits, faults);
    for (at, origin) in allow_origins.iter().enumerate() {
        let path = format!("rpcServer.cors.allowOrigins[{at}]");
        if origin == "*" {
            faults.unless(
                allow_origins.len() == 1,
                &path,
                "allows every origin; remove the others or this one",
            );
        } else if !is_origin(origin) {
            faults.add(
                path,
                format!("is {}; must be as browsers send it, such as \"https://app.example.com\", or \"*\"", show(origin)),
            );
        }
    }
    Rpc {
        allow_origins,
        addr: optional_addr("rpcServer.addr", addr, faults).unwrap_or_default(),
        client_auth: client_auth(&certificates, clients, faults),
        tls: tls("rpcServer.tls", "crt", certificates, faults),
        rate_limits,
    }
}

/// With an authority, clients need a certificate of it unless the file has another value.
fn client_auth(certificates: &Tls, given: Option<ClientAuth>, faults: &mut Faults) -> ClientAuth {
    if !certificates.ca.is_empty() {
        return given.unwrap_or(ClientAuth::Require);
    }
    if given.is_some() && !faults.is_unread("rpcServer.tls.ca") {
        faults.add(
            "rpcServer.tls.clientAuth",
            "is given without rpcServer.tls.ca; give the authority that signs the certificates of clients",
        );
    }
    ClientAuth::None
}

/// Whether a browser could send this as `Origin`: a scheme, a host, and a port that is not the default.
fn is_origin(text: &str) -> bool {
    ::url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}

pub(super) fn kubernetes(block: Option<file::Kubernetes>, faults: &mut Faults) -> Kubernetes {
    // A classic file has no such block: its manager runs inside its cluster.
    let Some(k) = block else {
        return Kubernetes::InCluster;
    };
    if !faults.is_unread("kubernetes.mode") {
        faults.unless(
            k.listen.is_empty() || k.mode == Mode::Embedded,
            "kubernetes.listen",
            "is only used with mode \"embedded\"; remove it or change the mode",
        );
        faults.unless(
            k.kubeconfig.is_empty() || k.mode == Mode::Kubeconfig,
            "kubernetes.kubeconfig",
            "is only used with mode \"kubeconfig\"; remove it or change the mode",
        );
    }
    let listen = optional_addr("kubernetes.listen", &k.listen, faults);
    let processes = processes(&k, faults);
    if !k.nodes.is_empty() && k.mode != Mode::Embedded && !faults.is_unread("kubernetes.mode") {
        faults.warn(
            "kubernetes.nodes",
            "has no effect without mode \"embedded\"",
        );
    }
    let nodes = nodes::check("kubernetes.nodes", k.nodes, faults);
    match k.mode {
        Mode::Embedded => {
            let listen = listen.unwrap_or_else(|| "127.0.0.1:0".to_owned());
            let host = listen.rsplit_once(':').map_or("", |(host, _)| host);
            faults.unless(
                host == "localhost"
                    || host == "[::1]"
                    || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
                "kubernetes.listen",
                format!(
                    "is {:?}; the embedded cluster is served on loopback only, such as \"127.0.0.1:6443\"",
                    k.listen
                ),
            );
            Kubernetes::Embedded {
                listen,
                processes,
                nodes,
            }
        }
        Mode::Kubeconfig => Kubernetes::Kubeconfig {
            path: Some(k.kubeconfig).filter(|path| !path.is_empty()),
        },
        Mode::InCluster => Kubernetes::InCluster,
    }
}

fn processes(k: &file::Kubernetes, faults: &mut Faults) -> Option<Processes> {
    let runs = k.runtime == Runtime::Process;
    let known = !faults.is_unread("kubernetes.mode") && !faults.is_unread("kubernetes.runtime");
    if known {
        faults.unless(
            k.mode == Mode::Embedded || !runs,
            "kubernetes.runtime",
            "is only used with mode \"embedded\"; remove it or change the mode",
        );
        faults.unless(
            runs || k.directory.is_empty(),
            "kubernetes.directory",
            "is only used with runtime \"process\"; remove it or change the runtime",
        );
    }
    absolute_path("kubernetes.directory", &k.directory, faults);
    runs.then(|| Processes {
        directory: Some(k.directory.clone()).filter(|path| !path.is_empty()),
        allow_root: k.allow_root,
    })
}

/// Checks an absolute path, where one is given.
pub(super) fn absolute_path(path: &str, text: &str, faults: &mut Faults) {
    let is_absolute = text.starts_with('/') && !text.split('/').any(|part| part == "..");
    faults.unless(
        text.is_empty() || is_absolute,
        path,
        format!("is {}; must be an absolute path without \"..\"", show(text)),
    );
}

pub(super) fn image(path: &str, text: &str, faults: &mut Faults) {
    faults.unless(
        names::is_image(text),
        path,
        format!(
            "is {}; must be the reference of an image, such as \"registry.example.com/guest:1.0\", without credentials",
            show(text)
        ),
    );
}

pub(super) fn message_bus(bus: file::MessageBus, faults: &mut Faults) -> MessageBus {
    let broker = match (bus.url.is_empty(), bus.url_file.is_empty()) {
        (false, true) => {
            broker_url(&bus.url, faults);
            Broker::Url(bus.url)
        }
        (true, false) => {
            faults.unless(
                !broker::is_url(&bus.url_file),
                "messagebus.urlFile",
                "is a URL; must be the path of a file that holds one",
            );
            Broker::UrlFile(bus.url_file)
        }
        (true, true) => {
            faults.add(
                "messagebus.url",
                "is missing; give url or urlFile, or remove messagebus",
            );
            Broker::Url(String::new())
        }
        (false, false) => {
            faults.add(
                "messagebus.url",
                "is given beside urlFile; keep one of them",
            );
            Broker::UrlFile(bus.url_file)
        }
    };
    let exchange = bus.exchange;
    faults.unless(
        !exchange.is_empty() && exchange.len() <= 255 && !exchange.starts_with("amq."),
        "messagebus.exchange",
        "must have 1 to 255 bytes and not begin with \"amq.\", which brokers reserve",
    );
    let tls = tls("messagebus.tls", "cert", bus.tls, faults);
    let in_the_clear = matches!(&broker, Broker::Url(url) if url.starts_with("amqp:"));
    faults.unless(
        tls.is_none() || !in_the_clear,
        "messagebus.tls",
        "is given, but messagebus.url is not encrypted; write it with amqps://",
    );
    MessageBus {
        broker,
        exchange,
        tls,
        confirm_timeout: bus.confirm_timeout,
        window: bus.window,
        stopped_timeout: bus.stopped_timeout,
    }
}

/// Never prints the URL: the error may be in its password.
fn broker_url(text: &str, faults: &mut Faults) {
    let why = match BrokerUrl::parse(text) {
        Ok(url) if url.password.is_some() => {
            "must not contain a password; put the whole URL into a file and name it in messagebus.urlFile"
        }
        Ok(_) => return,
        Err(why) => why,
    };
    faults.add("messagebus.url", why);
}

/// Without an address there is no image builder. For a client's connection an authority alone is enough.
pub(super) fn image_builder(
    block: file::ImageBuilder,
    faults: &mut Faults,
) -> Option<ImageBuilder> {
    let path = "imageBuilderProxy.targetAddr";
    let Tls { ca, cert, key } = &block.tls;
    let given = block.tls != Tls::default();
    faults.unless(
        !given || !ca.is_empty(),
        "imageBuilderProxy.tls.ca",
        "is missing beside the others of imageBuilderProxy.tls; give it, or none of them",
    );
    for (name, value, other) in [("crt", cert, key), ("key", key, cert)] {
        faults.unless(
            !value.is_empty() || other.is_empty(),
            &format!("imageBuilderProxy.tls.{name}"),
            "is missing beside its counterpart; give both, or neither",
        );
    }
    let tls = Some(block.tls).filter(|_| given);
    if block.target_addr.is_empty() {
        faults.unless(
            tls.is_none(),
            path,
            "is missing beside imageBuilderProxy.tls; give host:port, or remove the block",
        );
        return None;
    }
    let addr = block.target_addr;
    let is_address = addr.rsplit_once(':').is_some_and(|(host, port)| {
        let is_bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        !host.is_empty() && is_bare && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    let is_authority = addr.parse::<http::uri::Authority>().is_ok() && !addr.contains('@');
    if !is_address || !is_authority {
        faults.add(
            path,
            format!(
                "is {addr:?}; must be host:port, such as \"image-builder-mk3.default.svc:8080\""
            ),
        );
        return None;
    }
    Some(ImageBuilder { addr, tls })
}

/// Checks the paths of certificates; `None` if there are none. The classic manager needs all three or none.
pub(super) fn tls(path: &str, cert: &str, tls: Tls, faults: &mut Faults) -> Option<Tls> {
    if tls.ca.is_empty() && tls.cert.is_empty() && tls.key.is_empty() {
        return None;
    }
    for (key, value, other) in [(cert, &tls.cert, &tls.key), ("key", &tls.key, &tls.cert)] {
        // Only a client can use an authority alone.
        faults.unless(
            !value.is_empty() || (other.is_empty() && cert == "cert"),
            &format!("{path}.{key}"),
            format!("is missing beside the others of {path}; give it, or none of them"),
        );
    }
    Some(tls)
}

/// Checks a host that may have a port, where one is given.
pub(super) fn host_and_port(path: &str, host: &str, faults: &mut Faults) {
    let is_host = !host.contains(['/', '@', '?', '#'])
        && url::check(&format!("https://{host}/remote/id")).is_ok();
    faults.unless(
        host.is_empty() || is_host,
        path,
        format!(
            "is {}; must be host or host:port, without a scheme",
            show(host)
        ),
    );
}

/// Checks `host:port`; a missing host means all interfaces, as in Go.
pub(super) fn optional_addr(path: &str, text: &str, faults: &mut Faults) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let why = match text.rsplit_once(':') {
        _ if text.contains("://") => "without a scheme",
        None => "with a port",
        Some((host, port)) => match (is_host(host), port.parse::<u16>()) {
            (true, Ok(port)) => {
                let host = if host.is_empty() { "0.0.0.0" } else { host };
                return Some(format!("{host}:{port}"));
            }
            (true, Err(_)) => "with a port from 0 to 65535",
            (false, _) if host.parse::<Ipv6Addr>().is_ok() => {
                "with brackets around an IPv6 address"
            }
            (false, _) => "with a host name or an IP address",
        },
    };
    faults.add(
        path,
        format!(
            "is {}; must be host:port, {why}, such as \"127.0.0.1:8080\"",
            show(text)
        ),
    );
    None
}

/// Whether it is a valid host of an address to listen on.
fn is_host(text: &str) -> bool {
    let bracketed = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    if let Some(address) = bracketed {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_name = names::is_dns_subdomain(&text.to_ascii_lowercase());
    let is_numeric = text.split('.').all(|part| part.parse::<u64>().is_ok());
    text.is_empty() || text.parse::<Ipv4Addr>().is_ok() || (is_name && !is_numeric)
}

/// Two servers cannot listen on one address.
pub(super) fn addresses_differ(settings: &Settings, faults: &mut Faults) {
    let listen = match &settings.kubernetes {
        Kubernetes::Embedded { listen, .. } => Some(listen),
        _ => None,
    };
    let servers = [
        ("rpcServer.addr", Some(&settings.rpc.addr)),
        ("health.addr", settings.health_addr.as_ref()),
        ("prometheus.addr", settings.prometheus_addr.as_ref()),
        ("pprof.addr", settings.pprof_addr.as_ref()),
        ("kubernetes.listen", listen),
    ];
    let bound = servers.map(|(key, addr)| Some((key, addr?.rsplit_once(':')?)));
    let bound: Vec<_> = bound.into_iter().flatten().collect();
    for (at, (key, (host, port))) in bound.iter().enumerate() {
        let taken = bound[..at]
            .iter()
            .find(|(_, (other, same))| same == port && *port != "0" && overlap(host, other));
        if let Some((other, _)) = taken {
            faults.add(
                *key,
                format!("is \"{host}:{port}\", which {other} takes already; give another port"),
            );
        }
    }
}

/// Whether two hosts share an address. A name may be that of any address of its machine; `[::]` includes IPv4.
fn overlap(a: &str, b: &str) -> bool {
    let either = |host: &str| a == host || b == host;
    let loopback = |host: &str| matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    a == b
        || either("[::]")
        || (either("0.0.0.0") && !(a.starts_with('[') || b.starts_with('[')))
        || (either("localhost") && loopback(a) && loopback(b))
}
