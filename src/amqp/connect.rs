//! Connects to a broker: URL, certificates, limits. What it says of an address never holds a password.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_compat::Compat;
use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, ErrorKind};
use tokio::time::timeout;

use super::Timing;
use crate::config::broker::{BrokerUrl, is_url};
use crate::config::{Broker, Tls};
use crate::tls;

/// AMQP's code for a broker that is being stopped.
const FORCED: u16 = 320;
/// AMQP's code for an exchange or a queue that is not there.
const NOT_FOUND: u16 = 404;
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
    /// What was asked for is not there, such as an exchange.
    is_missing: bool,
}

impl Fault {
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_refusal: false,
            is_missing: false,
        }
    }

    /// Whether what was asked for, such as an exchange, is not there yet.
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }

    fn refusal(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_refusal: true,
            is_missing: false,
        }
    }
}

impl From<lapin::Error> for Fault {
    fn from(error: lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(said) if said.get_id() != FORCED => {
                let is_missing = said.get_id() == NOT_FOUND;
                Self {
                    is_missing,
                    ..Self::refusal(format!("the broker says: {said}"))
                }
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
            let fault = Fault::from(error);
            let why = format!("cannot connect to {address}: {}", fault.why);
            Fault { why, ..fault }
        })?;
    Ok(Wire {
        connection,
        address,
        _socket: socket,
    })
}

/// Waits at most `limit` for the broker's answer.
pub(super) async fn close(connection: &Connection, limit: Duration) {
    // The socket is closed also without an answer.
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
        Broker::UrlFile(path) if is_url(path) => Err(Fault::refusal(
            "the file with the address of the broker is named by a URL; give the path of a file that holds it",
        )),
        Broker::UrlFile(path) => match tokio::fs::read_to_string(path).await {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) => Err(Fault::refusal(format!("cannot read {path}: {error}"))),
        },
    }
}

/// Never repeats the text: what is wrong with it may be its password.
fn parse(text: &str) -> Result<AMQPUri, Fault> {
    let refused = |why: &str| Fault::refusal(format!("the address of the broker {why}"));
    let url = BrokerUrl::parse(text).map_err(refused)?;
    let scheme = match url.is_secure {
        true => AMQPScheme::AMQPS,
        false => AMQPScheme::AMQP,
    };
    let port = url.port.unwrap_or_else(|| scheme.default_port());
    let guest = AMQPUserInfo::default();
    let userinfo = AMQPUserInfo {
        username: match url.user.is_empty() {
            true => guest.username,
            false => url.user.clone(),
        },
        password: url.password.clone().unwrap_or(guest.password),
    };
    let query = AMQPQueryString {
        frame_max: number(&url, "frame_max").map_err(refused)?,
        channel_max: number(&url, "channel_max").map_err(refused)?,
        heartbeat: number(&url, "heartbeat").map_err(refused)?,
        connection_timeout: number(&url, "connection_timeout").map_err(refused)?,
        auth_mechanism: url
            .parameter("auth_mechanism")
            .map(str::parse)
            .transpose()
            .map_err(|_| refused("names an auth_mechanism that is not known"))?,
    };
    Ok(AMQPUri {
        scheme,
        authority: AMQPAuthority {
            userinfo,
            host: url.host,
            port,
        },
        vhost: url.vhost,
        query,
    })
}

fn number<T: std::str::FromStr>(url: &BrokerUrl, name: &str) -> Result<Option<T>, &'static str> {
    let value = url.parameter(name).map(str::parse).transpose();
    value.map_err(|_| {
        "has a frame_max, channel_max, heartbeat or connection_timeout that is no number in range"
    })
}

/// The address without its password, and without its user, which may be a token.
fn address(uri: &AMQPUri) -> String {
    let (authority, vhost) = (&uri.authority, uri.vhost.as_str());
    let vhost = match vhost {
        "/" => "",
        vhost => vhost,
    };
    let host = match authority.host.contains(':') {
        true => format!("[{}]", authority.host),
        false => authority.host.clone(),
    };
    format!("{}://{host}:{}/{vhost}", uri.scheme, authority.port)
}

/// Trusts the given authority alone, or what the system trusts.
fn connector(tls: Tls) -> Result<RustlsConnector, Fault> {
    let unreadable = |error: anyhow::Error| Fault::refusal(format!("{error:#}"));
    let config = match tls.ca.as_str() {
        "" => RustlsConnectorConfig::new_with_platform_verifier(),
        ca => {
            let authorities = tls::read_certificates(ca).map_err(unreadable)?;
            RustlsConnectorConfig::default().with_parsable_certificates(authorities)
        }
    };
    let connector = match tls.cert.as_str() {
        "" => config.connector_with_no_client_auth(),
        cert => {
            let (chain, key) = tls::read_identity(cert, &tls.key).map_err(unreadable)?;
            config.connector_with_single_cert(chain, key)
        }
    };
    connector.map_err(|error| Fault::refusal(format!("cannot use the certificates: {error}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_shown_without_user_and_password() {
        for (text, shown) in [
            (
                "amqps://jane:planted@broker.example:5671/team",
                "amqps://broker.example:5671/team",
            ),
            ("amqp://planted@[::1]", "amqp://[::1]:5672/"),
        ] {
            assert_eq!(address(&parse(text).unwrap()), shown);
        }
        let lapins =
            "amqp://jane:p%40ss@broker:1/a%2Fb?frame_max=5000&heartbeat=7&auth_mechanism=external";
        assert_eq!(parse(lapins).unwrap(), lapins.parse().unwrap());
        for bad in [
            "heartbeat=planted",
            "frame_max=-1",
            "auth_mechanism=planted",
        ] {
            let fault = parse(&format!("amqp://broker?{bad}")).unwrap_err();
            assert!(
                fault.is_refusal && !fault.why.contains("planted"),
                "{fault}"
            );
        }
    }

    /// Collects a log.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Tries to connect, and returns everything that was said: the error, and the log down to its last detail.
    fn said(broker: &Broker) -> String {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let fault = tracing::subscriber::with_default(subscriber, || {
            let fault = runtime.block_on(connect(broker, None, "test", Timing::default()));
            let fault = fault.unwrap_err();
            tracing::warn!(why = fault.why, "the message bus is away");
            fault
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        format!("{fault} {fault:?} {log}")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Port 1 is closed on loopback: what can be read is dialled in vain. Capital letters are in no text of ours.
        #[test]
        fn no_piece_of_a_password_is_said(password in r"[Q-V@/?#%:&=\[\]\\ ]{3,16}", escaped: bool) {
            let password: String = match escaped {
                true => password.bytes().map(|byte| format!("%{byte:02x}")).collect(),
                false => password,
            };
            let url = format!("amqp://user:{password}@127.0.0.1:1/team");
            for broker in [Broker::Url(url.clone()), Broker::UrlFile(url)] {
                let said = said(&broker);
                let letters: Vec<char> = password.chars().collect();
                for piece in letters.windows(3) {
                    let piece: String = piece.iter().collect();
                    let is_telling = piece.chars().any(|c| ('Q'..='V').contains(&c));
                    prop_assert!(!is_telling || !said.contains(&piece), "{piece:?} is in {said}");
                }
                prop_assert!(!said.contains(&password), "{said}");
            }
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
