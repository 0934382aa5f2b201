//! The status fold: from the cluster's objects of a workspace to the `WorkspaceStatus` of clients
//! (docs/protocol.md#phases).

mod events;
mod failure;
mod faults;
mod phase;
mod spec;
mod termination;
mod waiting;

use jiff::Timestamp;

use super::content::report;
use super::marks::{CONTAINER, annotation};
use crate::index::observed::Observed;
use crate::objects::Pod;
use crate::proto::wsman::{
    VolumeSnapshotInfo, WorkspaceConditionBool, WorkspaceConditions, WorkspacePhase,
    WorkspaceRuntimeInfo, WorkspaceStatus,
};
pub use events::{depends_on, is_kept};
use faults::Faults;
pub use faults::{id, is_unmarked};

/// What a status shows where the pod has no mark. Empty: nothing is defaulted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `manager.timeouts.regularWorkspace` as a Go duration.
    pub timeout: String,
    /// `manager.timeouts.afterClose` as a Go duration.
    pub closed_timeout: String,
    /// `manager.statusVersionOffset`.
    pub version_offset: u64,
    /// `manager.podRecreationMaxRetries`: before this limit a rejected pod is no failure.
    pub max_recreations: u32,
}

/// Why a pod is no workspace, with the texts of the classic manager.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotWorkspace(pub String);

/// The rows of docs/protocol.md#failures and docs/protocol.md#phases that made a status, for `explain`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Why {
    /// Row that ended the search for a failure, if any.
    pub failure: Option<&'static str>,
    /// Row that decided the phase.
    pub phase: &'static str,
}

/// A status and its explanation.
#[derive(Debug)]
pub struct Folded {
    /// The status. Its message names the invalid marks.
    pub status: WorkspaceStatus,
    /// Its explanation.
    pub why: Why,
    /// Missing or invalid marks, as a text; empty if there are none.
    pub unreadable: String,
    /// What is missing without which a pod is no workspace (docs/protocol.md#failures).
    pub not_workspace: Option<NotWorkspace>,
}

/// Returns the status of a pod that is marked as a workspace, whatever people changed in its marks: invalid ones are
/// named, all others count.
pub fn fold(observed: &Observed<'_>, defaults: &Defaults) -> Folded {
    let (mut status, faults) = base(observed.pod, defaults);
    let failure = failure::extract(observed, defaults);
    let why = match failure.forced {
        // A forced phase ends the fold: the phase table is skipped.
        Some((phase, row)) => {
            conditions(&mut status).failed = failure.message;
            status.set_phase(phase);
            Why {
                failure: Some(row),
                phase: row,
            }
        }
        None => {
            let row = failure.row;
            Why {
                failure: row,
                phase: phase::settle(&mut status, observed, failure, defaults),
            }
        }
    };
    spec::failed_start(&mut status, observed.pod);
    services_refused(&mut status, observed.pod);
    let unreadable = faults.text();
    if !unreadable.is_empty() {
        if !status.message.is_empty() {
            status.message.push_str("; ");
        }
        status.message.push_str(&unreadable);
    }
    Folded {
        status,
        why,
        unreadable,
        not_workspace: faults.grave.into_iter().next(),
    }
}

/// Shows why a Service of a running workspace is missing, in the message: the classic status has no field for it.
fn services_refused(status: &mut WorkspaceStatus, pod: &Pod) {
    let ends = matches!(
        status.phase(),
        WorkspacePhase::Stopping | WorkspacePhase::Stopped
    );
    let Some(why) = pod.metadata.annotation(annotation::SERVICES_REFUSED) else {
        return;
    };
    if ends {
        return;
    }
    if !status.message.is_empty() {
        status.message.push_str("; ");
    }
    status.message.push_str("a Service was refused: ");
    status.message.push_str(why);
}

/// Prefix of the message of a workspace whose end was forced.
const BY_FORCE: &str = "stopped by force: ";

