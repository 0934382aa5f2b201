//! Rejected pods are made again under their own name (docs/protocol.md#rejected-pods): what a pod and its record say,
//! and the next step.
//!
//! Between two pods of one name the workspace is a record: a ConfigMap of that name that holds the pod as it was. Each
//! object is owned by the one before it until it stands for the workspace alone, so what a daemon leaves behind that
//! woke up too late counts for nothing, and the cluster's garbage collector clears it away:
//!
//! 1. *record*: the ConfigMap is created, owned by the pod;
//! 2. *commit*: the pod is marked with the record, if it is still as it was recorded;
//! 3. *inherit*: the record owns the pod's dependants too, and is not owned any more;
//! 4. *vacate*: the pod is deleted, if nobody marked it since;
//! 5. *create*: the new pod is created, owned by the record;
//! 6. *settle*: the new pod owns the dependants, and is not owned any more;
//! 7. *forget*: the record is deleted, if nobody marked it since.
//!
//! A stop is a mark on the pod or on the record. The preconditions of steps 2, 4 and 7 see to it that none gets lost.

mod manifest;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::container;
use super::decide::{Entry, LifecyclePolicy};
use super::marks::annotation;
use super::names;
use crate::action::{Action, Mark, PodRef, RecordRef, Recreate};
use crate::objects::{ConfigMap, Pod};
use crate::proto::wsman::WorkspacePhase;

pub use manifest::{dependants, record, successor};

/// Key of a record's content.
const KEY: &str = "pod.json";

/// Marks that end a workspace.
const ENDS: [&str; 3] = [
    annotation::STOPPED_BY_REQUEST,
    annotation::ABORT_REQUEST,
    annotation::TIMED_OUT,
];

/// Whether a pod was rejected: it failed, and nothing of it ever started. The reasons and texts of kubelets, controllers
/// and releases differ; this they have in common.
pub fn is_rejected(pod: &Pod) -> bool {
    pod.status.phase == "Failed" && !container::any_started(pod) && !container::was_ready(pod)
}

/// How often the pod was made again; what cannot be read counts as too often.
pub fn recreations(pod: &Pod) -> u32 {
    let mark = pod.metadata.annotation(annotation::RECREATIONS);
    mark.map_or(0, |text| text.parse().unwrap_or(u32::MAX))
}

/// Whether the pod was rejected fewer than `max` times, and was not given up for another reason.
pub fn has_attempts_left(pod: &Pod, max: u32) -> bool {
    let given_up = [
        annotation::EXPLICIT_FAIL,
        annotation::FAILED_BEFORE_STOPPING,
        annotation::FAILURE,
    ];
    let marks = pod.annotations();
    is_rejected(pod)
        && recreations(pod) < max
        && !given_up.iter().any(|mark| marks.contains_key(*mark))
}

/// Whether the pod waits to be made again, or is on its way out for that.
pub fn waits(pod: &Pod, max: u32) -> bool {
    let leaves = pod.metadata.deletion_timestamp.is_some();
    has_attempts_left(pod, max) && (!leaves || is_under_way(pod))
}

/// Whether the pod is being replaced, or is a replacement that has not taken over yet: others keep their hands off what
/// belongs to it.
pub fn is_under_way(pod: &Pod) -> bool {
    let committed = pod.annotations().contains_key(annotation::REPLACED_BY);
    (committed && !is_asked_to_end(pod)) || Lineage::of(pod).provisional
}

/// Whether a stop was asked for, or a timeout has passed.
pub fn is_asked_to_end(pod: &Pod) -> bool {
    ENDS.iter()
        .any(|mark| pod.annotations().contains_key(*mark))
}

/// Where a pod stands among those of its workspace. All texts are empty where there is nothing to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage {
    /// uid of the record that replaces the pod.
    pub replaced_by: String,
    /// uid of the record that the pod was made from.
    pub made_from: String,
    /// The record owns the pod, which has not taken over yet.
    pub provisional: bool,
    /// uid of the first pod.
    pub first_uid: String,
    /// Fingerprint of the marks of a rejected pod: they must not change once it is recorded.
    pub marks: String,
}

