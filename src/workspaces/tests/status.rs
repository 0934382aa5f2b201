//! The cases under testdata/status: every row of docs/protocol.md#phases and docs/protocol.md#failures.

use crate::golden;
use crate::workspaces::case::{self, Objects};

#[test]
fn statuses_are_as_recorded() {
    golden::check_whole("status", |input| {
        let objects = Objects::read(input).expect("a case");
        let (outcome, answer) = case::status(&objects);
        (outcome.to_owned(), answer)
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
