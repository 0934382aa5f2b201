//! Why a workspace ends, in one line: for the log, and for calls after its end.

use crate::proto::wsman::{WorkspaceConditionBool, WorkspaceConditions, WorkspaceStatus};

/// Metadata of a call that includes workspaces that ended recently; its value is `true`.
pub const METADATA: &str = "wsman-include-ended";

/// Longest reason, in characters: it must fit into the trailers of a call.
const LONGEST: usize = 256;

/// Returns why a workspace ends, if its status shows it.
pub fn reason(status: &WorkspaceStatus) -> Option<String> {
    let none = WorkspaceConditions::default();
    let conditions = status.conditions.as_ref().unwrap_or(&none);
    let is = |condition: i32| condition == i32::from(WorkspaceConditionBool::True);
    let WorkspaceConditions {
        failed,
        timeout,
        headless_task_failed,
        aborted,
        stopped_by_request,
        ..
    } = conditions;
    // The first cause counts: a stop by request is no failure, but a failed workspace may be stopped.
    let mut text = if !failed.is_empty() {
        format!("failed: {failed}")
    } else if !timeout.is_empty() {
        timeout.clone()
    } else if !headless_task_failed.is_empty() {
        format!("its task failed: {headless_task_failed}")
    } else if is(*aborted) {
        "aborted by request".to_owned()
    } else if is(*stopped_by_request) {
        "stopped by request".to_owned()
    } else {
        return None;
    };
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('\u{2026}');
    }
    Some(text)
}

/// Returns why the workspace with this last status ended.
pub fn of_ended(status: &WorkspaceStatus) -> String {
    reason(status).unwrap_or_else(|| "completed, or its pod was deleted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_named_first() {
        let on = i32::from(WorkspaceConditionBool::True);
        let of = |conditions| {
            reason(&WorkspaceStatus {
                conditions: Some(conditions),
                ..WorkspaceStatus::default()
            })
        };
        let requested = WorkspaceConditions {
            stopped_by_request: on,
            ..WorkspaceConditions::default()
        };
        assert_eq!(of(requested.clone()).as_deref(), Some("stopped by request"));
        let aborted = WorkspaceConditions {
            aborted: on,
            ..requested.clone()
        };
        assert_eq!(of(aborted).as_deref(), Some("aborted by request"));
        let task = WorkspaceConditions {
            headless_task_failed: "exit 1".to_owned(),
            ..WorkspaceConditions::default()
        };
        assert_eq!(of(task).as_deref(), Some("its task failed: exit 1"));
        let timeout = WorkspaceConditions {
            timeout: "workspace timed out after 30m".to_owned(),
            ..WorkspaceConditions::default()
        };
        assert_eq!(
            of(timeout).as_deref(),
            Some("workspace timed out after 30m")
        );
        let failed = WorkspaceConditions {
            failed: "\u{e9}".repeat(LONGEST + 1),
            ..requested
        };
        let text = of(failed).unwrap();
        assert_eq!(text.chars().count(), LONGEST + 1);
        assert!(text.starts_with("failed: \u{e9}") && text.ends_with('\u{2026}'));
        assert_eq!(of(WorkspaceConditions::default()), None);
        let bare = WorkspaceStatus::default();
        assert_eq!(of_ended(&bare), "completed, or its pod was deleted");
    }
}