impl Lineage {
    /// Returns the uid of the workspace's first pod. It stays the same when the pod is made again.
    pub fn run<'a>(&'a self, pod: &'a PodRef) -> &'a str {
        match self.first_uid.as_str() {
            "" => &pod.uid,
            first => first,
        }
    }

    /// Extracts it from a pod.
    pub fn of(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let mark = |key| meta.annotation(key).unwrap_or_default().to_owned();
        let made_from = mark(annotation::MADE_FROM);
        let mut owners = meta.owner_references.iter();
        Self {
            replaced_by: mark(annotation::REPLACED_BY),
            first_uid: mark(annotation::FIRST_UID),
            provisional: !made_from.is_empty() && owners.any(|owner| owner.uid == made_from),
            made_from,
            marks: match is_rejected(pod) {
                true => fingerprint(&meta.annotations),
                false => String::new(),
            },
        }
    }
}

fn fingerprint(annotations: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (key, value) in annotations {
        if key != annotation::REPLACED_BY {
            text.push_str(&format!("{key}\0{value}\0"));
        }
    }
    names::sha256(text.as_bytes())
}

/// A workspace between two pods.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The ConfigMap.
    pub at: RecordRef,
    /// Version of the ConfigMap.
    pub version: u64,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The pod as it was recorded, with the marks of the record.
    pub pod: Pod,
    /// Fingerprint of the marks of the pod as it was recorded.
    pub marks: String,
    /// uid of the workspace's first pod.
    pub run: String,
    /// Still owned by the pod: it does not stand for the workspace yet.
    pub owned: bool,
    /// Marks of the record that end the workspace.
    pub ends: BTreeMap<String, String>,
    /// The workspace has ended all the same: somebody removed a pod by force. Set by who told of the end.
    pub over: bool,
}

