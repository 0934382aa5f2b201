//! What is in flight: each connection has its limits, and the server tells how much there is (reliability 4).
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

use super::forward;
use crate::error::Error;

/// Connections of a server.
pub const CONNECTIONS: usize = 10_000;
/// Streams of a connection. HTTP/2 allows for more, so that whoever asks for too many is told instead of kept waiting.
pub const STREAMS: usize = 2_000;
/// Calls of a connection that are answered once.
pub const CALLS: usize = 200;
/// What answers for as long as somebody listens; any other method answers once.
const STREAMING: [&str; 3] = ["Subscribe", "Watch", "ServerReflectionInfo"];

/// How much is in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Open connections.
    pub connections: usize,
    /// Connections that were closed at once because there were too many.
    pub turned_away: u64,
    /// Calls that answer for as long as somebody listens.
    pub streams: usize,
    /// Calls that answer once.
    pub calls: usize,
}

/// Lets connections in.
#[derive(Debug, Clone)]
pub struct Gate {
    places: Arc<Semaphore>,
    load: watch::Sender<Load>,
}

/// A connection as its requests know it.
#[derive(Debug, Clone)]
pub struct Peer {
    streams: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    load: watch::Sender<Load>,
}

/// A place among what is in flight, for as long as it is held.
#[derive(Debug)]
pub struct Place {
    of: fn(&mut Load) -> &mut usize,
    load: watch::Sender<Load>,
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    /// Returns a gate for so many connections. `load` is told what is in flight.
    pub fn new(connections: usize, load: watch::Sender<Load>) -> Self {
        Self {
            places: Arc::new(Semaphore::new(connections)),
            load,
        }
    }

    /// Takes the place of a connection; `None` if there are too many.
    pub fn enter(&self) -> Option<Place> {
        let place = Place::take(&self.places, &self.load, |load| &mut load.connections);
        if place.is_none() {
            self.load.send_modify(|load| load.turned_away += 1);
        }
        place
    }

    /// Returns a connection that asked for nothing yet.
    pub fn peer(&self) -> Peer {
        Peer {
            streams: Arc::new(Semaphore::new(STREAMS)),
            calls: Arc::new(Semaphore::new(CALLS)),
            load: self.load.clone(),
        }
    }
}

impl Peer {
    /// Takes the place of a call of the method that `path` ends with.
    ///
    /// # Errors
    /// [`Error::Exhausted`] if the connection has as many of its kind in flight as it may.
    pub fn admit(&self, path: &str) -> Result<Place, Error> {
        let taken = match is_streaming(path) {
            true => Place::take(&self.streams, &self.load, |load| &mut load.streams),
            false => Place::take(&self.calls, &self.load, |load| &mut load.calls),
        };
        let (limit, why) = match is_streaming(path) {
            true => (
                "STREAMS",
                format!("a connection may have {STREAMS} streams open at a time"),
            ),
            false => (
                "CALLS",
                format!("a connection may have {CALLS} unary calls in flight at a time"),
            ),
        };
        taken.ok_or(Error::Exhausted {
            limit,
            why,
            retry_after: None,
        })
    }
}

impl Place {
    fn take(
        places: &Arc<Semaphore>,
        load: &watch::Sender<Load>,
        of: fn(&mut Load) -> &mut usize,
    ) -> Option<Self> {
        let _permit = Arc::clone(places).try_acquire_owned().ok()?;
        load.send_modify(|load| *of(load) += 1);
        Some(Self {
            of,
            load: load.clone(),
            _permit,
        })
    }

    /// Returns a body that holds the place until it is over.
    pub fn until_over(self, body: Body) -> Body {
        Body::new(Placed { body, _place: self })
    }
}

struct Placed {
    body: Body,
    _place: Place,
}

impl http_body::Body for Placed {
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

impl Drop for Place {
    fn drop(&mut self) {
        self.load.send_modify(|load| *(self.of)(load) -= 1);
    }
}

fn is_streaming(path: &str) -> bool {
    // Nobody here knows which of them stream.
    if path.starts_with(&format!("/{}/", forward::SERVICE)) {
        return true;
    }
    let method = path.rsplit('/').next();
    method.is_some_and(|method| STREAMING.contains(&method))
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn every_method_that_streams_is_known() {
        let described = [
            crate::proto::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ];
        let mut streaming = 0;
        for set in described {
            let pool = DescriptorPool::decode(set).unwrap();
            for method in pool.services().flat_map(|service| {
                let methods: Vec<_> = service.methods().collect();
                methods
            }) {
                let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
                assert_eq!(is_streaming(&path), method.is_server_streaming(), "{path}");
                streaming += usize::from(method.is_server_streaming());
            }
        }
        assert!(streaming >= STREAMING.len());
        assert!(is_streaming("/builder.ImageBuilder/Build"));
        assert!(is_streaming("/rpc/Subscribe") && !is_streaming("/rpc/GetWorkspaces"));
    }

    #[test]
    fn places_are_given_back() {
        let load = watch::Sender::default();
        let gate = Gate::new(1, load.clone());
        let connection = gate.enter().unwrap();
        assert!(gate.enter().is_none());
        let (one, other) = (gate.peer(), gate.peer());
        let streams: Vec<_> = (0..STREAMS)
            .map(|_| one.admit("/rpc/Subscribe").unwrap())
            .collect();
        let calls: Vec<_> = (0..CALLS)
            .map(|_| one.clone().admit("/rpc/GetWorkspaces").unwrap())
            .collect();
        for (path, limit) in [("Subscribe", STREAMS), ("DescribeCluster", CALLS)] {
            let refused = one.admit(path).unwrap_err().to_string();
            assert!(refused.contains(&limit.to_string()), "{refused}");
            drop(other.admit(path).unwrap());
        }
        let all = Load {
            connections: 1,
            turned_away: 1,
            streams: STREAMS,
            calls: CALLS,
        };
        assert_eq!(*load.borrow(), all);
        drop((streams, calls, connection, one));
        let none = Load {
            turned_away: 1,
            ..Load::default()
        };
        assert_eq!(*load.borrow(), none);
        assert!(gate.enter().is_some());
    }
}
