//! Connects to a broker: URL, certificates, limits. What it says of an address never holds a password.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_compat::Compat;
use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use lapin::uri::{AMQPAuthority, AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, ErrorKind};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::timeout;

use super::Timing;
use crate::config::{Broker, Tls};

/// AMQP's code for a broker that is being stopped.
const FORCED: u16 = 320;
/// Longest frame, in bytes, where the URL names none. lapin has room for 32 frames each way from the start: as the broker
/// would have it, that is 8 MiB for messages of a kilobyte.
const FRAME: u32 = 16 << 10;

/// Why there is no connection, or why one ended.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct Fault {
    /// For people; without a password.
    pub why: String,
    /// Somebody has to change something: trying again soon is no use.
    pub is_refusal: bool,
}

impl Fault {
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_refusal: false,
        }
    }

    fn refusal(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_refusal: true,
        }
    }
}

impl From<lapin::Error> for Fault {
    fn from(error: lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(said) if said.get_id() != FORCED => {
                Self::refusal(format!("the broker says: {said}"))
            }
            ErrorKind::ProtocolError(said) => Self::passing(format!("the broker says: {said}")),
            ErrorKind::IOError(error) => Self::passing(error.to_string()),
            _ => Self::passing(error.to_string()),
        }
    }
}

/// A connection that is cut when it is dropped. lapin's own end of one waits for the broker, in a thread; a broker that
/// does not answer would collect them.
#[derive(Debug)]
pub struct Wire {
    /// The connection.
    pub connection: Connection,
    /// Where it leads to.
    pub address: String,
    _socket: Socket,
}

/// A second handle of the socket.
#[derive(Debug, Clone, Default)]
struct Handle(Arc<Mutex<Option<TcpStream>>>);

#[derive(Debug)]
struct Socket(Handle);