/// Returns the last status of a workspace whose pod is deleted: STOPPED, whatever came before. Of its message only the
/// reason of a forced stop stays.
///
/// `version` is that of the deletion, if it is known.
pub fn gone(mut last: WorkspaceStatus, version: Option<u64>) -> WorkspaceStatus {
    if last.phase() != WorkspacePhase::Stopped {
        last.set_phase(WorkspacePhase::Stopped);
        if !last.message.starts_with(BY_FORCE) {
            last.message.clear();
        }
    }
    last.status_version = version.unwrap_or(last.status_version);
    let conditions = conditions(&mut last);
    conditions.set_pulling_images(WorkspaceConditionBool::False);
    conditions.set_network_not_ready(WorkspaceConditionBool::False);
    last
}

/// Sets the fields that depend on nothing else, and collects the missing marks that every workspace has, in the order
/// of the classic manager.
fn base(pod: &Pod, defaults: &Defaults) -> (WorkspaceStatus, Faults) {
    let mut faults = Faults::default();
    let name = &pod.metadata.name;
    let mark = |key| pod.metadata.annotation(key);
    let id = id(&pod.metadata).unwrap_or_default();
    if mark(annotation::ID).is_none() {
        faults.add(format!("cannot get gitpod/id annotation from {name}"));
    }
    let container = pod.spec.containers.iter().find(|c| c.name == CONTAINER);
    if container.is_none() {
        faults.add(format!(
            "workspace pod for {id} is degenerate - does not have workspace container"
        ));
    }
    if mark(annotation::URL).is_none() {
        faults.add(format!("pod {name} has no gitpod/url annotation"));
    }
    let spec = spec::spec(pod, container, defaults, &mut faults);
    let snapshot = volume_snapshot(mark(annotation::VOLUME_SNAPSHOT)).unwrap_or_else(|why| {
        faults.add(why);
        VolumeSnapshotInfo::default()
    });
    faults.look_at(pod);
    let status = WorkspaceStatus {
        id: id.to_owned(),
        status_version: pod
            .metadata
            .version()
            .saturating_add(defaults.version_offset),
        metadata: Some(spec::metadata(pod)),
        spec: Some(spec),
        conditions: Some(WorkspaceConditions {
            snapshot: mark(annotation::SNAPSHOT).unwrap_or_default().to_owned(),
            volume_snapshot: Some(snapshot),
            ..Default::default()
        }),
        runtime: Some(WorkspaceRuntimeInfo {
            node_name: pod.spec.node_name.clone(),
            pod_name: name.clone(),
            node_ip: pod.status.host_ip.clone(),
        }),
        auth: Some(spec::auth(pod)),
        initializer_metrics: report::metrics(pod),
        ..Default::default()
    };
    (status, faults)
}

fn volume_snapshot(mark: Option<&str>) -> Result<VolumeSnapshotInfo, String> {
    #[derive(Default, serde::Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Mark {
        volume_snapshot_name: Option<String>,
        volume_snapshot_handle: Option<String>,
    }
    let Some(text) = mark else {
        return Ok(VolumeSnapshotInfo::default());
    };
    let mark: Mark =
        serde_json::from_str(text).map_err(|e| format!("invalid volume snapshot status: {e}"))?;
    Ok(VolumeSnapshotInfo {
        volume_snapshot_name: mark.volume_snapshot_name.unwrap_or_default(),
        volume_snapshot_handle: mark.volume_snapshot_handle.unwrap_or_default(),
    })
}

/// The conditions, which every status has.
fn conditions(status: &mut WorkspaceStatus) -> &mut WorkspaceConditions {
    status.conditions.get_or_insert_default()
}

/// The wire form of a time.
pub(super) fn timestamp(at: Timestamp) -> pbjson_types::Timestamp {
    // Both parts are negative before 1970; on the wire nanoseconds are positive.
    let nanos = at.subsec_nanosecond();
    let borrow = i64::from(nanos < 0);
    pbjson_types::Timestamp {
        seconds: at.as_second() - borrow,
        nanos: nanos + i32::from(nanos < 0) * 1_000_000_000,
    }
}
