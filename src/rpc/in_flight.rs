//! Limits and counts of what is in flight: connections, streams, calls, bytes (docs/operations.md#limits).
//!
//! A peer is a connection: one that needs more opens another, up to a limit. A permit is released when it is dropped,
//! so every end of a call or of a connection releases it.

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

/// Most connections of a server.
pub const CONNECTIONS: usize = 10_000;
/// Most streams of a connection. HTTP/2 allows more, so that a further one gets an error instead of waiting.
pub const STREAMS: usize = 2_000;
/// Most unary calls of a connection.
pub const CALLS: usize = 200;
/// Most bytes of requests of a connection, from their arrival until their response.
pub const CONNECTION_BYTES: usize = 4 * REQUEST_LIMIT;
/// Most bytes of requests of all connections.
pub const ALL_BYTES: usize = 16 * REQUEST_LIMIT;
/// This much of each request is free, so that short requests are answered while others use up the limit.
const UNCOUNTED: usize = 1 << 10;

/// Counts of what is in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// Open connections.
    pub connections: usize,
    /// Connections that were closed at once, over the limit.
    pub turned_away: u64,
    /// Open server streams.
    pub streams: usize,
    /// Unary calls.
    pub calls: usize,
    /// Bytes of requests that arrive or are being answered.
    pub request_bytes: usize,
}

/// Admits connections up to a limit.
#[derive(Debug, Clone)]
pub struct ConnectionLimiter {
    connections: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    in_flight: watch::Sender<InFlight>,
}

/// A connection, as seen by its requests.
#[derive(Debug, Clone)]
pub struct Peer {
    streams: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    all_bytes: Arc<Semaphore>,
    local: bool,
    in_flight: watch::Sender<InFlight>,
}

/// One connection, stream or call, counted while this is held.
#[derive(Debug)]
pub struct Permit {
    of: fn(&mut InFlight) -> &mut usize,
    in_flight: watch::Sender<InFlight>,
    permit: Option<OwnedSemaphorePermit>,
}

impl ConnectionLimiter {
    /// Returns a limiter of so many connections, which publishes the counts to `in_flight`.
    pub fn new(connections: usize, in_flight: watch::Sender<InFlight>) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(connections)),
            bytes: Arc::new(Semaphore::new(ALL_BYTES)),
            in_flight,
        }
    }

    /// Takes the permit of a connection; `None` over the limit.
    pub fn enter(&self) -> Option<Permit> {
        let permit = Permit::take(&self.connections, &self.in_flight, |in_flight| {
            &mut in_flight.connections
        });
        if permit.is_none() {
            self.in_flight.send_modify(|now| now.turned_away += 1);
        }
        permit
    }

    /// Returns a connection without calls. `local`: it comes from this machine.
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

    /// Takes the permit of a call. `streams`: its method is a server stream.
    ///
    /// # Errors
    /// [`Error::Exhausted`] over the limit of the connection.
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

/// The bytes of one request, counted for its connection and the server while this is held.
#[derive(Debug, Default)]
pub struct RequestBytes {
    peer: Option<Peer>,
    length: usize,
    counted: usize,
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl RequestBytes {
    /// Returns an empty count; without a peer there is no limit.
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
    /// [`Error::Exhausted`] over the limit of the connection or of the server.
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

    /// Releases everything.
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

/// Returns a body that holds `held` to its end.
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
        // First the permit: a client that sees the count fall may connect at once.
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
    fn a_permit_is_free_before_the_count_falls() {
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
        // Other connections have their own limits, within that of the server.
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