impl Record {
    /// Reads a ConfigMap; nothing if its content is no pod.
    pub fn read(map: &ConfigMap) -> Option<Self> {
        let meta = &map.metadata;
        let mut pod: Pod = serde_json::from_str(map.data.get(KEY)?).ok()?;
        if pod.metadata.name != meta.name || pod.metadata.uid.is_empty() {
            return None;
        }
        let marks = fingerprint(&pod.metadata.annotations);
        let run = pod.metadata.annotation(annotation::FIRST_UID);
        let run = run.unwrap_or(&pod.metadata.uid).to_owned();
        let ends = meta.annotations.iter();
        let ends: BTreeMap<_, _> = ends
            .filter(|(key, _)| ENDS.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let annotations = &mut pod.metadata.annotations;
        annotations.insert(annotation::REPLACED_BY.to_owned(), meta.uid.clone());
        annotations.extend(ends.clone());
        Some(Self {
            at: RecordRef {
                name: meta.name.clone(),
                uid: meta.uid.clone(),
            },
            version: meta.version(),
            created: meta.creation_timestamp,
            owned: meta
                .owner_references
                .iter()
                .any(|o| o.uid == pod.metadata.uid),
            pod,
            marks,
            run,
            ends,
            over: false,
        })
    }
}

/// Returns the next step for a name under which there is a pod, a record, or both; nothing where the ordinary lifecycle
/// decides alone.
pub fn next(
    pod: Option<&Entry>,
    record: Option<&Record>,
    policy: &LifecyclePolicy,
    now: Timestamp,
) -> Option<Vec<Action>> {
    let steps = match (pod, record) {
        (Some(pod), record) if is_orphan(pod, record) => {
            let record = RecordRef {
                name: pod.pod.name.clone(),
                uid: pod.state.lineage.made_from.clone(),
            };
            vec![Recreate::RemoveOrphan(pod.pod.clone(), record)]
        }
        (_, None) => return None,
        (Some(pod), Some(record)) => match inherited_end(pod, record) {
            Some(mark) => return Some(vec![Action::Mark(pod.pod.clone(), mark)]),
            None => beside(pod, record),
        },
        (None, Some(record)) => vec![alone(record, policy, now)],
    };
    Some(steps.into_iter().map(Action::Recreate).collect())
}

/// Whether a pod waits for a record that is not there: it comes yet, or the pod was made too late.
fn is_orphan(pod: &Entry, record: Option<&Record>) -> bool {
    pod.state.lineage.provisional && !record.is_some_and(|record| is_successor(pod, record))
}

/// A stop that was asked of the record, for a pod that does not know of it.
fn inherited_end(pod: &Entry, record: &Record) -> Option<Mark> {
    let knows = pod.state.is_asked_to_end();
    let related = is_recorded(pod, record) || is_successor(pod, record);
    (related && !knows && !record.ends.is_empty()).then(|| Mark {
        set: record.ends.clone(),
        remove: Vec::new(),
    })
}

fn is_recorded(pod: &Entry, record: &Record) -> bool {
    pod.pod.uid == record.pod.metadata.uid
}

fn is_successor(pod: &Entry, record: &Record) -> bool {
    pod.state.lineage.made_from == record.at.uid
}

fn beside(pod: &Entry, record: &Record) -> Vec<Recreate> {
    let (state, at) = (&pod.state, &record.at);
    let forget = |version| Recreate::Forget(at.clone(), version);
    if is_recorded(pod, record) {
        let waits = state.rejected && pod.status.phase() == WorkspacePhase::Pending;
        let waits = waits && !state.is_asked_to_end();
        if !waits || state.lineage.marks != record.marks {
            vec![forget(None)]
        } else if state.lineage.replaced_by != at.uid {
            vec![Recreate::Commit(pod.pod.clone(), state.version, at.clone())]
        } else {
            vec![
                Recreate::Inherit(at.clone()),
                Recreate::Vacate(pod.pod.clone(), state.version),
            ]
        }
    } else if is_successor(pod, record) && !record.over {
        match state.lineage.provisional {
            true => vec![Recreate::Settle(at.clone(), pod.pod.clone())],
            false => vec![forget(Some(record.version))],
        }
    } else {
        // Somebody started the workspace anew.
        vec![forget(None)]
    }
}

fn alone(record: &Record, policy: &LifecyclePolicy, now: Timestamp) -> Recreate {
    let at = record.at.clone();
    if record.owned || record.over || !record.ends.is_empty() {
        return Recreate::Forget(at, Some(record.version));
    }
    let limit = policy.timeouts.as_ref().map(|limits| limits.initialization);
    let limit = limit.filter(|limit| limit.as_nanos() > 0 && !policy.in_maintenance(now));
    let end = limit.zip(record.created).and_then(|(limit, created)| {
        created
            .checked_add(jiff::SignedDuration::from_nanos(limit.as_nanos()))
            .ok()
    });
    if end.is_some_and(|end| end <= now) {
        let why = "workspace timed out: its pod was rejected and could not be made again in time";
        let set = [(annotation::TIMED_OUT.to_owned(), why.to_owned())].into();
        let remove = Vec::new();
        return Recreate::MarkRecord(at, Mark { set, remove });
    }
    Recreate::Create(at)
}

/// Sees to it that a pod does not go before its records are gone, even if the index does not know of them: else the
/// workspace would rise again.
pub fn guard(entry: &Entry, actions: &mut Vec<Action>) {
    let releases = |action: &Action| matches!(action, Action::RemoveFinalizer(..));
    if !actions.iter().any(releases) {
        return;
    }
    let lineage = &entry.state.lineage;
    for uid in [&lineage.replaced_by, &lineage.made_from] {
        if !uid.is_empty() {
            let name = entry.pod.name.clone();
            let uid = uid.clone();
            let step = Recreate::Forget(RecordRef { name, uid }, None);
            actions.insert(0, Action::Recreate(step));
        }
    }
}

#[cfg(test)]
mod tests;
