//! The phase table (docs/protocol.md#phases), for workspaces without a forced phase.

use jiff::Timestamp;
use serde_json::Value;

use super::failure::Failure;
use super::failure::TASK_FAILED;
use super::{BY_FORCE, Defaults, conditions, events, timestamp, waiting};
use crate::index::observed::Observed;
use crate::objects::{ContainerStatus, Pod};
use crate::proto::contentservice::GitStatus;
use crate::proto::wsman::{WorkspaceConditionBool, WorkspacePhase, WorkspaceStatus};
use crate::workspaces::container::{self, PodPhase};
use crate::workspaces::content::report;
use crate::workspaces::marks::{FINALIZER, annotation};
use crate::workspaces::rejected;

/// What P12 and content show.
const INITIALIZING: &str = "workspace initializer is running";

/// A row that matched: its name, the phase, and the text for people.
type Row = (&'static str, WorkspacePhase, String);

/// Sets the phase and the conditions, and returns the row that decided.
pub(super) fn settle(
    status: &mut WorkspaceStatus,
    observed: &Observed<'_>,
    failure: Failure,
    defaults: &Defaults,
) -> &'static str {
    let pod = observed.pod;
    conditions(status).failed = failure.message;
    requests(status, pod);
    let (row, phase, message) = starting(pod)
        .or_else(|| rejected(pod, defaults.max_recreations))
        .or_else(|| ending(status, pod))
        .or_else(|| pending(status, observed))
        .or_else(|| running(status, observed))
        .unwrap_or_else(|| done(status, pod));
    status.set_phase(phase);
    status.message = message;
    row
}

/// S1 to S4: conditions that do not depend on the phase.
fn requests(status: &mut WorkspaceStatus, pod: &Pod) {
    let headless = is_headless(status);
    let conditions = conditions(status);
    if let Some(why) = pod.metadata.annotation(annotation::TIMED_OUT) {
        conditions.timeout = match why {
            "" => "workspace timed out for an unknown reason".to_owned(),
            why => why.to_owned(),
        };
    }
    let has = |key| flag(pod.metadata.annotation(key).is_some());
    conditions.set_stopped_by_request(has(annotation::STOPPED_BY_REQUEST));
    conditions.set_aborted(has(annotation::ABORT_REQUEST));
    if headless {
        let ended = container::status(pod).and_then(|c| c.state.terminated.as_ref());
        let task = ended.map(|ended| ended.message.clone());
        let asked = conditions.stopped_by_request() == WorkspaceConditionBool::True;
        let task = task.filter(|text| !(asked && is_cut_off(text)));
        conditions.headless_task_failed = task.unwrap_or_default();
    }
}

/// Whether a task reports that it ended because it was stopped.
fn is_cut_off(task: &str) -> bool {
    let why = task.strip_prefix(TASK_FAILED).unwrap_or(task).trim_end();
    let signals = ["signal: terminated", "signal: killed", "signal: interrupt"];
    why.contains("context canceled") || signals.iter().any(|signal| why.ends_with(signal))
}

/// P1: a classic manager has not completed the start.
fn starting(pod: &Pod) -> Option<Row> {
    pod.metadata.annotation(annotation::ATTEMPTING_TO_CREATE)?;
    Some(("P1", WorkspacePhase::Pending, String::new()))
}

/// The pod was rejected by its node, and is being recreated or deleted for that (docs/protocol.md#rejected-pods).
fn rejected(pod: &Pod, max: u32) -> Option<Row> {
    if !rejected::waits(pod, max) {
        return None;
    }
    let attempt = rejected::recreations(&pod.metadata) + 1;
    let mut message = match pod.status.reason.as_str() {
        "" => "pod was rejected by its node".to_owned(),
        reason => format!("pod was rejected by its node ({reason})"),
    };
    if !rejected::is_asked_to_end(&pod.metadata) {
        message.push_str(&format!(" and is made again, attempt {attempt} of {max}"));
    }
    Some(("rejected", WorkspacePhase::Pending, message))
}

