//! A pod in one line, for comparing what a watcher sees.

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

/// How a pod looks at the usual moments of its life; see `look`.
pub(crate) const CREATED: &str = "Pending";
pub(crate) const WAITS: &str = "Pending waiting:ContainerCreating";
pub(crate) const UNREADY: &str = "Running running";
pub(crate) const READY: &str = "Running running ready";
pub(crate) const GONE: &str = "gone";

/// A pod in one line: phase, state of its container, and what else matters.
pub(crate) fn look(pod: &Pod) -> String {
    let status = serde_json::to_value(pod.status.clone().unwrap_or_default()).unwrap();
    let mut line = status["phase"].as_str().unwrap_or("?").to_owned();
    if let Some(reason) = status["reason"].as_str() {
        line += &format!("/{reason}");
    }
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    if conditions
        .iter()
        .any(|c| c["type"] == "PodScheduled" && c["reason"] == "Unschedulable")
    {
        line += " unschedulable";
    }
    let container = &status["containerStatuses"][0];
    if container.is_object() {
        line += &format!(" {}", state(&container["state"], true));
        let ready = conditions
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        assert!(!ready || container["ready"] == true);
        line += if ready { " ready" } else { "" };
        if container["restartCount"] != 0 {
            line += &format!(" restarts:{}", container["restartCount"]);
        }
    }
    if let Some(init) = status["initContainerStatuses"].as_array() {
        let states: Vec<_> = init.iter().map(|s| state(&s["state"], false)).collect();
        line += &format!(" init:{}", states.join(","));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        line += " deleting";
    }
    line
}

fn state(state: &Value, whole: bool) -> String {
    let (kind, inner) = state.as_object().unwrap().iter().next().unwrap();
    let reason = inner["reason"].as_str().unwrap_or_default();
    match (kind.as_str(), whole) {
        ("terminated", false) => inner["exitCode"].to_string(),
        ("terminated", true) => {
            let message = match inner["message"].as_str() {
                None => String::new(),
                Some(text) if text.contains("could not be located") => "=unknown".to_owned(),
                Some(text) => format!("={text}"),
            };
            format!("{kind}:{reason}({}){message}", inner["exitCode"])
        }
        ("waiting", true) => format!("{kind}:{reason}"),
        _ => kind.clone(),
    }
}
