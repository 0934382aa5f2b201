//! Opens a connection to a ws-daemon, with mutual TLS where it is configured.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::config::Tls;

/// The name that the certificates of ws-daemons have.
const SERVER_NAME: &str = "wsdaemon";
/// Timeout of a connection attempt, with its handshakes.
const DIAL: Duration = Duration::from_secs(10);
/// Keepalive interval: a node that vanishes closes no connection.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Authority, certificate and key in PEM form, as they were read.
#[derive(PartialEq, Eq)]
pub(super) struct Files {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// Without the key.
impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

impl Files {
    /// Reads the files. They are small, and certificates that are renewed are used at once.
    pub(super) async fn read(tls: &Tls) -> Result<Self, String> {
        let read = async |path: &str| {
            let bytes = tokio::fs::read(path).await;
            bytes.map_err(|error| format!("cannot read {path}: {error}"))
        };
        Ok(Self {
            ca: read(&tls.ca).await?,
            cert: read(&tls.cert).await?,
            key: read(&tls.key).await?,
        })
    }
}

/// Connects.
pub(super) async fn dial(
    address: &str,
    port: u16,
    files: Option<&Files>,
) -> Result<Channel, String> {
    let host = match address.contains(':') {
        true => format!("[{address}]"),
        false => address.to_owned(),
    };
    let scheme = if files.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{host}:{port}"));
    let mut endpoint = endpoint
        .map_err(|error| root(&error))?
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    if let Some(files) = files {
        let tls = ClientTlsConfig::new()
            .domain_name(SERVER_NAME)
            .ca_certificate(Certificate::from_pem(&files.ca))
            .identity(Identity::from_pem(&files.cert, &files.key));
        endpoint = endpoint.tls_config(tls).map_err(|error| root(&error))?;
    }
    match timeout(DIAL, endpoint.connect()).await {
        Ok(connected) => connected.map_err(|error| format!("{host}:{port}: {}", root(&error))),
        Err(_) => Err(format!("{host}:{port}: no connection within {DIAL:?}")),
    }
}

/// Returns the text of the first cause of an error.
pub(super) fn root(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
