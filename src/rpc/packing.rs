//! Compression and length prefixes of messages.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use http::{HeaderMap, HeaderValue};

use super::REQUEST_LIMIT;
use super::arriving::Arriving;
use super::frames::{self, Frame, Frames};
use super::rejection::Rejection;

/// Size of a chunk of decompressed bytes.
const UNPACKED: u64 = 64 << 10;

/// How the messages of a request may be compressed.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    /// The header with the encoding.
    header: &'static str,
    gzip: bool,
}

impl Packing {
    /// Reads the header of that name.
    ///
    /// # Errors
    /// If the encoding is unknown.
    pub fn of(headers: &HeaderMap, header: &'static str) -> Result<Self, Rejection> {
        let gzip = match headers.get(header).map(HeaderValue::as_bytes) {
            None | Some(b"" | b"identity") => false,
            Some(b"gzip") => true,
            Some(_) => return Err(Rejection::Encoding),
        };
        Ok(Self { header, gzip })
    }

    /// Returns the decompressed content of a request.
    ///
    /// # Errors
    /// If it cannot be decompressed.
    pub fn unpack_whole(self, content: Bytes, arriving: &mut Arriving) -> Result<Bytes, Rejection> {
        match self.gzip {
            true => gunzip(&content, arriving),
            false => Ok(content),
        }
    }

    /// Returns the message of a frame.
    ///
    /// # Errors
    /// If its flags do not match the header, or it cannot be decompressed.
    pub fn unpack(self, frame: Frame, arriving: &mut Arriving) -> Result<Bytes, Rejection> {
        match (frame.flags, self.gzip) {
            (0, _) => Ok(frame.payload),
            (frames::COMPRESSED, true) => gunzip(&frame.payload, arriving),
            (frames::COMPRESSED, false) => {
                let header = self.header;
                let why = format!("a message is compressed, but {header} does not say how");
                Err(Rejection::field("", why))
            }
            (flags, _) => {
                let why = format!("the flags {flags:#010b} of a message mean nothing");
                Err(Rejection::field("", why))
            }
        }
    }
}

/// The content is one length-prefixed message and nothing after it.
///
/// # Errors
/// If there is none, more than one, or an invalid one.
pub async fn enveloped(arriving: &mut Arriving, packing: Packing) -> Result<Bytes, Rejection> {
    let mut frames = Frames::new(&mut *arriving, REQUEST_LIMIT);
    let first = frames.next().await?;
    let first = first.ok_or_else(|| Rejection::field("", "the request has no message"))?;
    if frames.next().await?.is_some() {
        return Err(Rejection::field(
            "",
            "the request has more than one message",
        ));
    }
    packing.unpack(first, arriving)
}

/// Decompresses within the limit on bytes.
///
/// # Errors
/// If it is not gzip, or too long.
pub fn gunzip(bytes: &[u8], arriving: &mut Arriving) -> Result<Bytes, Rejection> {
    let mut plain = Vec::new();
    let mut packed = MultiGzDecoder::new(bytes);
    loop {
        let before = plain.len();
        let part = packed.by_ref().take(UNPACKED).read_to_end(&mut plain);
        part.map_err(|error| Rejection::field("", format!("the content is no gzip: {error}")))?;
        match plain.len() - before {
            _ if plain.len() > REQUEST_LIMIT => return Err(Rejection::TooLarge),
            0 => return Ok(plain.into()),
            count => arriving.add(count)?,
        }
    }
}
