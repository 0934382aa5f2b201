//! A status as it is sent: encoded once, compared and kept as bytes, and copied into every response with it.
//!
//! A daemon keeps thousands of statuses and sends each to many subscribers; as bytes one takes a third of the memory,
//! and sending it is a copy.

use std::fmt;
use std::sync::Arc;

use prost::bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, uint64};

use super::wire::Wire;

/// A status that can be kept as bytes.
pub trait Status: Wire + Clone + PartialEq + Default {
    /// Number of the version's field, a uint64.
    const VERSION_FIELD: u32;
    /// A frequently read field that stays decoded.
    type Phase: fmt::Debug + Copy + PartialEq;

    fn version_mut(&mut self) -> &mut u64;

    fn phase(&self) -> Self::Phase;
}

/// One status. Two are equal if they have the same content and version; [`Encoded::same`] ignores the version.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded<S: Status> {
    version: u64,
    phase: S::Phase,
    /// Everything except the version.
    body: Arc<[u8]>,
}

impl<S: Status> Encoded<S> {
    /// Encodes a status.
    pub fn new(mut status: S) -> Self {
        let version = std::mem::take(status.version_mut());
        Self {
            version,
            phase: status.phase(),
            body: status.to_bytes().into(),
        }
    }

    /// Returns the status.
    pub fn read(&self) -> S {
        let mut status: S = self.decode();
        *status.version_mut() = self.version;
        status
    }

    /// Returns the fields that `M` has in common with the status.
    pub(super) fn decode<M: Wire>(&self) -> M {
        // It was encoded above.
        M::from_bytes(&self.body).unwrap_or_default()
    }

    pub fn phase(&self) -> S::Phase {
        self.phase
    }

    /// Returns its size in bytes without the version.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the same in another version.
    pub fn at(&self, version: u64) -> Self {
        Self {
            version,
            ..self.clone()
        }
    }

    /// Whether both have the same content, whatever their versions. The encoding is deterministic: fields in order,
    /// maps sorted.
    pub fn same(&self, other: &Self) -> bool {
        self.body == other.body
    }

    /// Appends the status as field `tag` of a message.
    pub(super) fn put(&self, tag: u32, buf: &mut impl BufMut) {
        encode_key(tag, WireType::LengthDelimited, buf);
        encode_varint(self.inner_len() as u64, buf);
        buf.put_slice(&self.body);
        if self.version != 0 {
            uint64::encode(S::VERSION_FIELD, &self.version, buf);
        }
    }

    /// Returns how many bytes [`Encoded::put`] appends.
    pub(super) fn len(&self, tag: u32) -> usize {
        let inner = self.inner_len();
        key_len(tag) + encoded_len_varint(inner as u64) + inner
    }

    fn inner_len(&self) -> usize {
        let version = match self.version {
            0 => 0,
            _ => uint64::encoded_len(S::VERSION_FIELD, &self.version),
        };
        self.body.len() + version
    }
}
