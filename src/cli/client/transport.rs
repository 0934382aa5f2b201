//! The transports: the protocol of an address, and the certificates of its server.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, TryFutureExt};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{ServerName, pem};
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tower::Service;

use super::http::{CONNECT_TIMEOUT, Http, PING_INTERVAL};
use super::words::parse_duration;
use crate::cli::exit::Failure;
use crate::cli::input;
use crate::tls;

/// Where the server is, and how to be sure that it is the right one.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Target {
    /// Address: host:port or grpc://host:port (plaintext), grpcs://host:port (TLS, needs --ca); http://host:port/rpc or
    /// https://host:port/rpc for JSON over HTTP.
    #[arg(
        short = 'H',
        long,
        env = "WSMAN_HOST",
        default_value = "localhost:8080",
        global = true,
        help_heading = "Connection",
        value_name = "ADDR"
    )]
    pub(in crate::cli) host: String,

    /// PEM file with the certificates that may sign the server's.
    #[arg(long, global = true, help_heading = "Connection", value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,

    /// PEM file with the client's certificate.
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        value_name = "FILE",
        requires = "key"
    )]
    pub(super) cert: Option<PathBuf>,

    /// PEM file with the key of the client's certificate.
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        value_name = "FILE",
        requires = "cert"
    )]
    pub(super) key: Option<PathBuf>,

    /// Name that the server's certificate must carry.
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        value_name = "NAME",
        default_value = "ws-manager"
    )]
    pub(super) server_name: String,

    /// How long one call may take, such as "30s" or "1m30s" [default: 30s, start: 60s].
    #[arg(long, global = true, help_heading = "Connection", value_name = "DURATION", value_parser = parse_duration)]
    pub(super) timeout: Option<Duration>,
}

/// One way to the server; nothing is sent before the first call.
#[derive(Clone, Debug)]
pub enum Transport {
    /// gRPC.
    Grpc(Channel),
    /// JSON over HTTP.
    Http(Box<Http>),
}

impl Service<::http::Request<Body>> for Transport {
    type Response = ::http::Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<'static, Result<Self::Response, StdError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        match self {
            Self::Grpc(channel) => channel.poll_ready(context).map_err(StdError::from),
            Self::Http(http) => Service::poll_ready(http.as_mut(), context),
        }
    }

    fn call(&mut self, request: ::http::Request<Body>) -> Self::Future {
        match self {
            Self::Grpc(channel) => channel.call(request).map_err(StdError::from).boxed(),
            Self::Http(http) => Service::call(http.as_mut(), request),
        }
    }
}

/// Parses the address.
pub(super) fn open(target: &Target) -> Result<Transport, Failure> {
    let (scheme, rest) = target
        .host
        .split_once("://")
        .unwrap_or(("grpc", &target.host));
    match scheme {
        "grpc" | "grpcs" => {
            let channel = endpoint(target, scheme == "grpcs", rest)?
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(Duration::from_secs(10))
                .connect_lazy();
            Ok(Transport::Grpc(channel))
        }
        "http" | "https" => Ok(Transport::Http(Box::new(http(target, scheme == "https")?))),
        _ => Err(invalid(target, &format!("unknown scheme {scheme:?}"))),
    }
}

fn invalid(target: &Target, why: &str) -> Failure {
    Failure::usage(format!("invalid address {:?}: {why}", target.host)).hint(
        "use host:port, grpc://host:port or grpcs://host:port, http://host:port/rpc or https://host:port/rpc",
    )
}

fn http(target: &Target, secure: bool) -> Result<Http, Failure> {
    let unfit = || invalid(target, "it is not http://host:port/path");
    let uri: ::http::Uri = target.host.parse().map_err(|_| unfit())?;
    let authority = uri.authority().ok_or_else(unfit)?;
    if authority.host().is_empty() || authority.as_str().contains('@') || uri.query().is_some() {
        return Err(unfit());
    }
    let tls = match (secure, &target.ca, &target.cert) {
        (true, ..) => rustls_config(target)?,
        (false, None, None) => {
            tls::client(RootCertStore::empty(), None).map_err(|error| unusable(&error))?
        }
        (false, ..) => return Err(invalid(target, "--ca, --cert and --key need https://")),
    };
    let name = ServerName::try_from(target.server_name.clone())
        .map_err(|_| Failure::usage(format!("{:?} is no name of a server", target.server_name)))?;
    Http::new(&uri, tls, name).map_err(Failure::from)
}

fn rustls_config(target: &Target) -> Result<ClientConfig, Failure> {
    let unfit = |error: pem::Error| unusable(&error);
    let authorities = tls::certificates(&read(authority(target)?)?).map_err(unfit)?;
    let roots = tls::roots(authorities).map_err(|error| unusable(&error))?;
    let identity = match (&target.cert, &target.key) {
        (Some(cert), Some(key)) => {
            let chain = tls::certificates(&read(cert)?).map_err(unfit)?;
            Some((chain, tls::key(&read(key)?).map_err(unfit)?))
        }
        _ => None,
    };
    tls::client(roots, identity).map_err(|error| unusable(&error))
}

fn unusable(error: &dyn Error) -> Failure {
    Failure::usage(format!("invalid TLS files: {error}"))
}

fn endpoint(target: &Target, secure: bool, authority: &str) -> Result<Endpoint, Failure> {
    let invalid = |why: &str| invalid(target, why);
    let parsed: ::http::uri::Authority = authority
        .parse()
        .map_err(|_| invalid("it is not host:port"))?;
    if parsed.host().is_empty() || parsed.port_u16().is_none() || authority.contains('@') {
        return Err(invalid("it is not host:port"));
    }
    let uri = format!("{}://{authority}", if secure { "https" } else { "http" });
    let endpoint = Endpoint::from_shared(uri).map_err(|error| invalid(&error.to_string()))?;
    if secure {
        return endpoint
            .tls_config(tls_config(target)?)
            .map_err(|error| unusable(&error));
    }
    match (&target.ca, &target.cert) {
        (None, None) => Ok(endpoint),
        _ => Err(invalid("--ca, --cert and --key need grpcs://")),
    }
}

fn tls_config(target: &Target) -> Result<ClientTlsConfig, Failure> {
    let ca = authority(target)?;
    let mut config = ClientTlsConfig::new()
        .domain_name(&target.server_name)
        .ca_certificate(Certificate::from_pem(read(ca)?));
    if let (Some(cert), Some(key)) = (&target.cert, &target.key) {
        config = config.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    Ok(config)
}

fn authority(target: &Target) -> Result<&PathBuf, Failure> {
    let scheme = target
        .host
        .split_once("://")
        .map_or("", |(scheme, _)| scheme);
    target.ca.as_ref().ok_or_else(|| {
        Failure::usage(format!(
            "{scheme}:// needs --ca: the certificates that may sign the server's"
        ))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    input::bytes(path, input::SMALL)
}
