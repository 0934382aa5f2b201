//! The last activity of all workspaces: what this replica received, what the cluster has recorded, and what to record
//! next.
//!
//! The record is a few ConfigMaps with an entry per workspace. Every replica reads all of them and takes the later of
//! its own and the recorded time; if its own is later, it writes that. So writes need no order, and a lost or
//! overwritten one is repaired.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::{RECORD, format};
use crate::action::Checkpoint;
use crate::workspaces::marks::label;

/// ConfigMaps that share the workspaces. If two replicas have different numbers, nothing is lost, as every replica
/// reads all of them, but each removes only entries of its own number.
pub const SHARDS: usize = 4;
/// Interval between two writes of a ConfigMap.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Most entries of one ConfigMap. With ids of 63 bytes these are 0.8 MB of data and 0.6 MB of managed fields, and an
/// object may have 1.5 MiB; its values alone, 0.25 MB, may have 1 MiB. Further workspaces are not recorded until others
/// end.
pub const FULL: usize = 8192;
/// Entries of ended workspaces that justify their own write; fewer are removed with the next write.
const SWEEP: usize = 64;
/// Most entries that one write removes.
const SWEPT: usize = 1024;
/// A younger entry may be of a workspace that this replica has not seen yet.
const SETTLED: SignedDuration = SignedDuration::from_secs(60);

const PREFIX: &str = "wsman-activity-";

/// All signs of life.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct LastActivity {
    shards: [Shard; SHARDS],
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Shard {
    /// What this replica received.
    own: HashMap<String, Timestamp>,
    /// The content of the ConfigMap.
    recorded: HashMap<String, Timestamp>,
    /// Entries of living workspaces that another client removed.
    held: HashMap<String, Timestamp>,
    /// Ids whose own activity is later than the recorded one.
    pending: HashSet<String>,
    /// Ids that are recorded and have ended.
    ended: HashSet<String>,
    /// Version of the ConfigMap, and whether it exists.
    version: u64,
    exists: bool,
    /// No write before this.
    next: Duration,
}

impl LastActivity {
    /// Adds activity that this replica received. Returns whether that makes a checkpoint necessary.
    pub fn mark(&mut self, id: &str, at: Timestamp) -> bool {
        let shard = &mut self.shards[shard_of(id)];
        match shard.own.get_mut(id) {
            Some(known) => *known = at.max(*known),
            None => drop(shard.own.insert(id.to_owned(), at)),
        }
        if !shard.is_pending(id) || shard.pending.contains(id) {
            return false;
        }
        shard.pending.insert(id.to_owned());
        shard.pending.len() == 1
    }

    /// Returns the last activity of a workspace whose pod was created at `created`. Earlier records are of an
    /// earlier workspace with that id.
    pub fn last(&self, id: &str, created: Option<Timestamp>) -> Option<Timestamp> {
        let shard = &self.shards[shard_of(id)];
        let read = [shard.recorded.get(id), shard.held.get(id)].into_iter();
        let read = read
            .flatten()
            .filter(|at| created.is_none_or(|created| **at >= created));
        read.chain(shard.own.get(id)).max().copied()
    }

    /// Removes a workspace that ended. Its entry is removed later.
    pub fn forget(&mut self, id: &str) {
        let shard = &mut self.shards[shard_of(id)];
        shard.own.remove(id);
        shard.held.remove(id);
        shard.pending.remove(id);
        if shard.recorded.contains_key(id) {
            shard.ended.insert(id.to_owned());
        }
    }

    /// Adds the content of a ConfigMap at a version, `None` if it is gone. Invalid times are ignored. Returns the
    /// ids with later recorded activity, each with the last activity known before.
    pub fn read(
        &mut self,
        name: &str,
        data: Option<&BTreeMap<String, String>>,
        version: u64,
        lives: impl Fn(&str) -> bool,
    ) -> Vec<(String, Option<Timestamp>)> {
        let own = name
            .strip_prefix(PREFIX)
            .and_then(|number| number.parse::<usize>().ok())
            .filter(|number| *number < SHARDS);
        if own.is_some_and(|number| version < self.shards[number].version) {
            return Vec::new();
        }
        let mut recorded = HashMap::new();
        let mut later = Vec::new();
        for (id, value) in data.into_iter().flatten() {
            let Ok(at) = value.parse::<Timestamp>() else {
                continue;
            };
            let index = shard_of(id);
            let shard = &mut self.shards[index];
            let before = shard.last(id);
            if own == Some(index) {
                if shard.recorded.get(id).is_none_or(|known| *known < at) {
                    later.push((id.clone(), before));
                }
                recorded.insert(id.clone(), at);
            } else if lives(id) {
                shard.hold(id, at);
                later.push((id.clone(), before));
            }
        }
        if let Some(number) = own {
            let shard = &mut self.shards[number];
            shard.exists = data.is_some();
            shard.version = version;
            shard.replace(recorded, lives);
        }
        later
    }