/// P2: the pod is being deleted.
fn ending(status: &mut WorkspaceStatus, pod: &Pod) -> Option<Row> {
    pod.metadata.deletion_timestamp?;
    let disposal = Disposal::read(pod.metadata.annotation(annotation::DISPOSAL_STATUS));
    status.repo = disposal.git_status;
    let conditions = conditions(status);
    if disposal.finished && disposal.backup_failure.is_empty() {
        conditions.set_final_backup_complete(WorkspaceConditionBool::True);
    }
    let known = conditions.failed.contains("last backup failed");
    if !disposal.backup_failure.is_empty() && !known {
        if !conditions.failed.is_empty() {
            conditions.failed.push_str("; ");
        }
        let text = format!("last backup failed: {}.", disposal.backup_failure);
        conditions.failed.push_str(&text);
    }
    let held = pod.metadata.finalizers.iter().any(|f| f == FINALIZER);
    let over = disposal.finished || pod.metadata.annotation(annotation::STOPPED).is_some();
    let phase = match over || !held {
        true => WorkspacePhase::Stopped,
        false => WorkspacePhase::Stopping,
    };
    let mark = |key| pod.metadata.annotation(key);
    let message = match (mark(annotation::FORCED), mark(annotation::STUCK)) {
        (Some(why), _) => format!("{BY_FORCE}{why}"),
        (None, Some(why)) => format!("still stopping: {why}"),
        (None, None) => String::new(),
    };
    Some(("P2", phase, message))
}

/// P3 and P4: not started; and the cluster's reason.
fn pending(status: &mut WorkspaceStatus, observed: &Observed<'_>) -> Option<Row> {
    let pod = observed.pod;
    if container::phase(pod) != PodPhase::Pending {
        return None;
    }
    let waiting = container::status(pod).and_then(|c| c.state.waiting.as_ref());
    let waiting = waiting.map(|w| w.reason.as_str());
    let creating = matches!(waiting, Some("ContainerCreating" | "PodInitializing"));
    let starts = creating && !container::was_ready(pod);
    let mut row = match starts {
        true if report::has_begun(pod) => {
            // Also while the image is pulled after it: INITIALIZING never turns back to CREATING.
            (
                "content",
                WorkspacePhase::Initializing,
                INITIALIZING.to_owned(),
            )
        }
        true => {
            conditions(status).set_pulling_images(WorkspaceConditionBool::True);
            let message = "containers are being created".to_owned();
            ("P3", WorkspacePhase::Creating, message)
        }
        false => ("P4", WorkspacePhase::Pending, "pod is pending".to_owned()),
    };
    if let Some(why) = waiting::reason(observed) {
        row.2.push_str(": ");
        row.2.push_str(&why);
    }
    Some(row)
}

/// P5 to P12: the pod runs.
fn running(status: &mut WorkspaceStatus, observed: &Observed<'_>) -> Option<Row> {
    let pod = observed.pod;
    if container::phase(pod) != PodPhase::Running {
        return None;
    }
    let first_activity = pod.metadata.annotation(annotation::FIRST_USER_ACTIVITY);
    conditions(status).first_user_activity = first_activity
        .and_then(|text| text.parse::<Timestamp>().ok())
        .map(timestamp);
    if let Some(row) = interrupted(status, observed) {
        return Some(row);
    }
    let row = |name, phase, message: &str| Some((name, phase, message.to_owned()));
    let initialized = pod.metadata.annotation(annotation::ALREADY_INITIALIZING) == Some("true");
    let prebuild = status.spec.as_ref().is_some_and(is_prebuild);
    if is_headless(status) && !prebuild {
        row("P9", WorkspacePhase::Running, "")
    } else if container::was_ready(pod) {
        // Before P10, so that a workspace that was ready never returns to CREATING.
        row("P11", WorkspacePhase::Running, "")
    } else if !initialized {
        let message = "pod is running but init has not started yet or is not finished";
        row("P10", WorkspacePhase::Creating, message)
    } else {
        row("P12", WorkspacePhase::Initializing, INITIALIZING)
    }
}

