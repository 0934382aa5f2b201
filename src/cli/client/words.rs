//! Statuses in words: names, colours and summaries that several verbs print.

use std::time::Duration;

use jiff::Timestamp;

use crate::cli::output::{Color, Piece, age};
use crate::proto::wsman::*;

/// Placeholder of what is not set.
pub(super) const NONE: &str = "-";
/// Placeholder of a hidden owner token.
pub(super) const HIDDEN: &str = "(hidden, see --show-token)";

/// The name of the phase; an unknown number stays a number.
pub(super) fn phase(status: &WorkspaceStatus) -> String {
    match WorkspacePhase::try_from(status.phase) {
        Ok(phase) => phase.as_str_name().to_owned(),
        Err(_) => format!("PHASE_{}", status.phase),
    }
}

/// The name of the phase in its colour, padded to `width`.
pub(super) fn phase_piece(status: &WorkspaceStatus, width: usize) -> Piece {
    let colour = match status.phase() {
        _ if failure(status).is_some() => Some(Color::Red),
        WorkspacePhase::Running => Some(Color::Green),
        WorkspacePhase::Pending | WorkspacePhase::Creating | WorkspacePhase::Initializing => {
            Some(Color::Yellow)
        }
        WorkspacePhase::Stopping | WorkspacePhase::Interrupted => Some(Color::Cyan),
        WorkspacePhase::Stopped => Some(Color::DarkGrey),
        WorkspacePhase::Unknown => None,
    };
    Piece::coloured(format!("{:width$}", phase(status)), colour)
}

/// Why the workspace failed or timed out, if it did.
pub(super) fn failure(status: &WorkspaceStatus) -> Option<String> {
    let conditions = status.conditions.as_ref()?;
    let reason = |what: &str, why: &str| (!why.is_empty()).then(|| format!("{what}: {why}"));
    reason("failed", &conditions.failed)
        .or_else(|| reason("timed out", &conditions.timeout))
        .or_else(|| reason("task failed", &conditions.headless_task_failed))
}

/// The most important fact: why it failed or timed out, otherwise the explanation of the phase.
pub(super) fn message(status: &WorkspaceStatus) -> String {
    match failure(status) {
        Some(failure) => failure,
        None => status.message.clone(),
    }
}

/// Every condition that is set, by its name in the protocol. Each is named here, so that a new one is not forgotten.
pub(super) fn conditions(status: &WorkspaceStatus) -> Vec<(&'static str, String)> {
    let Some(conditions) = &status.conditions else {
        return Vec::new();
    };
    let WorkspaceConditions {
        failed,
        timeout,
        pulling_images,
        snapshot,
        final_backup_complete,
        deployed,
        network_not_ready,
        first_user_activity,
        headless_task_failed,
        stopped_by_request,
        volume_snapshot,
        aborted,
    } = conditions;
    let flag = |value: &i32| match WorkspaceConditionBool::try_from(*value) {
        Ok(WorkspaceConditionBool::True) => "true".to_owned(),
        Ok(WorkspaceConditionBool::False | WorkspaceConditionBool::Empty) => String::new(),
        Err(_) => value.to_string(),
    };
    let first_activity = first_user_activity.as_ref().and_then(timestamp);
    let snapshot_name = volume_snapshot
        .as_ref()
        .map(|s| s.volume_snapshot_name.clone());
    let mut all = vec![
        ("failed", failed.clone()),
        ("timeout", timeout.clone()),
        ("headless_task_failed", headless_task_failed.clone()),
        ("pulling_images", flag(pulling_images)),
        ("deployed", flag(deployed)),
        ("network_not_ready", flag(network_not_ready)),
        (
            "first_user_activity",
            first_activity.map_or_else(String::new, rfc3339),
        ),
        ("stopped_by_request", flag(stopped_by_request)),
        ("aborted", flag(aborted)),
        ("final_backup_complete", flag(final_backup_complete)),
        ("snapshot", snapshot.clone()),
        ("volume_snapshot", snapshot_name.unwrap_or_default()),
    ];
    all.retain(|(_, value)| !value.is_empty());
    all
}

pub(super) fn started(status: &WorkspaceStatus) -> Option<Timestamp> {
    status
        .metadata
        .as_ref()?
        .started_at
        .as_ref()
        .and_then(timestamp)
}

/// How long ago that was, or [`NONE`].
pub(super) fn age_of(start: Option<Timestamp>, now: Timestamp) -> String {
    start.map_or_else(
        || NONE.to_owned(),
        |start| age(now.as_second() - start.as_second()),
    )
}

pub(super) fn rfc3339(time: Timestamp) -> String {
    jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%SZ", time).unwrap_or_else(|_| time.to_string())
}

/// Bytes in the largest unit of which there is at least one.
pub(super) fn bytes(size: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| size >> shift > 0) {
        Some((unit, shift)) => format!("{:.1} {unit}", size as f64 / (1_u64 << shift) as f64),
        None => format!("{size} B"),
    }
}

pub(super) fn timestamp(time: &pbjson_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

pub(super) fn kind(spec: &WorkspaceSpec) -> String {
    match WorkspaceType::try_from(spec.r#type) {
        Ok(kind) => kind.as_str_name().to_owned(),
        Err(_) => spec.r#type.to_string(),
    }
}

pub(super) fn admission(level: i32) -> String {
    match AdmissionLevel::try_from(level) {
        Ok(AdmissionLevel::AdmitOwnerOnly) => "owner only".to_owned(),
        Ok(AdmissionLevel::AdmitEveryone) => "everyone".to_owned(),
        Err(_) => level.to_string(),
    }
}

/// Who may use a port, and its protocol.
pub(super) fn port(port: &PortSpec) -> (String, String) {
    let visibility = match PortVisibility::try_from(port.visibility) {
        Ok(PortVisibility::Private) => "private".to_owned(),
        Ok(PortVisibility::Public) => "public".to_owned(),
        Err(_) => port.visibility.to_string(),
    };
    let protocol = match PortProtocol::try_from(port.protocol) {
        Ok(PortProtocol::Http) => "http".to_owned(),
        Ok(PortProtocol::Https) => "https".to_owned(),
        Err(_) => port.protocol.to_string(),
    };
    (visibility, protocol)
}

pub(super) fn parse_phase(text: &str) -> Result<WorkspacePhase, String> {
    WorkspacePhase::from_str_name(&text.to_ascii_uppercase()).ok_or_else(|| {
        "must be UNKNOWN, PENDING, CREATING, INITIALIZING, RUNNING, INTERRUPTED, STOPPING or STOPPED"
            .to_owned()
    })
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

/// Sorts by the start, those without one first, then by id so that the order is total.
pub(super) fn sort(listed: &mut [WorkspaceStatus]) {
    listed.sort_by_cached_key(|status| (started(status), status.id.clone()));
}

/// Reads a duration such as "30s" or "1h30m"; it must be longer than nothing.
pub(in crate::cli) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be longer than zero".to_owned()),
    }
}
