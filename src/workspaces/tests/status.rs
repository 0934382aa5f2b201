//! The cases under testdata/status: every row of spec 4.

use serde_json::json;

use super::case::Case;
use crate::golden;

#[test]
fn statuses_are_as_recorded() {
    golden::check_whole("status", |input| match Case::read(input).fold() {
        Ok((entry, why)) => {
            let phase = entry.status.phase().as_str_name().to_owned();
            let why = json!({"failure": why.failure, "phase": why.phase});
            (phase, json!({"status": entry.status, "why": why}))
        }
        Err(error) => ("ERROR".to_owned(), json!({"error": error.to_string()})),
    });
}

#[test]
fn a_pod_that_left_is_stopped() {
    use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};
    let last = WorkspaceStatus {
        phase: WorkspacePhase::Creating.into(),
        message: "containers are being created".to_owned(),
        status_version: 7,
        ..WorkspaceStatus::default()
    };
    let gone = crate::workspaces::status::gone(last.clone(), Some(9));
    assert_eq!(gone.phase(), WorkspacePhase::Stopped);
    assert_eq!((gone.message.as_str(), gone.status_version), ("", 9));
    // The deletion may be seen before the answer to the write that let the pod go.
    let forced = WorkspaceStatus {
        phase: WorkspacePhase::Stopping.into(),
        message: "stopped by force: its node is gone".to_owned(),
        ..last
    };
    let gone = crate::workspaces::status::gone(forced.clone(), Some(9));
    assert_eq!(gone.message, forced.message);
}
