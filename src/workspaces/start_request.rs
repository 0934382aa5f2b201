//! A valid request for a workspace: what its pod is built from.

use std::fmt;

use super::initializer;
use crate::proto::wsman;

/// A valid request: a pod can be built from it.
#[derive(Clone)]
pub struct StartRequest {
    /// Instance id; a DNS label.
    pub id: String,
    /// As in the request; may be empty for headless workspaces.
    pub service_prefix: String,
    /// The type of the workspace.
    pub kind: wsman::WorkspaceType,
    /// Who has access.
    pub admission: wsman::AdmissionLevel,
    /// Owner, meta id and annotations.
    pub metadata: wsman::WorkspaceMetadata,
    pub spec: wsman::StartWorkspaceSpec,
    /// Hex SHA-256 of the request without its output-only fields; equal requests have equal fingerprints.
    pub fingerprint: String,
}

impl StartRequest {
    /// Returns whether the request has a feature flag. Former flags are ignored.
    pub fn has_flag(&self, flag: wsman::WorkspaceFeatureFlag) -> bool {
        self.spec.feature_flags.contains(&i32::from(flag))
    }

    /// Returns the prefix of names and port URLs: the requested one, or the id.
    pub fn prefix(&self) -> &str {
        if self.service_prefix.is_empty() {
            &self.id
        } else {
            &self.service_prefix
        }
    }

    /// Returns whether content must be initialised before the workspace runs.
    pub fn needs_content(&self) -> bool {
        self.spec
            .initializer
            .as_ref()
            .is_some_and(initializer::needs_content)
    }
}

/// Only what identifies it: the rest may be secret.
impl fmt::Debug for StartRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartRequest")
            .field("id", &self.id)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}
