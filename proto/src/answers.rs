//! The encoded status of a workspace, and the responses with it. They differ from the generated ones only in that.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, btree_map, skip_field, string};
use prost::{DecodeError, Message};

use super::encoded::{Encoded, Status};
use super::wire::wire;
use super::wsman::{WorkspaceMetadata, WorkspacePhase, WorkspaceStatus};

/// The encoded status of a workspace.
pub type EncodedStatus = Encoded<WorkspaceStatus>;

impl Status for WorkspaceStatus {
    const VERSION_FIELD: u32 = 10;
    type Phase = WorkspacePhase;

    fn version_mut(&mut self) -> &mut u64 {
        &mut self.status_version
    }

    fn phase(&self) -> WorkspacePhase {
        self.phase()
    }
}

/// The first fields of a status, for filters.
#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<WorkspaceMetadata>,
}

impl EncodedStatus {
    /// Returns the id of the workspace.
    pub fn id(&self) -> String {
        self.decode::<Head>().id
    }

    /// Returns the owner, the meta id and the annotations.
    pub fn metadata(&self) -> Option<WorkspaceMetadata> {
        self.decode::<Head>().metadata
    }
}

/// `wsman.GetWorkspacesResponse`.
#[derive(Debug, Clone, Default)]
pub struct GetWorkspacesResponse {
    /// Field 1.
    pub status: Vec<EncodedStatus>,
}

/// `wsman.DescribeWorkspaceResponse`.
#[derive(Debug, Clone, Default)]
pub struct DescribeWorkspaceResponse {
    /// Field 1.
    pub status: Option<EncodedStatus>,
    /// Field 2.
    pub last_activity: String,
}

/// `wsman.SubscribeResponse`: encoded once for all receivers. It shares the bytes of its status, as both exist in
/// thousands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SubscribeResponse {
    status: Option<EncodedStatus>,
    /// Encoded, with its tag.
    header: Arc<[u8]>,
}

impl SubscribeResponse {
    /// Encodes a message: `status` is field 1, `header` field 3.
    pub fn new(status: Option<&EncodedStatus>, header: &BTreeMap<String, String>) -> Self {
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

/// The decoding half of [`Message`], for messages that are only sent.
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

wire!(Head);
wire!(GetWorkspacesResponse);
wire!(DescribeWorkspaceResponse);
wire!(SubscribeResponse);

#[cfg(test)]
mod tests;
