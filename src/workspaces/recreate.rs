//! Rejected pods are made again (docs/protocol.md#rejected-pods): a workspace is a group of the pods that were made for it.
//!
//! The first pod is the anchor: it holds the name, owns everything that belongs to the workspace, and stays until the end,
//! although its node rejected it. Its successor `ws-<id>-2` is a member that it owns; the status is that of the newest.
//!
//! 1. *commit*: the rejected pod is marked with the name of its successor, if it is still as it was seen;
//! 2. *create*: the successor is created like the rejected pod as that is now;
//! 3. *hand over*: the anchor loses the labels by which other programs find a workspace; any other rejected pod is deleted;
//! 4. *leave*: when the newest pod is gone, so is the anchor.
//!
//! A stop is a mark on any of them, and moves on to the newest. What was created too late is owned by a pod that is gone.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::content::step::Step;
use super::entry::Workspace;
use super::marks::{FINALIZER, IDENTITY, annotation, label};
use super::rejected::ENDS;
use crate::action::{Action, Discard, Mark, PodChange, PodCopy, PodRef};
use crate::decision::Decision;
use crate::index::noun::{Group, Member};

/// Labels that say where the content of a workspace is: it is that of the newest pod.
const CONTENT: [&str; 2] = [label::FULL_WORKSPACE_BACKUP, label::PVC_FEATURE];

/// Whether all that is left of a workspace is its anchor: the end was published, and the newest pod is gone.
pub fn is_left_over(group: &Group<Workspace>) -> bool {
    let newest = group.newest();
    let state = &newest.entry.state;
    !newest.gone && !state.successor.is_empty() && state.stopped_at.is_some()
}

/// Decides where a workspace has several pods, or one whose anchor was not seen; nothing where the table decides alone.
pub(super) fn step(group: &Group<Workspace>) -> Option<Decision<Step>> {
    let newest = group.newest();
    let (rule, actions) = if !group.is_led() {
        ("made too late", late(group))
    } else if newest.gone || is_left_over(group) || is_lost(newest) {
        ("its pod is gone", leave(group))
    } else {
        ("rejected, handed over", hand_over(group))
    };
    (!actions.is_empty()).then(|| Decision {
        rule,
        actions,
        ..Decision::default()
    })
}

/// A pod whose anchor is gone was created by somebody who woke up too late.
fn late(group: &Group<Workspace>) -> Vec<Action> {
    let unless = Some(group.anchor());
    let late = group.living();
    late.map(|member| discard(member, None, unless.clone()))
        .collect()
}

/// The pod was handed over to a successor that is not there: somebody removed that by force.
fn is_lost(newest: &Member<Workspace>) -> bool {
    let state = &newest.entry.state;
    !state.successor.is_empty() && state.handed_over
}

/// The newest pod is gone, and the others go with it: the anchor last, because it holds the name.
fn leave(group: &Group<Workspace>) -> Vec<Action> {
    let newest = group.newest();
    let last = match newest.gone {
        true => newest.pod.name.as_str(),
        false => &newest.entry.state.successor,
    };
    // Who decides may be behind; the pod may be there.
    let unless = Some(PodRef {
        name: last.to_owned(),
        uid: String::new(),
    });
    let left = group.living();
    let mut left: Vec<_> = left
        .map(|member| discard(member, None, unless.clone()))
        .collect();
    left.reverse();
    left
}

/// The newest pod takes over: the stop that an older one was marked with, and the labels of the anchor.
fn hand_over(group: &Group<Workspace>) -> Vec<Action> {
    let newest = group.newest();
    let asked = group
        .older()
        .find(|member| member.entry.state.is_asked_to_end());
    if let Some(asked) = asked.filter(|_| !newest.entry.state.is_asked_to_end()) {
        let (from, to) = (asked.pod.clone(), newest.pod.clone());
        return vec![Action::CopyMarks(from, to, ENDS)];
    }
    let older = group.older().filter_map(|member| match member.rank {
        0 if member.entry.state.handed_over => None,
        0 => {
            let labels = IDENTITY
                .into_iter()
                .chain(CONTENT)
                .map(|label| (label, None));
            let labels: BTreeMap<_, _> = labels.collect();
            Some(Action::Label(member.pod.clone(), labels))
        }
        _ => Some(discard(member, Some(member.version), None)),
    });
    older.collect()
}

fn discard(member: &Member<Workspace>, version: Option<u64>, unless: Option<PodRef>) -> Action {
    Action::Discard(Discard {
        pod: member.pod.clone(),
        finalizer: FINALIZER,
        version,
        unless,
    })
}

/// Returns the writes that make the newest pod again.
pub(super) fn make_again(group: &Group<Workspace>) -> Vec<Action> {
    let newest = group.newest();
    let state = &newest.entry.state;
    let count = newest.rank.saturating_add(1);
    let next = || format!("{}-{}", group.name, u64::from(count) + 1);
    let to = Some(state.successor.to_string()).filter(|name| !name.is_empty());
    let to = to.unwrap_or_else(next);
    let mut actions = Vec::new();
    if state.successor.is_empty() {
        let mark = Mark::put(annotation::SUCCESSOR, Some(to.clone()));
        let version = newest.version.to_string();
        actions.push(Action::ChangePod(
            newest.pod.clone(),
            PodChange::mark_at(version, mark),
        ));
    }
    let started = state.created.filter(|_| newest.rank == 0);
    let started = started.map(|at| (annotation::STARTED_AT.to_owned(), at.to_string()));
    let set = [
        (annotation::FIRST_UID.to_owned(), group.key.to_string()),
        (annotation::RECREATIONS.to_owned(), count.to_string()),
    ];
    actions.push(Action::CopyPod(Box::new(PodCopy {
        from: newest.pod.clone(),
        to: to.clone(),
        owner: group.anchor(),
        mark: Mark {
            set: set.into_iter().chain(started).collect(),
            remove: vec![annotation::SUCCESSOR.to_owned()],
        },
        only_with: (annotation::SUCCESSOR, to),
        unless: ENDS,
    })));
    actions
}

/// Sees to it that the anchor knows of the end before the pod goes that shows it: else the workspace would rise again.
pub(super) fn before_release(group: &Group<Workspace>, actions: &mut Vec<Action>, now: Timestamp) {
    let releases = |action: &Action| matches!(action, Action::RemoveFinalizer(..));
    if !actions.iter().any(releases) {
        return;
    }
    let unmarked = group
        .older()
        .find(|member| member.rank == 0 && member.entry.state.stopped_at.is_none());
    if let Some(anchor) = unmarked {
        let mark = Mark::put(annotation::STOPPED, Some(now.to_string()));
        actions.insert(0, Action::Mark(anchor.pod.clone(), mark));
    }
}

#[cfg(test)]
mod tests;
