//! Checks the host and the origin of a request: a page in a browser must not reach a daemon under another name.
//!
//! A browser sends the host that a page means (`Host`, `:authority`) and the page's origin (`Origin`). A page whose
//! name resolves to this machine (DNS rebinding) has a foreign host; a page of another site has a foreign origin. Other
//! programs can send any value, so this is no authentication.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::{Either, Ready, ready};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use tonic::body::Body;
use tower::{Layer, Service};
use url::Url;

use super::{passthrough, rejection};
use crate::error::Error;
use crate::redact;
use crate::rpc::in_flight::Peer;
use crate::rpc::rejection::Rejection;

/// What a listener knows about its clients.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// Only programs of this machine reach it.
    pub loopback: bool,
    /// It serves TLS: a browser accepts only the names in its certificate.
    pub tls: bool,
    /// Every client presents a certificate.
    pub identity: bool,
    /// Other origins that are allowed (`rpcServer.cors.allowOrigins`).
    pub origins: Vec<String>,
}

/// A name and a port, if there is one.
type Endpoint<'a> = (&'a str, Option<u16>);

impl Hosts {
    /// Checks a request. `local`: its connection comes from this machine.
    ///
    /// # Errors
    /// If its host is unclear, or its host or origin is foreign.
    pub fn check<B>(&self, request: &Request<B>, local: bool) -> Result<(), Rejection> {
        let host = host(request)?;
        let host = host.as_ref().map(|host| (host.host(), host.port_u16()));
        if self.identity || self.origins.iter().any(|origin| origin == "*") {
            return Ok(());
        }
        let is_ours = host.is_none_or(|(name, _)| is_loopback(name) || self.names(name));
        if let Some((name, _)) = host
            && self.loopback
            && !self.tls
            && !is_ours
        {
            return Err(foreign("host", name, "localhost and addresses of loopback"));
        }
        let mut origins = request.headers().get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(());
        };
        let text = origin.to_str().unwrap_or("?");
        let same = host.is_some_and(|host| is_same(text, host));
        // Over loopback, the page's name may be one that resolves to this machine.
        let trusted = same && (is_ours || self.tls || !local);
        match (
            trusted || self.origins.iter().any(|known| known == text),
            origins.next(),
        ) {
            (true, None) => Ok(()),
            _ => Err(foreign("origin", text, "pages of the host that was called")),
        }
    }

    /// Whether an allowed origin has this host.
    fn names(&self, name: &str) -> bool {
        let named = |origin: &String| {
            let url = Url::parse(origin).ok()?;
            Some(url.host_str()?.eq_ignore_ascii_case(name))
        };
        self.origins
            .iter()
            .any(|origin| named(origin) == Some(true))
    }
}

/// Returns the host of a request: that of its target, or of its one `Host` header. Before HTTP/1.1 there may be none.
fn host<B>(request: &Request<B>) -> Result<Option<Authority>, Rejection> {
    let unclear = |why: &str| Err(Rejection::Host(why.to_owned()));
    let mut hosts = request.headers().get_all(HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return unclear("is there twice");
    }
    let target = request.uri().authority().cloned();
    let header = match header.map(|value| Authority::try_from(value.as_bytes())) {
        None => None,
        Some(Ok(host)) => Some(host),
        Some(Err(_)) => return unclear("is no host"),
    };
    let host = match (target, header) {
        (Some(target), Some(header)) if target != header => {
            return unclear("is another one than in the target of the request");
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) if request.version() <= Version::HTTP_10 => return Ok(None),
        (None, None) => return unclear("is missing"),
    };
    match host.as_str().contains('@') {
        true => unclear("is no host"),
        false => Ok(Some(host)),
    }
}

fn foreign(what: &'static str, value: &str, ours: &str) -> Rejection {
    Rejection::from(Error::Foreign {
        what,
        value: redact::without_secrets(value),
        why: format!("this server answers to {ours} and to what rpcServer.cors.allowOrigins lists"),
    })
}

/// Whether every resolver resolves a name to this machine (RFC 6761), or it is a loopback address.
fn is_loopback(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    match address {
        Some(address) => address
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| IpAddr::V6(address).to_canonical().is_loopback()),
        None => {
            let lower = name.to_ascii_lowercase();
            lower == "localhost"
                || lower.ends_with(".localhost")
                || lower
                    .parse::<Ipv4Addr>()
                    .is_ok_and(|address| address.is_loopback())
        }
    }
}

/// Whether a page calls its own origin's host. A proxy may have terminated TLS.
fn is_same(origin: &str, (name, port): Endpoint<'_>) -> bool {
    let Ok(url) = Url::parse(origin) else {
        return false;
    };
    let usual = match url.scheme() {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let Ok(called) = Url::parse(&format!("http://{name}")) else {
        return false;
    };
    url.host() == called.host() && url.port().unwrap_or(usual) == port.unwrap_or(usual)
}

/// Checks every request first.
#[derive(Debug, Clone)]
pub struct HostLayer(Arc<Hosts>);

impl HostLayer {
    pub fn new(hosts: Hosts) -> Self {
        Self(Arc::new(hosts))
    }
}

impl<S> Layer<S> for HostLayer {
    type Service = HostCheck<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let hosts = Arc::clone(&self.0);
        HostCheck { inner, hosts }
    }
}

/// See [`HostLayer`].
#[derive(Debug, Clone)]
pub struct HostCheck<S> {
    inner: S,
    hosts: Arc<Hosts>,
}