impl Drop for Socket {
    fn drop(&mut self) {
        let handle = self
            .0
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(socket) = handle {
            // One that is closed already is what is wanted.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Connects. Files are read afresh, so that what was rotated is used.
///
/// # Errors
/// [`Fault`] where a file or the URL cannot be used, the broker does not answer in time or says no.
pub async fn connect(
    broker: &Broker,
    tls: Option<&Tls>,
    name: &str,
    timing: Timing,
) -> Result<Wire, Fault> {
    let mut uri = parse(&read_url(broker).await?)?;
    uri.query.heartbeat = Some(timing.heartbeat);
    uri.query.frame_max.get_or_insert(FRAME);
    let address = address(&uri);
    let tls = match (&uri.scheme, tls) {
        (AMQPScheme::AMQP, None) => None,
        (AMQPScheme::AMQP, Some(_)) => {
            return Err(Fault::refusal(format!(
                "certificates are given, but {address} is not encrypted: use amqps"
            )));
        }
        (AMQPScheme::AMQPS, tls) => Some(connector(tls.cloned().unwrap_or_default())?),
    };
    let handle = Handle::default();
    let socket = Socket(handle.clone());
    let limit = timing.connect;
    let dial = async move |uri: AMQPUri, _runtime| {
        let AMQPAuthority { host, port, .. } = &uri.authority;
        let dialled = timeout(limit, async {
            let stream = tokio::net::TcpStream::connect((host.as_str(), *port)).await?;
            keep(&stream, &handle)?;
            let stream = AsyncTcpStream::Plain(Compat::new(stream));
            match &tls {
                None => Ok(stream),
                Some(tls) => stream.into_rustls(tls, host).await,
            }
        });
        let late = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
        Ok(dialled.await.unwrap_or_else(late)?)
    };
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime()?;
    let connecting = Connection::connector(uri, runtime, dial, properties);
    let connection = timeout(limit, connecting)
        .await
        .map_err(|_| Fault::passing(format!("{address} does not answer within {limit:?}")))?
        .map_err(|error| {
            let Fault { why, is_refusal } = error.into();
            let why = format!("cannot connect to {address}: {why}");
            Fault { why, is_refusal }
        })?;
    Ok(Wire {
        connection,
        address,
        _socket: socket,
    })
}

/// Waits at most `limit` for the goodbye.
pub(super) async fn close(connection: &Connection, limit: Duration) {
    // Whoever does not say goodbye is cut.
    let _ = timeout(limit, connection.close(200, "OK".into())).await;
}

fn keep(stream: &tokio::net::TcpStream, handle: &Handle) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let second = TcpStream::from(stream.as_fd().try_clone_to_owned()?);
    *handle.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(second);
    Ok(())
}

async fn read_url(broker: &Broker) -> Result<String, Fault> {
    match broker {
        Broker::Url(url) => Ok(url.clone()),
        Broker::UrlFile(path) => match tokio::fs::read_to_string(path).await {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) => Err(Fault::refusal(format!("cannot read {path}: {error}"))),
        },
    }
}

/// Never repeats the text: what is wrong with it may be its password.
fn parse(url: &str) -> Result<AMQPUri, Fault> {
    url.parse().map_err(|_| {
        Fault::refusal(
            "the address of the broker is no URL such as amqp://user:password@host:5672/vhost",
        )
    })
}

/// The address without its password.
fn address(uri: &AMQPUri) -> String {
    let (authority, vhost) = (&uri.authority, uri.vhost.as_str());
    let vhost = match vhost {
        "/" => "",
        vhost => vhost,
    };
    format!(
        "{}://{}@{}:{}/{vhost}",
        uri.scheme, authority.userinfo.username, authority.host, authority.port
    )
}

/// Trusts the given authority alone, or what the system trusts.
fn connector(tls: Tls) -> Result<RustlsConnector, Fault> {
    let unusable = |what: &str, path: &str, error: &dyn std::fmt::Display| {
        Fault::refusal(format!("cannot use the {what} in {path}: {error}"))
    };
    let read = |what: &str, path: &str| -> Result<Vec<CertificateDer<'static>>, Fault> {
        CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| unusable(what, path, &error))
    };
    let config = match tls.ca.as_str() {
        "" => RustlsConnectorConfig::new_with_platform_verifier(),
        ca => RustlsConnectorConfig::default().with_parsable_certificates(read("authority", ca)?),
    };
    let connector = match tls.cert.as_str() {
        "" => config.connector_with_no_client_auth(),
        cert => {
            let key = PrivateKeyDer::from_pem_file(&tls.key)
                .map_err(|error| unusable("key", &tls.key, &error))?;
            config.connector_with_single_cert(read("certificate", cert)?, key)
        }
    };
    connector.map_err(|error| Fault::refusal(format!("cannot use the certificates: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_repeated() {
        let uri = parse("amqps://jane:planted@broker.example:5671/team").unwrap();
        assert_eq!(address(&uri), "amqps://jane@broker.example:5671/team");
        for broken in [
            "planted",
            "http://a:planted@b",
            "amqp://a:planted@b:port",
            "amqp://a:pla nted@[b",
        ] {
            let fault = parse(broken).unwrap_err();
            assert!(
                !format!("{fault:?} {fault}").contains("planted"),
                "{fault:?}"
            );
            assert!(fault.is_refusal);
        }
    }

    #[tokio::test]
    async fn certificates_never_travel_in_the_clear() {
        let broker = Broker::Url("amqp://127.0.0.1:1".to_owned());
        let tls = Tls {
            ca: "/nonexistent".to_owned(),
            ..Tls::default()
        };
        let fault = connect(&broker, Some(&tls), "test", Timing::default())
            .await
            .unwrap_err();
        assert!(fault.is_refusal && fault.why.contains("amqps"), "{fault}");
        let broker = Broker::Url("amqps://127.0.0.1:1".to_owned());
        let fault = connect(&broker, Some(&tls), "test", Timing::default())
            .await
            .unwrap_err();
        assert!(
            fault.is_refusal && fault.why.contains("/nonexistent"),
            "{fault}"
        );
        let broker = Broker::UrlFile("/nonexistent".to_owned());
        let fault = connect(&broker, None, "test", Timing::default())
            .await
            .unwrap_err();
        assert!(
            fault.is_refusal && fault.why.contains("/nonexistent"),
            "{fault}"
        );
    }

    #[tokio::test]
    async fn a_broker_that_never_answers_is_left_for_good() {
        use tokio::io::AsyncReadExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let broker = Broker::Url(format!("amqp://{addr}"));
        let timing = Timing {
            connect: Duration::from_millis(200),
            ..Timing::default()
        };
        let (fault, mut socket) = tokio::join!(connect(&broker, None, "test", timing), async {
            listener.accept().await.unwrap().0
        });
        let fault = fault.unwrap_err();
        assert!(
            fault.why.contains("does not answer") && !fault.is_refusal,
            "{fault}"
        );
        let mut said = Vec::new();
        let ended = timeout(Duration::from_secs(30), socket.read_to_end(&mut said));
        ended.await.expect("the socket is closed").unwrap();
        assert!(said.starts_with(b"AMQP"));
    }
}
