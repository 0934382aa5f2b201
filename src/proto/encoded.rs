//! A status as it is sent: encoded once, compared and kept as bytes, and copied as it is into every answer that holds it.
//!
//! A daemon keeps thousands of statuses and sends each to many readers; as bytes one takes a third of the memory, and
//! sending it is a copy. The server's answers in this file differ from the generated ones only in that.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::bytes::{Buf, BufMut};
use prost::encoding::{
    DecodeContext, WireType, btree_map, encode_key, encode_varint, encoded_len_varint, key_len,
    skip_field, string, uint64,
};
use prost::{DecodeError, Message};

use super::wsman::{WorkspaceMetadata, WorkspacePhase, WorkspaceStatus};

/// Number of `WorkspaceStatus.status_version`.
const VERSION: u32 = 10;

/// One status. Two are equal if they tell the same in the same version; [`Encoded::same`] leaves the version out.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    version: u64,
    phase: WorkspacePhase,
    /// Everything but the version.
    body: Arc<[u8]>,
}

/// The first fields of a status: what filters look at.
#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<WorkspaceMetadata>,
}

impl Encoded {
    /// Encodes a status.
    pub fn new(mut status: WorkspaceStatus) -> Self {
        let version = std::mem::take(&mut status.status_version);
        Self {
            version,
            phase: status.phase(),
            body: status.encode_to_vec().into(),
        }
    }

    /// Returns the status.
    pub fn read(&self) -> WorkspaceStatus {
        let mut status = WorkspaceStatus::decode(&*self.body).unwrap_or_default();
        status.status_version = self.version;
        status
    }

    /// Returns the id of the workspace.
    pub fn id(&self) -> String {
        self.head().id
    }

    /// Returns whose it is and what the caller noted about it.
    pub fn metadata(&self) -> Option<WorkspaceMetadata> {
        self.head().metadata
    }

    /// Returns the phase.
    pub fn phase(&self) -> WorkspacePhase {
        self.phase
    }

    /// Returns how many bytes it takes, its version aside.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// Returns the version.
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

    /// Whether both tell the same, whatever their versions. The encoding is deterministic: fields in order, maps sorted.
    pub fn same(&self, other: &Self) -> bool {
        self.body == other.body
    }

    // Whatever is decoded here was encoded above.
    fn head(&self) -> Head {
        Head::decode(&*self.body).unwrap_or_default()
    }

    fn put(&self, tag: u32, buf: &mut impl BufMut) {
        encode_key(tag, WireType::LengthDelimited, buf);
        encode_varint(self.inner_len() as u64, buf);
        buf.put_slice(&self.body);
        if self.version != 0 {
            uint64::encode(VERSION, &self.version, buf);
        }
    }

    fn len(&self, tag: u32) -> usize {
        let inner = self.inner_len();
        key_len(tag) + encoded_len_varint(inner as u64) + inner
    }

    fn inner_len(&self) -> usize {
        let version = match self.version {
            0 => 0,
            _ => uint64::encoded_len(VERSION, &self.version),
        };
        self.body.len() + version
    }
}

/// `wsman.GetWorkspacesResponse`.
#[derive(Debug, Clone, Default)]
pub struct GetWorkspacesResponse {
    /// Field 1.
    pub status: Vec<Encoded>,
}

/// `wsman.DescribeWorkspaceResponse`.
#[derive(Debug, Clone, Default)]
pub struct DescribeWorkspaceResponse {
    /// Field 1.
    pub status: Option<Encoded>,
    /// Field 2.
    pub last_activity: String,
}

/// `wsman.SubscribeResponse`: encoded once for all who are sent it. It shares the bytes of its status: thousands of both
/// are kept together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SubscribeResponse {
    status: Option<Encoded>,
    /// As it is sent, with its tag.
    header: Arc<[u8]>,
}

impl SubscribeResponse {
    /// Encodes a message: `status` is field 1, `header` field 3.
    pub fn new(status: Option<&Encoded>, header: &BTreeMap<String, String>) -> Self {
        let mut bytes = Vec::new();
        btree_map::encode(
            string::encode,
            string::encoded_len,
            string::encode,
            string::encoded_len,
            3,
            header,
            &mut bytes,
        );
        Self {
            status: status.cloned(),
            header: bytes.into(),
        }
    }
}

/// The reading half of [`Message`], for what is only ever sent.
macro_rules! only_sent {
    () => {
        fn merge_field(
            &mut self,
            tag: u32,
            wire: WireType,
            buf: &mut impl Buf,
            ctx: DecodeContext,
        ) -> Result<(), DecodeError> {
            skip_field(wire, tag, buf, ctx)
        }

        fn clear(&mut self) {
            *self = Self::default();
        }
    };
}

impl Message for GetWorkspacesResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for status in &self.status {
            status.put(1, buf);
        }
    }

    fn encoded_len(&self) -> usize {
        self.status.iter().map(|status| status.len(1)).sum()
    }

    only_sent!();
}

impl Message for DescribeWorkspaceResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if let Some(status) = &self.status {
            status.put(1, buf);
        }
        if !self.last_activity.is_empty() {
            string::encode(2, &self.last_activity, buf);
        }
    }

    fn encoded_len(&self) -> usize {
        let activity = match self.last_activity.as_str() {
            "" => 0,
            _ => string::encoded_len(2, &self.last_activity),
        };
        activity + self.status.as_ref().map_or(0, |status| status.len(1))
    }

    only_sent!();
}

impl Message for SubscribeResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if let Some(status) = &self.status {
            status.put(1, buf);
        }
        buf.put_slice(&self.header);
    }

    fn encoded_len(&self) -> usize {
        self.status.as_ref().map_or(0, |status| status.len(1)) + self.header.len()
    }

    only_sent!();
}

#[cfg(test)]
mod tests;
