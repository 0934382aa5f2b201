//! What is in flight: each connection has its limits, and the server tells how much there is
//! (docs/operations.md#limits).
//!
//! A connection is a peer: one that needs more opens another, and there is a limit to those, too. Whatever is taken
//! here is given back when what holds it is dropped, so that no end of a call or of a connection can keep it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::Status;
use tonic::body::Body;

use super::REQUEST_LIMIT;
use crate::error::Error;

/// Connections of a server.
pub const CONNECTIONS: usize = 10_000;
/// Streams of a connection. HTTP/2 allows for more, so that whoever asks for too many is told instead of kept waiting.
pub const STREAMS: usize = 2_000;
/// Calls of a connection that are answered once.
pub const CALLS: usize = 200;
/// Bytes of requests of a connection, from their arrival until they are answered.
pub const CONNECTION_BYTES: usize = 4 * REQUEST_LIMIT;
/// The same of all connections.
pub const ALL_BYTES: usize = 16 * REQUEST_LIMIT;
/// As much of each request does not count, so that short questions are answered while others fill the server.
const UNCOUNTED: usize = 1 << 10;

/// How much is in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// Open connections.
    pub connections: usize,
    /// Connections that were closed at once because there were too many.
    pub turned_away: u64,
    /// Calls that answer for as long as somebody listens.
    pub streams: usize,
    /// Calls that answer once.
    pub calls: usize,
    /// Bytes of requests that are arriving or being answered.
    pub request_bytes: usize,
}

/// Lets connections in, up to a limit.
#[derive(Debug, Clone)]
pub struct ConnectionLimiter {
    connections: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    in_flight: watch::Sender<InFlight>,
}

/// A connection as its requests know it.
#[derive(Debug, Clone)]
pub struct Peer {
    streams: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    all_bytes: Arc<Semaphore>,
    local: bool,
    in_flight: watch::Sender<InFlight>,
}

/// Counts among what is in flight for as long as it is held.
#[derive(Debug)]
pub struct Permit {
    of: fn(&mut InFlight) -> &mut usize,
    in_flight: watch::Sender<InFlight>,
    permit: Option<OwnedSemaphorePermit>,
}

impl ConnectionLimiter {
    /// Returns a limiter of so many connections. `in_flight` is told how much there is.
    pub fn new(connections: usize, in_flight: watch::Sender<InFlight>) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(connections)),
            bytes: Arc::new(Semaphore::new(ALL_BYTES)),
            in_flight,
        }
    }

    /// Takes the permit of a connection; `None` if there are too many.
    pub fn enter(&self) -> Option<Permit> {
        let permit = Permit::take(&self.connections, &self.in_flight, |in_flight| {
            &mut in_flight.connections
        });
        if permit.is_none() {
            self.in_flight.send_modify(|now| now.turned_away += 1);
        }
        permit
    }

    /// Returns a connection that asked for nothing yet; `local` says whether it comes from this machine.
    pub fn peer(&self, local: bool) -> Peer {
        Peer {
            streams: Arc::new(Semaphore::new(STREAMS)),
            calls: Arc::new(Semaphore::new(CALLS)),
            bytes: Arc::new(Semaphore::new(CONNECTION_BYTES)),
            all_bytes: Arc::clone(&self.bytes),
            local,
            in_flight: self.in_flight.clone(),
        }
    }
}

impl Peer {
    /// Whether the connection comes from this machine.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Takes the permit of a call; `streams` says whether its method answers for as long as somebody listens.
    ///
    /// # Errors
    /// [`Error::Exhausted`] if the connection has as many of its kind in flight as it may.
    pub fn admit(&self, streams: bool) -> Result<Permit, Error> {
        let taken = match streams {
            true => Permit::take(&self.streams, &self.in_flight, |now| &mut now.streams),
            false => Permit::take(&self.calls, &self.in_flight, |now| &mut now.calls),
        };
        taken.ok_or_else(|| {
            let (limit, why) = match streams {
                true => (
                    "STREAMS",
                    format!("a connection may have {STREAMS} streams open at a time"),
                ),
                false => (
                    "CALLS",
                    format!("a connection may have {CALLS} unary calls in flight at a time"),
                ),
            };
            Error::Exhausted {
                limit,
                why,
                retry_after: None,
            }
        })
    }
}

impl Permit {
    fn take(
        permits: &Arc<Semaphore>,
        in_flight: &watch::Sender<InFlight>,
        of: fn(&mut InFlight) -> &mut usize,
    ) -> Option<Self> {
        let permit = Arc::clone(permits).try_acquire_owned().ok()?;
        in_flight.send_modify(|now| *of(now) += 1);
        Some(Self {
            of,
            in_flight: in_flight.clone(),
            permit: Some(permit),
        })
    }
}

