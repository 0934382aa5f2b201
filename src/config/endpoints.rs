//! The rules for everything that is connected to or listened on: clients, cluster, broker, certificates, addresses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::check::{Faults, duration_wanted};
use super::{Broker, ClientAuth, Kubernetes, MessageBus, RateLimit, Rpc, Tls, file, limits};
use crate::duration::GoDuration;

pub(super) fn rpc(
    addr: &str,
    (certificates, clients): (Tls, &str),
    allow_origins: Vec<String>,
    rate_limits: BTreeMap<String, RateLimit>,
    faults: &mut Faults,
) -> Rpc {
    faults.unless(
        !addr.is_empty(),
        "rpcServer.addr",
        "cannot be blank; give an address such as \"127.0.0.1:8080\"",
    );
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
                format!("is {origin:?}; must be as browsers send it, such as \"https://app.example.com\", or \"*\""),
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

/// An authority protects: callers need a certificate of it unless the file says otherwise.
fn client_auth(certificates: &Tls, text: &str, faults: &mut Faults) -> ClientAuth {
    let path = "rpcServer.tls.clientAuth";
    let has_authority = !certificates.ca.is_empty();
    match text {
        "" if has_authority => ClientAuth::Require,
        "" => ClientAuth::None,
        "require" | "request" if !has_authority => {
            faults.add(
                path,
                "is given without rpcServer.tls.ca; give the authority that signs the certificates of clients",
            );
            ClientAuth::None
        }
        "require" => ClientAuth::Require,
        "request" => ClientAuth::Request,
        other => {
            let why = format!("is {other:?}; must be \"require\" or \"request\"");
            faults.add(path, why);
            ClientAuth::Require
        }
    }
}

/// Whether a browser could send this as `Origin`: a scheme, a host, a port where it is not the usual one, no more.
fn is_origin(text: &str) -> bool {
    ::url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}

pub(super) fn kubernetes(block: Option<file::Kubernetes>, faults: &mut Faults) -> Kubernetes {
    // A classic file has no such block: it describes a manager that runs inside its cluster.
    let Some(k) = block else {
        return Kubernetes::InCluster;
    };
    faults.unless(
        k.listen.is_empty() || k.mode == "embedded",
        "kubernetes.listen",
        "is only used with \"mode\": \"embedded\"; remove it",
    );
    faults.unless(
        k.kubeconfig.is_empty() || k.mode == "kubeconfig",
        "kubernetes.kubeconfig",
        "is only used with \"mode\": \"kubeconfig\"; remove it or change the mode",
    );
    match k.mode.as_str() {
        "embedded" => {
            let listen = optional_addr("kubernetes.listen", &k.listen, faults)
                .unwrap_or_else(|| "127.0.0.1:0".to_owned());
            let host = listen.rsplit_once(':').map_or("", |(host, _)| host);
            faults.unless(
                host == "localhost"
                    || host == "[::1]"
                    || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
                "kubernetes.listen",
                format!("is {listen:?}; the embedded cluster is served on loopback only"),
            );
            Kubernetes::Embedded { listen }
        }
        "kubeconfig" => Kubernetes::Kubeconfig {
            path: Some(k.kubeconfig).filter(|path| !path.is_empty()),
        },
        "in-cluster" => Kubernetes::InCluster,
        other => {
            faults.add(
                "kubernetes.mode",
                format!("is {other:?}; must be \"embedded\", \"kubeconfig\" or \"in-cluster\""),
            );
            Kubernetes::InCluster
        }
    }
}

pub(super) fn message_bus(bus: file::MessageBus, faults: &mut Faults) -> MessageBus {
    let broker = match (bus.url.is_empty(), bus.url_file.is_empty()) {
        (false, true) => {
            broker_url(&bus.url, faults);
            Broker::Url(bus.url)
        }
        (true, false) => Broker::UrlFile(bus.url_file),
        (true, true) => {
            faults.add(
                "messagebus.url",
                "cannot be blank; give url or urlFile, or remove messagebus",
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
    let window = bus.window.unwrap_or(128);
    faults.unless(
        (1..=65_535).contains(&window),
        "messagebus.window",
        format!("is {window}; must be 1 to 65535"),
    );
    let exchange = if bus.exchange.is_empty() {
        "wsman".to_owned()
    } else {
        bus.exchange
    };
    faults.unless(
        exchange.len() <= 255 && !exchange.starts_with("amq."),
        "messagebus.exchange",
        "must be at most 255 bytes and not begin with \"amq.\", which brokers reserve",
    );
    let mut positive = |key: &str, given: Option<GoDuration>, default: i64| {
        let value = given.unwrap_or(GoDuration::from_secs(default));
        let path = format!("messagebus.{key}");
        faults.unless(value.as_nanos() > 0, &path, duration_wanted(value, "30s"));
        value
    };
    let confirm_timeout = positive("confirmTimeout", bus.confirm_timeout, 30);
    let stopped_timeout = positive("stoppedTimeout", bus.stopped_timeout, 300);
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
        confirm_timeout,
        window,
        stopped_timeout,
    }
}

/// Never shows the URL: what is wrong with it may be its password.
fn broker_url(text: &str, faults: &mut Faults) {
    let path = "messagebus.url";
    match ::url::Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "amqp" | "amqps") || !url.has_host() => {
            faults.add(path, "must be an amqp:// or amqps:// URL with a host");
        }
        Ok(url) if url.password().is_some() => faults.add(
            path,
            "must not contain a password; put the whole URL into a file and name it in messagebus.urlFile",
        ),
        Ok(_) => {}
        Err(e) => faults.add(path, format!("is no URL: {e}; give one such as \"amqp://broker:5672\"")),
    }
}

/// Checks the paths of certificates; `None` where none is given. The classic manager takes all three or nothing.
pub(super) fn tls(path: &str, cert: &str, tls: Tls, faults: &mut Faults) -> Option<Tls> {
    if tls.ca.is_empty() && tls.cert.is_empty() && tls.key.is_empty() {
        return None;
    }
    for (key, value, other) in [(cert, &tls.cert, &tls.key), ("key", &tls.key, &tls.cert)] {
        // Only a client may do with an authority alone.
        faults.unless(
            !value.is_empty() || (other.is_empty() && cert == "cert"),
            &format!("{path}.{key}"),
            format!(
                "cannot be blank while others of {path} are given; give it, or none for plain text"
            ),
        );
    }
    Some(tls)
}

/// Checks `host:port`; a missing host means all interfaces, as in Go.
pub(super) fn optional_addr(path: &str, text: &str, faults: &mut Faults) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let parts = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || (host.starts_with('[') && host.ends_with(']')))
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((host, port)) = parts else {
        faults.add(
            path,
            format!("is {text:?}; must be host:port, such as \"127.0.0.1:8080\""),
        );
        return None;
    };
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    Some(format!("{host}:{port}"))
}