impl<S> Service<Request<Body>> for HostCheck<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        let local = peer.is_some_and(Peer::is_local);
        let Err(rejected) = self.hosts.check(&request, local) else {
            return self.inner.call(request).left_future();
        };
        let answer = match passthrough::kind(&request) {
            Some(kind) => {
                let mut answer = rejected.status().into_http();
                answer.headers_mut().insert(CONTENT_TYPE, kind);
                answer
            }
            None => {
                let mut answer = rejection::response(rejected);
                if request.version() < Version::HTTP_2 && answer.status() == StatusCode::BAD_REQUEST
                {
                    // A proxy may see another request in the rest.
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(CONNECTION, close);
                }
                answer
            }
        };
        ready(Ok(answer)).right_future()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &Hosts, host: &str, origin: Option<&str>, local: bool) -> bool {
        let mut request = Request::post("/rpc/StopWorkspace").header(HOST, host);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        hosts.check(&request.body(()).unwrap(), local).is_ok()
    }

    fn plain(loopback: bool, origins: &[&str]) -> Hosts {
        Hosts {
            loopback,
            tls: false,
            identity: false,
            origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
        }
    }

    #[test]
    fn a_loopback_listener_answers_to_loopback() {
        let hosts = plain(true, &["https://app.example.com"]);
        for host in [
            "localhost",
            "LocalHost:8080",
            "ws-manager.localhost:1",
            "localhost.",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "app.example.com",
        ] {
            assert!(check(&hosts, host, None, true), "{host}");
            let own = format!("http://{}", host.trim_end_matches('.'));
            assert!(
                check(&hosts, host.trim_end_matches('.'), Some(&own), true),
                "{own}"
            );
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evillocalhost",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "[fe80::1]",
        ] {
            assert!(!check(&hosts, host, None, true), "{host}");
            assert!(
                !check(&hosts, host, Some(&format!("http://{host}")), true),
                "{host}"
            );
        }
        for origin in [
            "http://evil.example",
            "http://localhost:3000",
            "https://localhost.evil.example",
            "null",
            "",
            "http://app.example.com",
            "file://localhost:8080",
        ] {
            assert!(
                !check(&hosts, "localhost:8080", Some(origin), true),
                "{origin}"
            );
        }
        assert!(check(
            &hosts,
            "localhost:8080",
            Some("https://app.example.com"),
            true
        ));
    }

    #[test]
    fn other_listeners_answer_to_every_host_and_to_pages_of_the_same() {
        let hosts = plain(false, &[]);
        assert!(check(&hosts, "ws-manager:8080", None, false));
        assert!(check(
            &hosts,
            "wsman.example.com",
            Some("https://wsman.example.com"),
            false
        ));
        assert!(check(
            &hosts,
            "wsman.example.com:443",
            Some("https://wsman.example.com"),
            false
        ));
        assert!(!check(
            &hosts,
            "wsman.example.com:80",
            Some("https://wsman.example.com"),
            false
        ));
        assert!(!check(
            &hosts,
            "wsman.example.com",
            Some("https://evil.example"),
            false
        ));
        assert!(!check(&hosts, "wsman.example.com", Some("null"), false));
        // A name that resolves to this machine.
        assert!(check(&hosts, "evil.example:80", None, true));
        assert!(!check(
            &hosts,
            "evil.example",
            Some("http://evil.example"),
            true
        ));
        assert!(check(&hosts, "localhost", Some("http://localhost"), true));
    }

    #[test]
    fn certificates_and_an_open_list_allow_other_names() {
        let evil = Some("http://evil.example");
        let open = plain(true, &["*"]);
        let identity = Hosts {
            identity: true,
            tls: true,
            ..plain(true, &[])
        };
        for hosts in [open, identity] {
            assert!(check(&hosts, "ws-manager", evil, true));
        }
        let tls = Hosts {
            tls: true,
            ..plain(true, &[])
        };
        assert!(check(&tls, "ws-manager", None, true));
        assert!(!check(&tls, "ws-manager", evil, true));
    }

    #[test]
    fn it_must_be_clear_which_host_is_meant() {
        let hosts = plain(false, &[]);
        let request = |version, uri: &str, named: &[&str]| {
            let mut request = Request::get(uri).version(version);
            for host in named {
                request = request.header(HOST, *host);
            }
            let checked = hosts.check(&request.body(()).unwrap(), false);
            !matches!(checked, Err(Rejection::Host(_)))
        };
        let (v10, v11, v2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        assert!(request(v10, "/", &[]));
        assert!(request(v11, "/", &["a"]));
        assert!(request(v11, "http://a/", &["a"]));
        assert!(request(v2, "http://a:1/", &[]));
        assert!(request(v2, "http://a:1/", &["a:1"]));
        assert!(request(v2, "/", &["a"]));
        for (version, uri, named) in [
            (v11, "/", &[][..]),
            (v11, "/", &["a", "a"]),
            (v10, "/", &["a", "b"]),
            (v11, "http://a/", &["b"]),
            (v2, "http://a/", &["b"]),
            (v2, "http://a/", &["a", "a"]),
            (v2, "/", &[]),
            (v11, "/", &["user@a"]),
            (v11, "/", &["a b"]),
            (v11, "/", &[""]),
        ] {
            assert!(!request(version, uri, named), "{version:?} {uri} {named:?}");
        }
    }
}