/// P6 to P8: the workspace container of a running pod ended or restarts.
fn interrupted(status: &mut WorkspaceStatus, observed: &Observed<'_>) -> Option<Row> {
    let row = |name, message| Some((name, WorkspacePhase::Interrupted, message));
    let container = container::status(observed.pod)?;
    let name = interruption(container)?;
    let network = events::of(observed).any(events::is_network);
    if name == "P6" && network {
        conditions(status).set_network_not_ready(WorkspaceConditionBool::True);
        let message = "container network not ready - workspace should recover shortly";
        return row(name, message.to_owned());
    }
    let outlook = match name {
        "P8" => "workspace is recovering",
        _ => "workspace should recover",
    };
    let container = &container.name;
    row(
        name,
        format!("container {container} was terminated unexpectedly - {outlook}"),
    )
}

fn interruption(container: &ContainerStatus) -> Option<&'static str> {
    let code = container.state.terminated.as_ref().map(|t| t.exit_code);
    match code {
        Some(255) => Some("P6"),
        Some(137) => Some("P7"),
        _ if !container.ready && container.restart_count > 0 => Some("P8"),
        _ => None,
    }
}

/// P13 to P17: the workspace ended, or its state is unknown.
fn done(status: &WorkspaceStatus, pod: &Pod) -> Row {
    let conditions = status.conditions.as_ref();
    let failed = conditions.is_some_and(|c| !c.failed.is_empty());
    let asked = conditions.is_some_and(|c| c.stopped_by_request() == WorkspaceConditionBool::True);
    let (row, phase, message) = match container::phase(pod) {
        PodPhase::Succeeded | PodPhase::Failed if is_headless(status) => (
            "P13",
            WorkspacePhase::Stopping,
            "headless workspace is stopping",
        ),
        PodPhase::Succeeded => ("P14", WorkspacePhase::Stopping, "workspace is stopping"),
        PodPhase::Failed if asked && !failed => {
            ("P14", WorkspacePhase::Stopping, "workspace is stopping")
        }
        _ if pod.status.phase == "Unknown" => (
            "P15",
            WorkspacePhase::Unknown,
            "Kubernetes reports workspace phase as unknown",
        ),
        // Its init container ends the pod; where a ws-daemon fills workspaces, the pod runs on until it is deleted.
        _ if failed && report::has_failed(pod) => ("content", WorkspacePhase::Initializing, ""),
        _ if failed => ("P16", WorkspacePhase::Unknown, ""),
        _ => (
            "P17",
            WorkspacePhase::Unknown,
            "cannot determine workspace phase. We should never get here.",
        ),
    };
    (row, phase, message.to_owned())
}

/// `gitpod.io/disposalStatus`. An invalid part counts as absent: a damaged mark must not hide the workspace, and the
/// stopping timeout ends it.
#[derive(Default)]
struct Disposal {
    finished: bool,
    backup_failure: String,
    git_status: Option<GitStatus>,
}

impl Disposal {
    fn read(mark: Option<&str>) -> Self {
        let Some(Ok(value)) = mark.map(serde_json::from_str::<Value>) else {
            return Self::default();
        };
        Self {
            finished: value["status"] == "finished",
            backup_failure: text(&value["backupFailure"]),
            git_status: value["gitStatus"]
                .is_object()
                .then(|| git_status(&value["gitStatus"])),
        }
    }
}

fn git_status(value: &Value) -> GitStatus {
    let list = |key: &str| {
        let entries = value[key].as_array().into_iter().flatten();
        entries
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let total = |key: &str| value[key].as_i64().unwrap_or_default();
    GitStatus {
        branch: text(&value["branch"]),
        latest_commit: text(&value["latest_commit"]),
        uncommited_files: list("uncommited_files"),
        untracked_files: list("untracked_files"),
        unpushed_commits: list("unpushed_commits"),
        total_uncommited_files: total("total_uncommited_files"),
        total_untracked_files: total("total_untracked_files"),
        total_unpushed_commits: total("total_unpushed_commits"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn is_headless(status: &WorkspaceStatus) -> bool {
    status.spec.as_ref().is_some_and(|s| s.headless)
}

fn is_prebuild(spec: &crate::proto::wsman::WorkspaceSpec) -> bool {
    spec.r#type() == crate::proto::wsman::WorkspaceType::Prebuild
}

fn flag(set: bool) -> WorkspaceConditionBool {
    match set {
        true => WorkspaceConditionBool::True,
        false => WorkspaceConditionBool::False,
    }
}
