//! Length-prefixed messages, as in gRPC and Connect streams: flags and length in five bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;
use tonic::codegen::StdError;

/// Flag of a compressed message.
pub const COMPRESSED: u8 = 0b01;
/// Flag of the last message of a Connect stream, which has the status.
pub const END: u8 = 0b10;

const PREFIX: usize = 5;

/// One message and its flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// See [`COMPRESSED`] and [`END`].
    pub flags: u8,
    /// The message.
    pub payload: Bytes,
}

/// Why there is no next message.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The body failed.
    #[error("{0}")]
    Body(StdError),
    /// The body ended within a message.
    #[error("it ends within a message")]
    Truncated,
    /// A message is longer than allowed.
    #[error("a message of {0} bytes is larger than allowed")]
    TooLarge(u32),
}

/// Returns a message with its prefix.
pub fn frame(flags: u8, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX + payload.len());
    put_prefix(flags, payload, &mut bytes);
    bytes.put_slice(payload);
    bytes.freeze()
}

/// Returns the prefix of a message, for sending it without a copy.
pub fn prefix(flags: u8, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX);
    put_prefix(flags, payload, &mut bytes);
    bytes.freeze()
}

fn put_prefix(flags: u8, payload: &[u8], bytes: &mut BytesMut) {
    bytes.put_u8(flags);
    // No message comes near 4 GiB: requests are limited, and such a response would not fit in memory.
    bytes.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
}

/// Splits a body into messages. It holds at most one message and what arrived with it.
#[derive(Debug)]
pub struct Frames<B> {
    body: B,
    buffer: BytesMut,
    trailers: HeaderMap,
    ended: bool,
    limit: usize,
}

impl<B> Frames<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    /// Reads messages of at most `limit` bytes from a body.
    pub fn new(body: B, limit: usize) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            trailers: HeaderMap::new(),
            ended: false,
            limit,
        }
    }

    /// Waits for the next message; `None` is the end. Cancel-safe.
    ///
    /// # Errors
    /// [`Broken`]; the body ends there.
    pub async fn next(&mut self) -> Result<Option<Frame>, Broken> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if self.ended {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(Broken::Truncated),
                };
            }
            match self.body.frame().await {
                None => self.ended = true,
                Some(Err(error)) => return Err(Broken::Body(error.into())),
                Some(Ok(part)) => match part.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(other) => {
                        if let Ok(trailers) = other.into_trailers() {
                            self.trailers.extend(trailers);
                        }
                    }
                },
            }
        }
    }

    /// Whether a part of the next message arrived.
    pub fn is_within(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The body.
    pub fn body(&mut self) -> &mut B {
        &mut self.body
    }

    /// The trailers after the last message.
    pub fn trailers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.trailers)
    }

    fn take(&mut self) -> Result<Option<Frame>, Broken> {
        let Some((&[flags, a, b, c, d], rest)) = self.buffer.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let announced = u32::from_be_bytes([a, b, c, d]);
        let length = usize::try_from(announced).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(Broken::TooLarge(announced));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        let payload = self.buffer.split_to(length).freeze();
        Ok(Some(Frame { flags, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Full, StreamBody};

    /// A body that arrives in chunks.
    fn pieces(
        bytes: &[u8],
        size: usize,
    ) -> Frames<impl Body<Data = Bytes, Error = StdError> + Unpin> {
        let parts: Vec<_> = bytes
            .chunks(size)
            .map(|part| Ok(http_body::Frame::data(Bytes::copy_from_slice(part))))
            .collect();
        Frames::new(StreamBody::new(futures::stream::iter(parts)), 100)
    }

    #[tokio::test]
    async fn messages_come_out_as_they_went_in() {
        let bytes = [
            frame(0, b"one"),
            frame(END, b""),
            frame(COMPRESSED, &[7; 100]),
        ]
        .concat();
        for size in [1, 2, 5, 7, 1000] {
            let mut frames = pieces(&bytes, size);
            for (flags, payload) in [(0, &b"one"[..]), (END, b""), (COMPRESSED, &[7; 100])] {
                let read = frames.next().await.unwrap().unwrap();
                assert_eq!((read.flags, &read.payload[..]), (flags, payload));
            }
            assert_eq!(frames.next().await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn broken_bodies_have_distinct_errors() {
        let whole = frame(0, b"one");
        for cut in 1..whole.len() {
            let mut frames = pieces(&whole[..cut], 3);
            assert!(
                matches!(frames.next().await, Err(Broken::Truncated)),
                "{cut}"
            );
        }
        let mut frames = Frames::new(Full::new(frame(0, &[0; 101])), 100);
        assert!(matches!(frames.next().await, Err(Broken::TooLarge(101))));
        let mut frames = Frames::new(Full::new(Bytes::from_static(&[0, 255, 255, 255, 255])), 100);
        assert!(matches!(
            frames.next().await,
            Err(Broken::TooLarge(u32::MAX))
        ));
    }
}
