//! Accepts connections, with or without TLS. Errors of a connection or of the accept call do not stop it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use anyhow::Context as _;
use bytes::{Buf, BytesMut};
use futures::Stream;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use crate::config::{ClientAuth, Tls};
use crate::rpc::in_flight::{ConnectionLimiter, Peer, Permit};
use crate::{tasks, tls};

/// Timeout of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of the first bytes of a request; later requests have the timer of HTTP.
const OPENING_TIMEOUT: Duration = Duration::from_secs(30);
/// These bytes show which HTTP version a client speaks.
const PREFACE: usize = 24;
/// Idle time until TCP keepalive, like the pings of HTTP/2.
const PROBE_AFTER: Duration = Duration::from_secs(20);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of an acknowledgement: such a peer is gone or stuck, and holds memory.
#[cfg(target_os = "linux")]
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of a blocked write, if the system has no earlier one.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that a connection collects before it writes them.
const UNSENT: usize = 64 << 10;
/// Pause after a failed accept: then descriptors may be free again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepted connections, ready to be served.
#[derive(Debug)]
pub struct Connections(mpsc::Receiver<io::Result<Connection>>);

/// Accepts connections on a bound listener, as far as the limiter permits.
pub fn accept(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    limiter: ConnectionLimiter,
) -> Connections {
    let (ready, connections) = mpsc::channel(64);
    tasks::detached(async move {
        let acceptor = tls.map(TlsAcceptor::from);
        let mut full = false;
        // Ends when the server drops the receiver.
        while !ready.is_closed() {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            match accepted {
                Err(error) => {
                    warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Ok((stream, addr)) => match limiter.enter() {
                    Some(permit) => {
                        full = false;
                        let peer = limiter.peer(addr.ip().to_canonical().is_loopback());
                        let welcome = welcome(stream, acceptor.clone(), permit, peer);
                        let ready = ready.clone();
                        // No connection waits for another's handshake.
                        tasks::detached(async move {
                            match welcome.await {
                                Ok(connection) => drop(ready.send(Ok(connection)).await),
                                Err(error) => debug!(%addr, %error, "not a connection"),
                            }
                        });
                    }
                    // Logged once.
                    None if full => {}
                    None => {
                        full = true;
                        warn!("too many connections: closing each new one");
                    }
                },
            }
        }
    });
    Connections(connections)
}

/// Prepares a connection, after its TLS handshake, if any.
async fn welcome(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    permit: Permit,
    peer: Peer,
) -> io::Result<Connection> {
    tune(&stream)?;
    let transport = match acceptor {
        None => Transport::Plain(stream),
        Some(acceptor) => {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
            Transport::Tls(Box::new(handshake.await??))
        }
    };
    Ok(Connection {
        transport,
        opening: Some(Opening {
            read: 0,
            over: Box::pin(tokio::time::sleep(OPENING_TIMEOUT)),
        }),
        unsent: BytesMut::new(),
        gathered: false,
        stuck: None,
        peer,
        _permit: permit,
    })
}

/// Sets no-delay, and detects peers that are gone: HTTP/1.1 has no ping.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_INTERVAL)
        .with_retries(2);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(ACK_TIMEOUT))?;
    Ok(())
}

/// Reads certificates and returns the TLS configuration, 1.2 and 1.3. With an authority, client certificates are
/// required or, with `request`, checked if presented.
///
/// # Errors
/// If a file cannot be read or used.
pub fn tls(files: &Tls, clients: ClientAuth) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let provider = tls::provider();
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])?;
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Request | ClientAuth::Require => {
            let unusable = || format!("cannot use the authority in {}", files.ca);
            let roots = tls::roots(tls::read_certificates(&files.ca)?).with_context(unusable)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match clients {
                ClientAuth::Require => verifier,
                _ => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let (chain, key) = tls::read_identity(&files.cert, &files.key)?;
    let mut config = builder
        .with_single_cert(chain, key)
        .context("certificate and key do not fit")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl Stream for Connections {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    /// Until the HTTP version is known: its detection has no timer of its own.
    opening: Option<Opening>,
    /// Written, not flushed.
    unsent: BytesMut,
    /// The tasks that were ready ran since the last flush.
    gathered: bool,
    /// While writes are blocked: the timeout.
    stuck: Option<Pin<Box<Sleep>>>,
    peer: Peer,
    _permit: Permit,
}

#[derive(Debug)]
struct Opening {
    read: usize,
    over: Pin<Box<Sleep>>,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl Connection {
    /// Writes what is unsent, and fails if writes are blocked for too long.
    fn send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let wrote = Pin::new(&mut self.transport).poll_write(context, &self.unsent);
            match self.went(context, wrote) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.unsent.advance(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Most connections are idle most of the time.
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Passes on the result of a step.
    fn went<T>(
        &mut self,
        context: &mut Context<'_>,
        step: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if step.is_ready() {
            self.stuck = None;
            return step;
        }
        let stuck = self
            .stuck
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIMEOUT)));
        match stuck.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.transport).poll_read(context, buffer);
        if let Some(opening) = &mut this.opening {
            opening.read += buffer.filled().len() - before;
            if opening.read >= PREFACE {
                this.opening = None;
            } else if read.is_pending() && opening.over.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.unsent.len() >= UNSENT {
            ready!(this.send(context))?;
        }
        this.unsent.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Lets the tasks that are ready run first: an update wakes all streams of a connection, and their messages
    /// then share one packet.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.unsent.is_empty() && !std::mem::replace(&mut this.gathered, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(this.send(context))?;
        this.gathered = false;
        let flushed = Pin::new(&mut this.transport).poll_flush(context);
        this.went(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.send(context))?;
        let shut = Pin::new(&mut this.transport).poll_shutdown(context);
        this.went(context, shut)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
