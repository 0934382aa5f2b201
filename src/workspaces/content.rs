//! The content of a workspace: its initialisation and its backup. The only backend so far is none: there is nothing to
//! do.

use super::start_request::StartRequest;
use super::{id, names};
use crate::error::{Error, FieldViolation};
use crate::proto::wsman::{
    DeleteVolumeSnapshotRequest, WorkspacePhase, WorkspaceStatus, WorkspaceType,
};
use crate::redact::show;

/// Checks that a backend can initialise the content of a request.
///
/// # Errors
/// [`Error::Precondition`] for every initializer except `empty`: there is no backend yet.
pub fn check(request: &StartRequest) -> Result<(), Error> {
    if !request.needs_content() {
        return Ok(());
    }
    Err(missing(
        "spec.initializer asks for content, but this cluster has no content backend: only `empty` can be started",
    ))
}

/// Takes a snapshot of a workspace's content (docs/protocol.md#what-each-call-checks).
///
/// # Errors
/// [`Error::Precondition`]: it does not run, or there is no backend.
pub fn snapshot(status: &WorkspaceStatus) -> Result<Url, Error> {
    if status.phase() != WorkspacePhase::Running {
        return Err(Error::Precondition {
            state: "NOT_RUNNING",
            why: "can only take snapshots of running workspaces".to_owned(),
        });
    }
    Err(missing(
        "cannot take a snapshot: this cluster has no content backend",
    ))
}

/// Backs up a workspace's content, in any phase.
///
/// # Errors
/// [`Error::Precondition`]: there is no backend.
pub fn back_up(_: &WorkspaceStatus) -> Result<Url, Error> {
    Err(missing(
        "cannot back up the workspace: this cluster has no content backend",
    ))
}

/// Deletes a volume snapshot; returns whether it existed.
///
/// # Errors
/// [`Error::Invalid`] with every violation, otherwise [`Error::Precondition`]: there is no backend.
pub fn delete_volume_snapshot(request: &DeleteVolumeSnapshotRequest) -> Result<bool, Error> {
    let mut faults = Vec::new();
    if !names::is_dns_subdomain(&request.id) {
        let why = format!("is {}, no name of a volume snapshot", show(&request.id));
        faults.push(FieldViolation::new("id", why));
    }
    if WorkspaceType::try_from(request.ws_type).is_err() {
        let why = format!("value {} is out of range", request.ws_type);
        faults.push(FieldViolation::new("ws_type", why));
    }
    if !faults.is_empty() {
        return Err(id::invalid(faults));
    }
    Err(missing(
        "cannot delete the volume snapshot: this cluster has no content backend with volume snapshots",
    ))
}

/// Where saved content is.
pub type Url = String;

fn missing(why: &str) -> Error {
    Error::Precondition {
        state: "NO_CONTENT_BACKEND",
        why: why.to_owned(),
    }
}
