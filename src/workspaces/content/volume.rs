//! Content on a volume: a CSI volume snapshot keeps it, at the end of a workspace and on request, and another workspace
//! begins with it (docs/protocol.md#volumes).

// The flag and the snapshot of a request are deprecated; clients of the classic manager still send them.
#![allow(deprecated)]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::Save;
use super::step::VolumeSnapshot as Ending;
use crate::action::{Action, Mark, PodRef, VolumeSnapshotPlan, VolumeSnapshotRestore};
use crate::config::{Manager, Nodes};
use crate::error::{Error, FieldViolation};
use crate::index::noun::Group;
use crate::objects::VolumeSnapshot;
use crate::proto::contentservice::WorkspaceInitializer;
use crate::proto::contentservice::workspace_initializer::Spec;
use crate::proto::wsman::{
    DeleteVolumeSnapshotRequest, WorkspaceFeatureFlag, WorkspacePhase, WorkspaceType,
};
use crate::quantity::Quantity;
use crate::redact::show;
use crate::workspaces::entry::Workspace;
use crate::workspaces::marks::{annotation, label};
use crate::workspaces::start_request::StartRequest;
use crate::workspaces::{id, names, pvc};

/// How long the controller of a snapshot may report errors: it tries again, and most errors pass.
pub const ERRORS_PASS: SignedDuration = SignedDuration::from_mins(2);

/// Annotations of a pod that its snapshots have: whose they are, where a label cannot hold it.
const OWNERS: &[&str] = &[
    annotation::OWNER,
    annotation::META_ID,
    annotation::TEAM,
    annotation::PROJECT,
];

/// Returns what is done for the volume of a workspace that ended. Its name is the same in every attempt.
pub fn ending(group: &Group<Workspace>) -> Ending {
    let newest = group.newest();
    let first: String = newest.pod.uid.chars().take(8).collect();
    Ending {
        plan: plan(group, format!("{}-{first}", group.name)),
        owner: group.anchor(),
        headless: newest.entry.state.headless,
    }
}

fn plan(group: &Group<Workspace>, name: String) -> VolumeSnapshotPlan {
    let newest = group.newest();
    VolumeSnapshotPlan {
        name,
        pod: newest.pod.clone(),
        pvc: group.name.to_string(),
        class: newest.entry.state.snapshot_class.to_string(),
        annotations: OWNERS,
    }
}

/// How far a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Its content is safe.
    Ready(Box<VolumeSnapshot>),
    /// It will not be.
    Failed(String),
    /// It is not ready yet; its controller may have reported an error.
    Waits(Option<String>),
}

/// Returns how far a snapshot is that was created. An error that its controller reports for long is its failure.
pub fn progress(snapshot: Option<VolumeSnapshot>, now: Timestamp) -> Progress {
    let Some(snapshot) = snapshot else {
        return Progress::Failed("was deleted before it was ready".to_owned());
    };
    if snapshot.metadata.deletion_timestamp.is_some() {
        return Progress::Failed(being_deleted(&snapshot));
    }
    if snapshot.status.ready_to_use {
        return Progress::Ready(Box::new(snapshot));
    }
    let Some(error) = snapshot.status.error else {
        return Progress::Waits(None);
    };
    let since = error.time.or(snapshot.metadata.creation_timestamp);
    match since.is_some_and(|since| now.duration_since(since) >= ERRORS_PASS) {
        true => Progress::Failed(format!("failed: {}", error.message)),
        false => Progress::Waits(Some(error.message)),
    }
}

fn being_deleted(snapshot: &VolumeSnapshot) -> String {
    match snapshot.metadata.finalizers.as_slice() {
        [] => "is being deleted".to_owned(),
        all => format!(
            "is being deleted, kept by its finalizers {}",
            all.join(", ")
        ),
    }
}

