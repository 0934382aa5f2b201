//! A request while it arrives. Its time and its bytes are limited; those of a response are not.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tonic::codegen::StdError;

use super::REQUEST_LIMIT;
use super::frames::Broken;
use super::in_flight::{Peer, RequestBytes};
use super::rejection::Rejection;

/// Timeout of an incoming request: 408, or DEADLINE_EXCEEDED.
pub const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// The content of a request.
#[derive(Debug)]
pub struct Arriving {
    body: Body,
    late: Option<Pin<Box<Sleep>>>,
    bytes: RequestBytes,
    length: usize,
}

/// Why the rest of a request is not read.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the request took too long to arrive")]
    Late,
    #[error(transparent)]
    Full(#[from] crate::error::Error),
    #[error("the request broke off: {0}")]
    Broken(String),
}

impl Arriving {
    /// Starts to read the request of a peer. All of it must arrive in time.
    pub fn new(body: Body, peer: Option<Peer>) -> Self {
        Self {
            late: Some(Box::pin(sleep(ARRIVAL_TIMEOUT))),
            ..Self::in_parts(body, peer)
        }
    }

    /// Starts to read a request of many messages, with any time between them.
    pub fn in_parts(body: Body, peer: Option<Peer>) -> Self {
        Self {
            body,
            late: None,
            bytes: RequestBytes::new(peer),
            length: 0,
        }
    }

    /// Counts bytes that the request needs besides those that arrived, such as its decompressed content.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn add(&mut self, count: usize) -> Result<(), Rejection> {
        Ok(self.bytes.add(count)?)
    }

    /// Releases the bytes that arrived.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.length = 0;
    }

    /// Returns the count of the request's bytes, to be held until it is answered.
    pub fn into_bytes(self) -> RequestBytes {
        self.bytes
    }
}

/// Returns why a request cannot be read.
pub fn rejection(error: StdError) -> Rejection {
    match error.downcast::<Cut>() {
        Ok(cut) => match *cut {
            Cut::Late => Rejection::TooSlow,
            Cut::Full(error) => error.into(),
            broken @ Cut::Broken(_) => Rejection::field("", broken.to_string()),
        },
        Err(other) => Rejection::field("", format!("the request broke off: {other}")),
    }
}

impl From<Broken> for Rejection {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::TooLarge(_) => Self::TooLarge,
            Broken::Body(error) => rejection(error),
            Broken::Truncated => Self::field("", "the request ends within a message"),
        }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if polled.is_pending()
            && let Some(late) = &mut this.late
        {
            ready!(late.as_mut().poll(context));
            return Poll::Ready(Some(Err(Cut::Late.into())));
        }
        let part = match ready!(polled) {
            None => return Poll::Ready(None),
            Some(Ok(part)) => part,
            Some(Err(error)) => {
                let why = error.message().to_owned();
                return Poll::Ready(Some(Err(Cut::Broken(why).into())));
            }
        };
        // Nothing is kept of a request that is too long.
        let length = part.data_ref().map_or(0, Bytes::len);
        let counted = length.min(REQUEST_LIMIT.saturating_sub(this.length));
        this.length += length;
        match this.bytes.add(counted) {
            Ok(()) => Poll::Ready(Some(Ok(part))),
            Err(error) => Poll::Ready(Some(Err(Cut::Full(error).into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
