//! The last signs of life of all workspaces: what this replica saw itself, what the cluster has recorded, and what is
//! to be recorded next.
//!
//! The record is a few ConfigMaps with an entry per workspace. Every replica reads all of them and takes the later of
//! what it knows and what it reads; one that recorded something later than what it reads writes it again. So writes need
//! no order, and one that was lost or overtaken is made good.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::{RECORD, format};
use crate::action::Checkpoint;
use crate::workspaces::marks::label;

/// ConfigMaps that share the workspaces. With other numbers on two replicas nothing is lost, as every replica reads
/// all of them, but entries of the other's are cleared away by it alone.
pub const SHARDS: usize = 4;
/// From one write of a ConfigMap to the next.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Entries of one ConfigMap. With ids of 63 bytes these are 0.8 MB of data and 0.6 MB of managed fields, and an object
/// may have 1.5 MiB; its values alone, 0.25 MB, may have 1 MiB. Workspaces beyond it are not recorded until others end.
pub const FULL: usize = 8192;
/// Entries of ended workspaces that are worth a write of their own; fewer go with the next write.
const SWEEP: usize = 64;
/// Entries that are removed in one write.
const SWEPT: usize = 1024;
/// An entry younger than this may be of a workspace that this replica has yet to see.
const SETTLED: SignedDuration = SignedDuration::from_secs(60);

const PREFIX: &str = "wsman-activity-";

/// All signs of life.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct LastActivity {
    shards: [Shard; SHARDS],
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Shard {
    /// What this replica saw itself.
    own: HashMap<String, Timestamp>,
    /// What the ConfigMap says.
    recorded: HashMap<String, Timestamp>,
    /// What it said of living workspaces before somebody took it away.
    held: HashMap<String, Timestamp>,
    /// Ids whose own sign is later than the recorded one.
    pending: HashSet<String>,
    /// Ids that are recorded and have ended.
    ended: HashSet<String>,
    /// Version of the ConfigMap, and whether there is one.
    version: u64,
    exists: bool,
    /// No write before.
    next: Duration,
}

impl LastActivity {
    /// Takes in a sign of life that this replica saw. Returns whether a checkpoint is due that was not due before.
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

    /// Returns the last sign of life of a workspace whose pod was created at `created`. What was recorded before is of
    /// an earlier workspace of that id.
    pub fn last(&self, id: &str, created: Option<Timestamp>) -> Option<Timestamp> {
        let shard = &self.shards[shard_of(id)];
        let read = [shard.recorded.get(id), shard.held.get(id)].into_iter();
        let read = read
            .flatten()
            .filter(|at| created.is_none_or(|created| **at >= created));
        read.chain(shard.own.get(id)).max().copied()
    }

    /// Forgets a workspace that ended. Its entry is cleared away later.
    pub fn forget(&mut self, id: &str) {
        let shard = &mut self.shards[shard_of(id)];
        shard.own.remove(id);
        shard.held.remove(id);
        shard.pending.remove(id);
        if shard.recorded.contains_key(id) {
            shard.ended.insert(id.to_owned());
        }
    }

    /// Takes in what a ConfigMap says at a version, `None` if it is gone. Values that are no moments count as not there.
    /// Returns the ids whose recorded sign is later than before, each with the last sign that was known before.
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
            let place = shard_of(id);
            let shard = &mut self.shards[place];
            let before = shard.last(id);
            if own == Some(place) {
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

    /// Returns when the next checkpoint is due; `None` while there is nothing to record. Only the holder of the Lease
    /// clears away.
    pub fn due(&self, holder: bool) -> Option<Duration> {
        let with_work = self.shards.iter().filter(|shard| shard.has_work(holder));
        with_work.map(|shard| shard.next).min()
    }

    /// Returns what is to be written at `elapsed`; at the `end` everything, however soon.
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

    /// Returns how many workspaces find no room in their ConfigMap.
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
    /// Returns the last sign that is known.
    fn last(&self, id: &str) -> Option<Timestamp> {
        let known = [&self.own, &self.recorded, &self.held];
        known
            .iter()
            .filter_map(|signs| signs.get(id))
            .max()
            .copied()
    }

    fn is_pending(&self, id: &str) -> bool {
        // An absent sign is earlier than any.
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
        // One that ended may have shown a last sign since it was forgotten.
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

    /// The entries to set, as far as there is room.
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
            // Later than what was recorded once and is gone.
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