/// Returns the writes after the snapshot is ready: its claim goes, and the pod says where the content is.
pub fn saved(ending: &Ending, handle: &str) -> Vec<Action> {
    let plan = &ending.plan;
    let snapshot = json!({
        "volumeSnapshotName": plan.name,
        "volumeSnapshotHandle": handle,
    });
    let mut marks = vec![
        (annotation::VOLUME_SNAPSHOT, snapshot.to_string()),
        (
            annotation::DISPOSAL_STATUS,
            json!({"status": "finished"}).to_string(),
        ),
    ];
    if ending.headless {
        marks.push((annotation::SNAPSHOT, plan.name.clone()));
    }
    vec![
        Action::DeletePvc(ending.owner.clone(), plan.pvc.clone()),
        mark(&plan.pod, marks),
    ]
}

/// Returns the writes after the snapshot failed: its claim stays, and the pod says why.
pub fn failed(ending: &Ending, why: &str) -> Vec<Action> {
    let plan = &ending.plan;
    let why = kept(plan, why);
    let finished = json!({"status": "finished", "backupFailure": why}).to_string();
    vec![
        Action::KeepPvc(ending.owner.clone(), plan.pvc.clone()),
        mark(&plan.pod, vec![(annotation::DISPOSAL_STATUS, finished)]),
    ]
}

/// Says why there is no snapshot, and where the content is.
pub fn kept(plan: &VolumeSnapshotPlan, why: &str) -> String {
    format!(
        "volume snapshot {} {why}; the content stays in PersistentVolumeClaim {}",
        plan.name, plan.pvc
    )
}

fn mark(pod: &PodRef, marks: Vec<(&str, String)>) -> Action {
    let set = marks.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let remove = Vec::new();
    Action::Mark(pod.clone(), Mark { set, remove })
}

/// Returns the snapshot of a running workspace that a request asks for; none where its content is on no volume. `ask` names
/// the request.
///
/// # Errors
/// [`Error::Precondition`]: the workspace does not run, or a backup is asked for.
pub fn on_request(
    group: &Group<Workspace>,
    manager: &Manager,
    save: Save,
    ask: &str,
) -> Option<Result<VolumeSnapshotPlan, Error>> {
    let plain = matches!(manager.nodes, Nodes::Plain);
    (plain && group.newest().entry.state.on_volume).then(|| {
        if group.phase() != WorkspacePhase::Running {
            return Err(wrong(
                "NOT_RUNNING",
                "can only take snapshots of running workspaces".to_owned(),
            ));
        }
        match save {
            Save::Snapshot { .. } => Ok(plan(group, format!("{}-{ask}", group.name))),
            Save::Backup => Err(wrong(
                "ON_VOLUME",
                "cannot back up the workspace: its content is on a volume; take a snapshot of it"
                    .to_owned(),
            )),
        }
    })
}

/// The volume snapshot that a workspace begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name, and its handle where there is none of that name.
    pub restore: VolumeSnapshotRestore,
    /// Who starts the workspace.
    owner: String,
    /// Size of the new volume, as a quantity.
    size: String,
}

