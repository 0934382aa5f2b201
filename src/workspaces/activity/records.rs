//! Last activity beside the index: what a sign of life changes, and what the ConfigMaps record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::action::Checkpoint;
use crate::index::Index;
use crate::workspaces::entry::Workspace;

/// Takes in a sign of life. Returns whose decision it may bring forward, and whether a checkpoint is due. Only the first
/// sign of a workspace does: a later one moves limits further away, and who wakes up for the old moment decides on what is
/// known then.
pub fn see(
    index: &Index<Workspace>,
    noun: &mut Workspace,
    id: &str,
    now: Timestamp,
) -> (Vec<Arc<str>>, bool) {
    let Some(group) = index.by_id(id) else {
        return (Vec::new(), false);
    };
    let first = noun.activity(group).is_none();
    let due = noun.last_activity.mark(id, now);
    let dirty = first.then(|| Arc::clone(&group.key));
    (dirty.into_iter().collect(), due)
}

/// Takes in what a ConfigMap of this name records at a version; nothing if it is gone. Returns whose decision it may bring
/// forward, and that a checkpoint may be due.
pub fn read_record(
    index: &Index<Workspace>,
    noun: &mut Workspace,
    name: &str,
    data: Option<&BTreeMap<String, String>>,
    version: u64,
) -> (Vec<Arc<str>>, bool) {
    let last_activity = &mut noun.last_activity;
    let later = last_activity.read(name, data, version, |id| lives(index, id));
    let first = later.iter().filter_map(|(id, before)| {
        let group = index.by_id(id)?;
        let created = group.newest().entry.state.created;
        let counted = before.is_some_and(|before| created.is_none_or(|c| before >= c));
        (!counted).then(|| Arc::clone(&group.key))
    });
    (first.collect(), true)
}

/// Returns the checkpoints to write at `elapsed`, or all at the `end`, and how many workspaces find no room.
pub fn checkpoints(
    index: &Index<Workspace>,
    noun: &mut Workspace,
    elapsed: Duration,
    now: Timestamp,
    holder: bool,
    end: bool,
) -> (Vec<Checkpoint>, usize) {
    let last_activity = &mut noun.last_activity;
    let checkpoints = last_activity.checkpoints(elapsed, now, holder, end, |id| lives(index, id));
    (checkpoints, last_activity.without_room())
}

/// Whether a workspace is there. Before all were listed it may be.
fn lives(index: &Index<Workspace>, id: &str) -> bool {
    !index.is_listed() || index.by_id(id).is_some()
}
