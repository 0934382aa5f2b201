//! Why a workspace is as it is and what happens next, as the wire shows it and as `explain` prints it.

use jiff::Timestamp;

use super::content::step::Step;
use super::decide::ContentStep;
use super::entry::Workspace;
use super::status::timestamp;
use crate::action::{Action, PodChange};
use crate::decision::Decision;
use crate::duration::GoDuration;
use crate::index::noun::Group;
use crate::objects::Event;
use crate::proto::wsman::inspect::v1 as wire;
use crate::proto::wsman::inspect::v1::{Condition, ExplainWorkspaceResponse, Next, Warning};
use crate::proto::wsman::{WorkspaceConditionBool, WorkspaceConditions, WorkspaceStatus};

/// Explains a workspace: what it was folded to, what the lifecycle decided, and the warnings about its
/// pod. Who leads is left to the caller.
pub fn explain<'a>(
    group: &Group<Workspace>,
    decision: &Decision<Step>,
    content: Option<ContentStep>,
    last_activity: Option<Timestamp>,
    warnings: impl IntoIterator<Item = &'a Event>,
) -> ExplainWorkspaceResponse {
    let (newest, status) = (group.newest(), group.status().read());
    let entry = &newest.entry;
    let runtime = status.runtime.as_ref();
    let metadata = status.metadata.as_ref();
    ExplainWorkspaceResponse {
        id: status.id.clone(),
        pod: newest.pod.name.clone(),
        node: runtime.map_or_else(String::new, |runtime| runtime.node_name.clone()),
        owner: metadata.map_or_else(String::new, |metadata| metadata.owner.clone()),
        phase: status.phase,
        status_version: status.status_version,
        phase_rule: entry.why.phase.to_owned(),
        message: status.message.clone(),
        conditions: conditions(&status),
        failure_rule: entry.why.failure.unwrap_or_default().to_owned(),
        rule: decision.rule.to_owned(),
        actions: decision
            .actions
            .iter()
            .map(sentence)
            .chain(decision.step.iter().map(Step::sentence))
            .collect(),
        next: decision.wake_at.map(|wake| Next {
            at: Some(timestamp(wake.at)),
            reason: wake.reason.to_owned(),
            source: wake.source.to_owned(),
        }),
        created: entry.state.created.map(timestamp),
        last_activity: last_activity.map(timestamp),
        warnings: warnings.into_iter().map(warning).collect(),
        leader: false,
        content: content.map(|content| wire::ContentStep {
            step: content.doing.to_owned(),
            deadline: content.until.map(|wake| timestamp(wake.at)),
            source: content.until.map_or("", |wake| wake.source).to_owned(),
        }),
    }
}

fn warning(event: &Event) -> Warning {
    Warning {
        reason: event.reason.clone(),
        message: event.message.clone(),
        last_seen: event.last_seen().map(timestamp),
        count: event.occurrences(),
    }
}

/// Conditions that say something, in the order of the proto file. Each is named here, so that a new one is not forgotten.
fn conditions(status: &WorkspaceStatus) -> Vec<Condition> {
    let Some(conditions) = &status.conditions else {
        return Vec::new();
    };
    let WorkspaceConditions {
        failed,
        timeout,
        pulling_images,
        snapshot,
        final_backup_complete,
        deployed: _,
        network_not_ready,
        first_user_activity: _,
        headless_task_failed,
        stopped_by_request,
        volume_snapshot,
        aborted,
    } = conditions;
    let flag = |condition: &i32| match WorkspaceConditionBool::try_from(*condition) {
        Ok(WorkspaceConditionBool::True) => "yes".to_owned(),
        _ => String::new(),
    };
    let snapshot_of_volume = volume_snapshot.as_ref();
    let snapshot_of_volume = snapshot_of_volume.map(|info| info.volume_snapshot_name.clone());
    let snapshot_of_volume = snapshot_of_volume.unwrap_or_default();
    let all = [
        ("failed", failed.clone()),
        ("timeout", timeout.clone()),
        ("pulling images", flag(pulling_images)),
        ("snapshot", snapshot.clone()),
        ("volume snapshot", snapshot_of_volume),
        ("backup complete", flag(final_backup_complete)),
        ("network down", flag(network_not_ready)),
        ("task failed", headless_task_failed.clone()),
        ("asked to stop", flag(stopped_by_request)),
        ("aborted", flag(aborted)),
    ];
    let say = all.into_iter().filter(|(_, text)| !text.is_empty());
    say.map(|(name, text)| Condition {
        name: name.to_owned(),
        text,
    })
    .collect()
}

fn sentence(action: &Action) -> String {
    match action {
        Action::Mark(_, mark) | Action::ChangePod(_, PodChange { mark, .. }) => {
            let set = mark
                .set
                .iter()
                .map(|(key, value)| format!("set {key} to {value:?}"));
            let remove = mark.remove.iter().map(|key| format!("remove {key}"));
            set.chain(remove).collect::<Vec<_>>().join(", ")
        }
        Action::Stop(_, grace) => {
            let nanos = i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX);
            format!(
                "delete the pod with {} of grace",
                GoDuration::from_nanos(nanos)
            )
        }
        Action::Label(_, labels) => {
            let changes = labels.iter().map(|(key, value)| match value {
                Some(value) => format!("set the label {key} to {value}"),
                None => format!("remove the label {key}"),
            });
            changes.collect::<Vec<_>>().join(", ")
        }
        Action::ForceDelete(_) => "delete the pod without waiting for its node".to_owned(),
        Action::RemoveFinalizer(_, finalizer) => format!("remove the finalizer {finalizer}"),
        Action::SyncServices(_) => "bring the Services in line with the pod".to_owned(),
        Action::ChangeSecret(..) => "change the Secret".to_owned(),
        Action::CreatePod(_) => "create the pod".to_owned(),
        Action::CreateDependant(..) => "create what the pod needs beside it".to_owned(),
        Action::UpdateLease(_) => "write the Lease".to_owned(),
        Action::Checkpoint(_) => "record activity".to_owned(),
        Action::CopyPod(copy) => format!("make the pod again as {}", copy.to),
        Action::CopyMarks(from, to, _) => format!("copy marks of pod {} to {}", from.name, to.name),
        Action::Discard(discard) => match &discard.unless {
            Some(unless) => format!(
                "delete pod {} unless {} is there",
                discard.pod.name, unless.name
            ),
            None => format!("delete pod {}", discard.pod.name),
        },
        Action::CreateVolumeSnapshot(plan) => format!("create volume snapshot {}", plan.name),
        Action::RestoreVolumeSnapshot(restore) => {
            format!("restore volume snapshot {}", restore.name)
        }
        Action::DeleteVolumeSnapshot(name, _) => format!("delete volume snapshot {name}"),
        Action::DeletePvc(_, name) => format!("delete PersistentVolumeClaim {name}"),
        Action::KeepPvc(_, name) => format!("keep PersistentVolumeClaim {name}"),
    }
}