/// Returns the volume snapshot that a request names; its claim and its pod have these labels.
pub fn source(
    request: &StartRequest,
    class: &str,
    size: &str,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Option<Source> {
    let name = source_name(request)?;
    let of_owner = |(key, _): &(&String, &String)| OWNERS.contains(&key.as_str());
    let annotations = annotations.iter().filter(of_owner);
    let handle = request.spec.volume_snapshot.as_ref();
    let handle = handle.map_or("", |snapshot| &snapshot.volume_snapshot_handle);
    Some(Source {
        restore: VolumeSnapshotRestore {
            name: name.to_owned(),
            handle: handle.to_owned(),
            class: class.to_owned(),
            labels: labels.clone(),
            annotations: annotations.map(|(k, v)| (k.clone(), v.clone())).collect(),
        },
        owner: request.metadata.owner.clone(),
        size: size.to_owned(),
    })
}

/// Returns the name of the volume snapshot that a request begins with: that of the workspace where it has only a handle.
pub fn source_name(request: &StartRequest) -> Option<&str> {
    let snapshot = request.spec.volume_snapshot.as_ref()?;
    match (
        snapshot.volume_snapshot_name.as_str(),
        snapshot.volume_snapshot_handle.as_str(),
    ) {
        ("", "") => None,
        ("", _) => Some(&request.id),
        (name, _) => Some(name),
    }
}

/// Returns whether the snapshot has to be restored from its handle first.
///
/// # Errors
/// [`Error::Precondition`] for one that nobody, or not this owner, can begin with.
pub fn check_source(source: &Source, found: Option<&VolumeSnapshot>) -> Result<bool, Error> {
    let restore = &source.restore;
    let refuse = |state, why: &str| {
        Err(wrong(
            state,
            format!("volume snapshot {} {why}", restore.name),
        ))
    };
    let Some(found) = found else {
        return match (restore.handle.is_empty(), restore.class.is_empty()) {
            (true, _) => refuse("SNAPSHOT_MISSING", "does not exist"),
            (false, true) => refuse(
                "SNAPSHOT_MISSING",
                "does not exist, and the class has no pvc.snapshotClass to restore it with from its handle",
            ),
            (false, false) => Ok(true),
        };
    };
    let meta = &found.metadata;
    let labelled = meta.label(label::OWNER) == Some(&names::label_value(&source.owner));
    let full = meta.annotation(annotation::OWNER);
    if !labelled || full.is_some_and(|full| full != source.owner) {
        return refuse("OTHER_OWNER", "belongs to another owner, or to nobody");
    }
    if meta.deletion_timestamp.is_some() {
        return refuse("SNAPSHOT_DELETED", &being_deleted(found));
    }
    // The claim of one that was restored waits for it.
    let restored = !found.spec.source.volume_snapshot_content_name.is_empty();
    if !found.status.ready_to_use && !restored {
        let error = found.status.error.as_ref();
        let why = error.map_or(String::new(), |error| format!(": {}", error.message));
        return refuse("SNAPSHOT_NOT_READY", &format!("is not ready{why}"));
    }
    let amount = |text: &str| Quantity::parse(text).ok().map(|amount| amount.value());
    match (amount(&found.status.restore_size), amount(&source.size)) {
        (Some(needed), Some(size)) if needed > size => {
            let why = format!(
                "needs a volume of {}, and that of the class has {}",
                found.status.restore_size, source.size
            );
            refuse("VOLUME_TOO_SMALL", &why)
        }
        _ => Ok(false),
    }
}

/// Returns why a request cannot begin with a volume snapshot, if it says that it does.
pub fn faults(request: &StartRequest, manager: &Manager) -> Vec<FieldViolation> {
    let Some(initializer) = &request.spec.initializer else {
        return Vec::new();
    };
    let mut parts = Vec::new();
    find_parts(initializer, "spec.initializer", true, &mut parts);
    let plain = matches!(manager.nodes, Nodes::Plain);
    // Only the guest finds its content there and goes on.
    let is_more = !plain && request.needs_content();
    let fault = |(path, first): (String, bool)| {
        let why = if !request.has_flag(WorkspaceFeatureFlag::PersistentVolumeClaim) {
            "asks for a volume snapshot, but the workspace has no PERSISTENT_VOLUME_CLAIM"
        } else if source_name(request).is_none() {
            "asks for a volume snapshot, but spec.volume_snapshot names none"
        } else if is_more {
            "is true, but a volume snapshot is all of the content, and here is more of it"
        } else if !first {
            "is true, but a volume snapshot is what a workspace begins with, and other content comes before it"
        } else {
            return None;
        };
        let field = format!("{path}.from_volume_snapshot");
        Some(FieldViolation::new(field, why))
    };
    parts.into_iter().filter_map(fault).collect()
}

/// Finds the parts of an initializer that are on a volume snapshot, each with whether it is the first of all.
fn find_parts(
    initializer: &WorkspaceInitializer,
    path: &str,
    first: bool,
    parts: &mut Vec<(String, bool)>,
) {
    let (name, is_part) = match &initializer.spec {
        Some(Spec::Backup(backup)) => ("backup", backup.from_volume_snapshot),
        Some(Spec::Snapshot(snapshot)) => ("snapshot", snapshot.from_volume_snapshot),
        Some(Spec::Prebuild(prebuild)) => {
            let snapshot = prebuild.prebuild.as_ref();
            let is_part = snapshot.is_some_and(|snapshot| snapshot.from_volume_snapshot);
            ("prebuild.prebuild", is_part)
        }
        Some(Spec::Composite(composite)) => {
            for (at, part) in composite.initializer.iter().enumerate() {
                let path = format!("{path}.composite.initializer[{at}]");
                find_parts(part, &path, first && at == 0, parts);
            }
            return;
        }
        Some(Spec::Empty(_) | Spec::Git(_) | Spec::Download(_)) | None => return,
    };
    if is_part {
        parts.push((format!("{path}.{name}"), first));
    }
}

/// What a request to delete a volume snapshot needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// Nothing: there is none.
    Nothing,
    /// It is only known to its driver: it is made known first.
    Restore(Box<VolumeSnapshotRestore>),
    /// The one that was found is deleted.
    Found,
}

