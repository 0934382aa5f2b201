//! What the guest's containers report about the content of a workspace, in their termination messages.

use serde::Deserialize;
use serde_json::{Value, json};

use super::last_backup;
use crate::objects::{ContainerStatus, Pod};
use crate::proto::wsman::{InitializerMetric, InitializerMetrics};

/// The init container that fills the workspace.
pub const INIT: &str = "content-init";
/// The native sidecar that saves it.
pub const SAVE: &str = "content-save";

/// Longest text of the guest that is shown.
const LONGEST: usize = 2048;

/// How far the saving of a workspace is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Saving {
    /// The pod saves nothing, or its saver never ran.
    #[default]
    Never,
    /// It will save when the pod ends.
    Waits,
    /// It ended.
    Ended(Box<Saved>),
}

/// How the last save went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Name of the backup or snapshot, which can be started from.
    pub name: String,
    /// Why it failed; empty where it did not.
    pub failure: String,
    /// The backup that stays valid then, as far as the guest knows one.
    pub last: Option<last_backup::Saved>,
    /// `gitStatus` of the disposal, as JSON; empty without a repository.
    pub git_status: String,
}

impl Saved {
    /// Returns the value of `gitpod.io/disposalStatus` for it, with the reason of a failure.
    pub fn disposal(&self, failure: &str) -> String {
        let mut mark = json!({ "status": "finished" });
        if !failure.is_empty() {
            mark["backupFailure"] = failure.into();
        }
        if let Ok(git @ Value::Object(_)) = serde_json::from_str(&self.git_status) {
            mark["gitStatus"] = git;
        }
        mark.to_string()
    }
}

/// Returns how far the saving of a pod is.
pub fn saving(pod: &Pod) -> Saving {
    let Some(saver) = status(pod, SAVE) else {
        return Saving::Never;
    };
    if let Some(ended) = &saver.state.terminated {
        return Saving::Ended(Box::new(saved(&ended.message, ended.exit_code)));
    }
    let ran = saver.state.running.is_some() || saver.restart_count > 0;
    // An eviction ends a pod, and may leave the statuses of its containers as they were.
    let is_over = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    match ran {
        true if is_over => Saving::Ended(Box::new(Saved {
            failure: "the pod ended without a report of the guest".to_owned(),
            ..Saved::default()
        })),
        true => Saving::Waits,
        false => Saving::Never,
    }
}

fn saved(message: &str, exit_code: i64) -> Saved {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Report {
        ok: bool,
        message: String,
        backup: Backup,
        last: Option<last_backup::Saved>,
        git: Option<Value>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Backup {
        name: String,
    }
    let Ok(report) = serde_json::from_str::<Report>(message) else {
        return Saved {
            failure: format!("the guest ended without a report, exit code {exit_code}"),
            ..Saved::default()
        };
    };
    Saved {
        name: report.backup.name,
        failure: match report.ok {
            true => String::new(),
            false => shortened(&report.message).to_owned(),
        },
        // What was final for an earlier instance is not all of this one's content.
        last: report.last.map(|last| last_backup::Saved {
            is_final: false,
            ..last
        }),
        git_status: report.git.map(|git| git.to_string()).unwrap_or_default(),
    }
}

/// Returns the name of what was saved on request, from what the guest printed; `early` if it has only begun.
pub(super) fn saved_on_request(early: Option<String>, output: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Report {
        #[serde(default)]
        pending: bool,
        #[serde(default)]
        ok: bool,
        #[serde(default)]
        name: String,
        #[serde(default)]
        message: String,
    }
    let line = output.lines().last().unwrap_or_default();
    match serde_json::from_str::<Report>(line) {
        Ok(report) if report.pending => early.ok_or_else(|| "the guest did not wait".to_owned()),
        Ok(report) if report.ok => Ok(report.name),
        Ok(report) => Err(shortened(&report.message).to_owned()),
        Err(_) => Err("the guest printed no report".to_owned()),
    }
}

/// Whether the workspace is being filled.
pub fn is_filling(pod: &Pod) -> bool {
    status(pod, INIT).is_some_and(|status| status.state.running.is_some())
}

/// Whether the workspace is being filled, or was, and its container has not started since.
pub fn has_begun(pod: &Pod) -> bool {
    let state = status(pod, INIT).map(|status| &status.state);
    state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

/// Whether the workspace could not be filled.
pub fn has_failed(pod: &Pod) -> bool {
    let ended = status(pod, INIT).and_then(|status| status.state.terminated.as_ref());
    ended.is_some_and(|ended| ended.exit_code != 0)
}

/// Returns why the workspace could not be filled, if the guest says so.
pub fn init_failure(message: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Report {
        ok: bool,
        #[serde(default)]
        message: String,
    }
    let report: Report = serde_json::from_str(message).ok()?;
    let why = shortened(&report.message);
    (!report.ok).then(|| format!("cannot initialize workspace: {why}"))
}

/// Returns how long each kind of initializer took, and how much it wrote.
pub fn metrics(pod: &Pod) -> Option<InitializerMetrics> {
    #[derive(Deserialize)]
    struct Report {
        steps: Vec<Step>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Step {
        name: String,
        bytes: u64,
        ms: u64,
    }
    let ended = status(pod, INIT)?.state.terminated.as_ref()?;
    let report: Report = serde_json::from_str(&ended.message).ok()?;
    let mut metrics = InitializerMetrics::default();
    for step in report.steps {
        let slot = match step.name.as_str() {
            "git" => &mut metrics.git,
            "download" => &mut metrics.file_download,
            "snapshot" => &mut metrics.snapshot,
            "backup" => &mut metrics.backup,
            "prebuild" => &mut metrics.prebuild,
            "composite" => &mut metrics.composite,
            _ => continue,
        };
        // Several of a kind count as one.
        let metric = slot.get_or_insert_with(InitializerMetric::default);
        metric.size = metric.size.saturating_add(step.bytes);
        let duration = metric.duration.get_or_insert_default();
        let nanos =
            i64::from(duration.nanos) + i64::try_from(step.ms % 1_000).unwrap_or(0) * 1_000_000;
        let seconds = i64::try_from(step.ms / 1_000).unwrap_or(i64::MAX);
        duration.seconds = duration
            .seconds
            .saturating_add(seconds)
            .saturating_add(nanos / 1_000_000_000);
        duration.nanos = i32::try_from(nanos % 1_000_000_000).unwrap_or(0);
    }
    Some(metrics)
}

fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let mut inits = pod.status.init_container_statuses.iter();
    inits.find(|status| status.name == container)
}

pub(super) fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}