/// The bytes of one request, counted among those of its connection and of the server for as long as this is held.
#[derive(Debug, Default)]
pub struct RequestBytes {
    peer: Option<Peer>,
    length: usize,
    counted: usize,
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl RequestBytes {
    /// Returns the count of a request of which nothing arrived yet; without a peer nothing is limited.
    pub fn new(peer: Option<Peer>) -> Self {
        Self {
            peer,
            length: 0,
            counted: 0,
            permits: None,
        }
    }

    /// Counts further bytes.
    ///
    /// # Errors
    /// [`Error::Exhausted`] if the connection or the server holds too much already.
    pub fn add(&mut self, count: usize) -> Result<(), Error> {
        self.length += count;
        let Some(peer) = &self.peer else {
            return Ok(());
        };
        let more = self.length.saturating_sub(UNCOUNTED) - self.counted;
        let exhausted = |whose: &str, limit: usize| Error::Exhausted {
            limit: "REQUEST_BYTES",
            why: format!(
                "the requests of {whose} that are arriving or being answered have {limit} bytes already"
            ),
            retry_after: None,
        };
        // No request comes near 4 GiB.
        let permits = u32::try_from(more).unwrap_or(u32::MAX);
        let take = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_many_owned(permits).ok();
        let own =
            take(&peer.bytes).ok_or_else(|| exhausted("this connection", CONNECTION_BYTES))?;
        let all = take(&peer.all_bytes).ok_or_else(|| exhausted("all connections", ALL_BYTES))?;
        match &mut self.permits {
            None => self.permits = Some((own, all)),
            Some((held, all_held)) => {
                held.merge(own);
                all_held.merge(all);
            }
        }
        self.counted += more;
        if more > 0 {
            peer.in_flight.send_modify(|now| now.request_bytes += more);
        }
        Ok(())
    }

    /// Gives everything back, because it is not kept any more.
    pub fn clear(&mut self) {
        *self = Self::new(self.peer.clone());
    }
}

impl Drop for RequestBytes {
    fn drop(&mut self) {
        if let Some(peer) = self.peer.as_ref().filter(|_| self.counted > 0) {
            let counted = self.counted;
            drop(self.permits.take());
            peer.in_flight
                .send_modify(|now| now.request_bytes -= counted);
        }
    }
}

/// Returns a body that holds something until it is over.
pub fn until_over(body: Body, held: impl Send + Unpin + 'static) -> Body {
    Body::new(Holding { body, _held: held })
}

struct Holding<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> http_body::Body for Holding<T> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // First the permit: who sees the count fall may come in at once.
        drop(self.permit.take());
        self.in_flight.send_modify(|now| *(self.of)(now) -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    #[test]
    fn permits_are_given_back() {
        let in_flight = watch::Sender::default();
        let limiter = ConnectionLimiter::new(1, in_flight.clone());
        let connection = limiter.enter().unwrap();
        assert!(limiter.enter().is_none());
        let (one, other) = (limiter.peer(true), limiter.peer(true));
        let streams: Vec<_> = (0..STREAMS).map(|_| one.admit(true).unwrap()).collect();
        let calls: Vec<_> = (0..CALLS)
            .map(|_| one.clone().admit(false).unwrap())
            .collect();
        for (streams, limit) in [(true, STREAMS), (false, CALLS)] {
            let refused = one.admit(streams).unwrap_err().to_string();
            assert!(refused.contains(&limit.to_string()), "{refused}");
            drop(other.admit(streams).unwrap());
        }
        let all = InFlight {
            connections: 1,
            turned_away: 1,
            streams: STREAMS,
            calls: CALLS,
            request_bytes: 0,
        };
        assert_eq!(*in_flight.borrow(), all);
        drop((streams, calls, connection, one));
        let none = InFlight {
            turned_away: 1,
            ..InFlight::default()
        };
        assert_eq!(*in_flight.borrow(), none);
        assert!(limiter.enter().is_some());
    }

    #[test]
    fn a_permit_is_free_before_the_count_says_so() {
        static PERMITS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));
        let in_flight = watch::Sender::default();
        let permit = Permit::take(&PERMITS, &in_flight, |in_flight| {
            let free = usize::from(in_flight.streams > 0);
            assert_eq!(PERMITS.available_permits(), free);
            &mut in_flight.streams
        });
        drop(permit.unwrap());
        assert_eq!(in_flight.borrow().streams, 0);
    }

    #[test]
    fn bytes_are_counted_per_connection_and_in_all() {
        let in_flight = watch::Sender::default();
        let limiter = ConnectionLimiter::new(9, in_flight.clone());
        let held = || in_flight.borrow().request_bytes;
        let refused = |bytes: &mut RequestBytes, count| {
            let Err(Error::Exhausted { limit, why, .. }) = bytes.add(count) else {
                panic!("{count} bytes were taken")
            };
            assert_eq!(limit, "REQUEST_BYTES");
            why
        };
        let one = limiter.peer(true);
        let mut small = RequestBytes::new(Some(one.clone()));
        small.add(UNCOUNTED).unwrap();
        assert_eq!(held(), 0);
        let mut large = RequestBytes::new(Some(one.clone()));
        large.add(UNCOUNTED).unwrap();
        large.add(CONNECTION_BYTES - 1).unwrap();
        assert_eq!(held(), CONNECTION_BYTES - 1);
        small.add(1).unwrap();
        let why = refused(&mut small, 1);
        assert!(why.contains("this connection"), "{why}");
        // Other connections have bytes of their own, until the server has none.
        let others: Vec<_> = (1..ALL_BYTES / CONNECTION_BYTES)
            .map(|_| {
                let mut bytes = RequestBytes::new(Some(limiter.peer(true)));
                bytes.add(CONNECTION_BYTES + UNCOUNTED).unwrap();
                bytes
            })
            .collect();
        assert_eq!(held(), ALL_BYTES);
        let mut further = RequestBytes::new(Some(limiter.peer(true)));
        let why = refused(&mut further, UNCOUNTED + 1);
        assert!(why.contains("all connections"), "{why}");
        large.clear();
        assert_eq!(held(), ALL_BYTES - CONNECTION_BYTES + 1);
        further.add(1).unwrap();
        drop((others, small, further, large));
        assert_eq!(held(), 0);
        RequestBytes::new(None).add(usize::MAX / 2).unwrap();
    }
}