/// Checks a request to delete a volume snapshot.
///
/// # Errors
/// [`Error::Invalid`] with every violation.
pub fn check_deletion(request: &DeleteVolumeSnapshotRequest) -> Result<(), Error> {
    let mut faults = Vec::new();
    if !names::is_dns_subdomain(&request.id) {
        let why = format!("is {}, no name of a volume snapshot", show(&request.id));
        faults.push(FieldViolation::new("id", why));
    }
    if WorkspaceType::try_from(request.ws_type).is_err() {
        let why = format!("value {} is out of range", request.ws_type);
        faults.push(FieldViolation::new("ws_type", why));
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(id::invalid(faults)),
    }
}

/// Returns the VolumeSnapshotClass by which a snapshot is deleted that Kubernetes does not know any more: that of the default
/// class, empty where it has none.
pub fn deletion_class<'a>(request: &DeleteVolumeSnapshotRequest, manager: &'a Manager) -> &'a str {
    let kind = WorkspaceType::try_from(request.ws_type).unwrap_or_default();
    let class = manager
        .class("")
        .and_then(|(_, class)| pvc::of(class, kind));
    class.map_or("", |pvc| &pvc.snapshot_class)
}

/// Returns what a request to delete needs, by whether the snapshot was found.
///
/// # Errors
/// [`Error::Precondition`] for one that is gone, without a handle or a class to restore it with.
pub fn deletion(
    request: &DeleteVolumeSnapshotRequest,
    found: bool,
    class: &str,
) -> Result<Deletion, Error> {
    if found {
        return Ok(Deletion::Found);
    }
    if request.soft_delete {
        return Ok(Deletion::Nothing);
    }
    let missing = |what: &str| {
        let name = &request.id;
        Err(wrong(
            "SNAPSHOT_MISSING",
            format!("volume snapshot {name} does not exist, and {what} to delete it by its handle"),
        ))
    };
    if request.volume_handle.is_empty() {
        return missing("there is no volume_handle");
    }
    if class.is_empty() {
        return missing("the default class has no snapshotClass for this type");
    }
    Ok(Deletion::Restore(Box::new(VolumeSnapshotRestore {
        name: request.id.clone(),
        handle: request.volume_handle.clone(),
        class: class.to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    })))
}

fn wrong(state: &'static str, why: String) -> Error {
    Error::Precondition { state, why }
}

#[cfg(test)]
mod tests;
