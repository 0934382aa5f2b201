//! The calls that change a running workspace. Each is validated by itself first, then turned into actions on the
//! workspace as it was read (docs/protocol.md#what-each-call-checks).

mod admission;
mod keys;
mod ports;
mod timeout;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::id;
use crate::action::{Action, PodRef};
use crate::config::Manager;
use crate::error::{Error, FieldViolation};
use crate::proto::wsman::{
    ControlAdmissionRequest, ControlPortRequest, SetTimeoutRequest, UpdateSshKeyRequest,
    WorkspacePhase,
};

/// A workspace as read from the API server.
#[derive(Debug, Clone)]
pub struct Seen {
    pub pod: PodRef,
    /// The pod that owns its Secret and its Services.
    pub owner: PodRef,
    /// resourceVersion of the pod.
    pub version: String,
    /// Annotations of the pod.
    pub marks: BTreeMap<String, String>,
    pub phase: WorkspacePhase,
}

/// A valid change.
#[derive(Debug, Clone)]
pub struct Change {
    /// The id of the workspace.
    pub id: String,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Timeout(timeout::Timeout),
    Admission(admission::Admission),
    Port(ports::PortChange),
    Keys(keys::Keys),
}

impl Change {
    /// Returns the name of the call that asks for it.
    pub fn method(&self) -> &'static str {
        match self.what {
            What::Timeout(_) => "SetTimeout",
            What::Admission(_) => "ControlAdmission",
            What::Port(_) => "ControlPort",
            What::Keys(_) => "UpdateSSHKey",
        }
    }

    /// Validates a SetTimeout.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every violation.
    pub fn timeout(request: SetTimeoutRequest) -> Result<Self, Error> {
        let what = timeout::parse(&request).map(What::Timeout);
        Self::checked(request.id, what)
    }

    /// Validates a ControlAdmission.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every violation.
    pub fn admission(request: ControlAdmissionRequest) -> Result<Self, Error> {
        let what = admission::parse(&request).map(What::Admission);
        Self::checked(request.id, what)
    }

    /// Validates a ControlPort.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every violation.
    pub fn port(request: ControlPortRequest) -> Result<Self, Error> {
        let what = ports::parse(request.expose, request.spec).map(What::Port);
        Self::checked(request.id, what)
    }

    /// Validates an UpdateSSHKey.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every violation, also if the keys are too long for a Secret.
    pub fn ssh_keys(request: UpdateSshKeyRequest) -> Result<Self, Error> {
        let what = keys::parse(request.keys).map(What::Keys);
        Self::checked(request.id, what)
    }

    fn checked(id: String, what: Result<What, Vec<FieldViolation>>) -> Result<Self, Error> {
        match (id::fault(&id), what) {
            (None, Ok(what)) => Ok(Self { id, what }),
            (fault, what) => {
                let faults = fault.into_iter().chain(what.err().unwrap_or_default());
                Err(id::invalid(faults.collect()))
            }
        }
    }

    /// Returns the actions, in order; none if nothing changes. If an action finds another version of the pod, read
    /// the workspace again and call this again.
    ///
    /// # Errors
    /// [`Error::Precondition`] in a state that does not allow the change, [`Error::Exhausted`] if a limit is
    /// exceeded.
    pub fn actions(
        &self,
        seen: &Seen,
        manager: &Manager,
        now: Timestamp,
    ) -> Result<Vec<Action>, Error> {
        match &self.what {
            What::Timeout(timeout) => Ok(timeout.actions(seen)),
            What::Admission(admission) => admission.actions(seen),
            What::Port(port) => port.actions(seen, manager, now),
            What::Keys(keys) => Ok(keys.actions(seen)),
        }
    }
}

/// Whether the workspace is stopping and can no longer be changed.
fn is_ending(seen: &Seen) -> bool {
    matches!(
        seen.phase,
        WorkspacePhase::Stopping | WorkspacePhase::Stopped
    )
}

#[cfg(test)]
mod tests;