    /// Returns when the next checkpoint is due; `None` if there is nothing to record. Only the leader removes
    /// entries.
    pub fn due(&self, holder: bool) -> Option<Duration> {
        let with_work = self.shards.iter().filter(|shard| shard.has_work(holder));
        with_work.map(|shard| shard.next).min()
    }

    /// Returns the checkpoints to write at `elapsed`; at the `end`, all of them.
    pub fn checkpoints(
        &mut self,
        elapsed: Duration,
        now: Timestamp,
        holder: bool,
        end: bool,
        lives: impl Fn(&str) -> bool,
    ) -> Vec<Checkpoint> {
        let mut checkpoints = Vec::new();
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let wanted = if end {
                !shard.pending.is_empty()
            } else {
                shard.has_work(holder) && shard.next <= elapsed
            };
            if !wanted {
                continue;
            }
            shard.next = elapsed.saturating_add(INTERVAL);
            let remove = if holder {
                shard.sweep(now, &lives)
            } else {
                Vec::new()
            };
            let set = shard.fresh();
            if !set.is_empty() || !remove.is_empty() {
                checkpoints.push(Checkpoint {
                    name: format!("{PREFIX}{number}"),
                    label: (label::RECORD, RECORD),
                    exists: shard.exists,
                    set,
                    remove,
                });
            }
        }
        checkpoints
    }

    /// Returns how many workspaces exceed the limit of their ConfigMap.
    pub fn without_room(&self) -> usize {
        let full = self.shards.iter().filter(|s| s.recorded.len() >= FULL);
        full.flat_map(|shard| {
            let new = |id: &&String| !shard.recorded.contains_key(*id);
            shard.pending.iter().filter(new)
        })
        .count()
    }
}

impl Shard {
    /// Returns the last known activity.
    fn last(&self, id: &str) -> Option<Timestamp> {
        let known = [&self.own, &self.recorded, &self.held];
        known
            .iter()
            .filter_map(|signs| signs.get(id))
            .max()
            .copied()
    }

    fn is_pending(&self, id: &str) -> bool {
        // No activity is earlier than any.
        self.own.get(id) > self.recorded.get(id)
    }

    fn has_work(&self, holder: bool) -> bool {
        !self.pending.is_empty() || (holder && self.ended.len() >= SWEEP)
    }

    fn hold(&mut self, id: &str, at: Timestamp) {
        let held = self.held.entry(id.to_owned()).or_insert(at);
        *held = at.max(*held);
    }

    fn replace(&mut self, recorded: HashMap<String, Timestamp>, lives: impl Fn(&str) -> bool) {
        let before = std::mem::replace(&mut self.recorded, recorded);
        for (id, at) in before {
            if self.recorded.get(&id) < Some(&at) && lives(&id) {
                self.hold(&id, at);
            }
        }
        // A workspace that ended may have been active after it was removed here.
        self.own.retain(|id, _| lives(id));
        self.held.retain(|id, _| lives(id));
        let recorded = &self.recorded;
        let pending = self
            .own
            .iter()
            .filter(|(id, at)| Some(*at) > recorded.get(*id));
        self.pending = pending.map(|(id, _)| id.clone()).collect();
        let ended = recorded.keys().filter(|id| !lives(id));
        self.ended = ended.cloned().collect();
    }

    /// The entries of workspaces that ended.
    fn sweep(&mut self, now: Timestamp, lives: impl Fn(&str) -> bool) -> Vec<String> {
        let settled = |id: &&String| {
            let at = self.recorded.get(*id);
            at.is_some_and(|at| now.duration_since(*at).abs() > SETTLED)
        };
        let gone = self.ended.iter().filter(|id| !lives(id));
        gone.filter(settled).take(SWEPT).cloned().collect()
    }

    /// The entries to set, up to the limit.
    fn fresh(&self) -> BTreeMap<String, String> {
        let mut room = FULL.saturating_sub(self.recorded.len());
        let mut set = BTreeMap::new();
        for id in &self.pending {
            let Some(at) = self.own.get(id) else { continue };
            if !self.recorded.contains_key(id) {
                if room == 0 {
                    continue;
                }
                room -= 1;
            }
            // Later than a recorded entry that is gone.
            let at = self.held.get(id).map_or(*at, |held| *at.max(held));
            set.insert(id.clone(), format(at));
        }
        set
    }
}

/// The same on every replica and in every version.
fn shard_of(id: &str) -> usize {
    let hash = Sha256::digest(id.as_bytes());
    usize::from(hash[0]) % SHARDS
}

#[cfg(test)]
mod tests;
