//! The index behind one short mutex, and the updates that come of its changes.
//!
//! The lock is never held across an await, so nothing slow can delay the watch. Updates are published while it is held:
//! they enter the log in the order in which the index changed, so positions never run backwards, and a subscription has
//! neither gap nor repeat. The locks are taken in this order only: the hub's, then that of [`Updates`], under which
//! nothing reaches the hub.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::action::Checkpoint;
use crate::clock::Clock;
use crate::index::ended::Ended;
use crate::index::input::Input;
use crate::index::observer::{Observer, Seen};
use crate::index::{Changes, Index};
use crate::objects::ConfigMap;
use crate::updates::{Update, Updates};
use crate::workspaces::activity::last_activity::LastActivity;
use crate::workspaces::decide::LifecyclePolicy;
use crate::workspaces::lifecycle::Decision;
use crate::workspaces::update::StatusUpdate;

/// Shared by everything that writes to or reads from the index.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    updates: Updates<StatusUpdate>,
    clock: Clock,
    observers: Vec<Arc<dyn Observer>>,
    dirty: Notify,
    /// A checkpoint became due.
    unrecorded: Notify,
    synced: watch::Sender<bool>,
    unannounced: AtomicU64,
}

#[derive(Debug)]
struct State {
    index: Index,
    dirty: HashSet<Arc<str>>,
    last_activity: LastActivity,
    ended: Ended,
}

impl Hub {
    /// Returns a hub over an index, by the system's clock.
    pub fn new(index: Index) -> Self {
        Self::with_clock(index, Clock::system())
    }

    /// Returns a hub over an index that notes by a clock when workspaces end.
    pub fn with_clock(index: Index, clock: Clock) -> Self {
        Self::observed(index, clock, Vec::new())
    }

    /// Returns a hub whose observers see all that the index is told, and what came of it.
    pub fn observed(mut index: Index, clock: Clock, observers: Vec<Arc<dyn Observer>>) -> Self {
        if !observers.is_empty() {
            index.observe();
        }
        let state = State {
            index,
            dirty: HashSet::new(),
            last_activity: LastActivity::default(),
            ended: Ended::default(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            updates: Updates::default(),
            clock,
            observers,
            dirty: Notify::new(),
            unrecorded: Notify::new(),
            synced: watch::Sender::new(false),
            unannounced: AtomicU64::new(0),
        }))
    }

    /// Takes in what the API server told and publishes what came of it. Returns the pods that must be read again.
    pub fn take(&self, input: Input<'_>) -> Vec<Arc<str>> {
        self.change(|index| {
            // Under the lock, so that inputs and what comes of them are seen in their order.
            self.show(&Seen::Input(&input));
            index.take(input)
        })
    }

    /// Changes the index and publishes what came of it. Returns the pods that must be read again.
    pub fn change(&self, change: impl FnOnce(&mut Index) -> Changes) -> Vec<Arc<str>> {
        let mut state = self.lock();
        let changes = change(&mut state.index);
        for folded in &changes.folded {
            self.show(&Seen::Status(folded));
        }
        for update in changes.updates.iter().filter(|update| update.is_last()) {
            state.last_activity.forget(&update.status.id());
            state.ended.insert(&update.status, self.0.clock.now());
            self.show(&Seen::Ended(update));
        }
        self.0.updates.publish(changes.updates, changes.floor);
        let woken = !changes.dirty.is_empty();
        state.dirty.extend(changes.dirty);
        drop(state);
        if woken {
            self.0.dirty.notify_one();
        }
        for (pod, what) in changes.unreadable {
            match &*what {
                "" => tracing::info!(%pod, "the marks of the pod are readable again"),
                what => tracing::warn!(%pod, what, "marks of the pod are missing or unreadable"),
            }
        }
        changes.reread
    }

    /// What was published, to subscribe to.
    pub fn updates(&self) -> &Updates<StatusUpdate> {
        &self.0.updates
    }

    /// Reads the index. The closure must be short.
    pub fn read<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.lock().index)
    }

    /// Reads the index together with the workspaces that ended lately. The closure must be short.
    pub fn read_with_ended<T>(&self, read: impl FnOnce(&Index, &Ended) -> T) -> T {
        let state = self.lock();
        read(&state.index, &state.ended)
    }

    /// Records a sign of life. Only the first one of a workspace can bring a decision forward: a later one moves limits
    /// further away, and who wakes up for the old moment decides on what is known then.
    pub fn mark_active(&self, id: &str, now: Timestamp) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(tracked) = state.index.by_id(id) else {
            return;
        };
        let first = state
            .last_activity
            .last(id, tracked.state.created)
            .is_none();
        if first {
            state.dirty.insert(Arc::from(tracked.pod.name.as_str()));
        }
        let due = state.last_activity.mark(id, now);
        drop(guard);
        if first {
            self.0.dirty.notify_one();
        }
        if due {
            self.0.unrecorded.notify_one();
        }
    }

    /// Reads the index together with the signs of life. The closure must be short.
    pub fn read_with_activity<T>(&self, read: impl FnOnce(&Index, &LastActivity) -> T) -> T {
        let state = self.lock();
        read(&state.index, &state.last_activity)
    }

    /// Takes in activity that a ConfigMap records.
    pub fn record_activity(&self, record: &ConfigMap) {
        self.read_record(
            &record.metadata.name,
            Some(&record.data),
            record.metadata.version(),
        );
    }

    /// Takes in that a ConfigMap that recorded activity is gone since `version`.
    pub fn lose_activity(&self, record: &str, version: u64) {
        self.read_record(record, None, version);
    }

    fn read_record(&self, name: &str, data: Option<&BTreeMap<String, String>>, version: u64) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let index = &state.index;
        let later = state
            .last_activity
            .read(name, data, version, |id| lives(index, id));
        let first = later.iter().filter_map(|(id, before)| {
            let entry = index.by_id(id)?;
            let counted =
                before.is_some_and(|before| entry.state.created.is_none_or(|c| before >= c));
            (!counted).then(|| Arc::from(entry.pod.name.as_str()))
        });
        let known = state.dirty.len();
        state.dirty.extend(first);
        let woken = state.dirty.len() > known;
        drop(guard);
        if woken {
            self.0.dirty.notify_one();
        }
        self.0.unrecorded.notify_one();
    }

    /// Decides what the workspace under a pod's name needs; `None` if there is none.
    pub fn decide(&self, name: &str, policy: &LifecyclePolicy, now: Timestamp) -> Option<Decision> {
        let state = self.lock();
        if self.0.observers.is_empty() {
            return state.index.decide(name, &state.last_activity, policy, now);
        }
        self.show(&Seen::Clock(now));
        let decided = state
            .index
            .decide_observed(name, &state.last_activity, policy, now)?;
        self.show(&Seen::Decision(&decided));
        Some(decided.decision)
    }

    fn show(&self, seen: &Seen<'_>) {
        for observer in &self.0.observers {
            observer.see(seen);
        }
    }

    /// Waits until a checkpoint may have become due.
    pub async fn unrecorded(&self) {
        self.0.unrecorded.notified().await;
    }

    /// Returns when the next checkpoint is due; `None` while there is nothing to record.
    pub fn checkpoint_due(&self, holder: bool) -> Option<Duration> {
        self.lock().last_activity.due(holder)
    }

    /// Returns the checkpoints to write at `elapsed`, or all at the `end`, and how many workspaces find no room.
    pub fn checkpoints(
        &self,
        elapsed: Duration,
        now: Timestamp,
        holder: bool,
        end: bool,
    ) -> (Vec<Checkpoint>, usize) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let index = &state.index;
        let checkpoints = state
            .last_activity
            .checkpoints(elapsed, now, holder, end, |id| lives(index, id));
        (checkpoints, state.last_activity.without_room())
    }

    /// Has every pod decided on again.
    pub fn decide_all_again(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.dirty.extend(state.index.names().cloned());
        drop(guard);
        self.0.dirty.notify_one();
    }

    /// Waits for pods whose next decision may differ and returns their names, each once.
    pub async fn dirty(&self) -> Vec<Arc<str>> {
        loop {
            let woken = self.0.dirty.notified();
            let names: Vec<_> = self.lock().dirty.drain().collect();
            if !names.is_empty() {
                return names;
            }
            woken.await;
        }
    }

    /// Counts a pod that was let go although the message bus had not confirmed its STOPPED.
    pub fn let_go_unannounced(&self) {
        self.0.unannounced.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many those are.
    pub fn unannounced(&self) -> u64 {
        self.0.unannounced.load(Ordering::Relaxed)
    }

    /// Says that the first complete list of everything is in, or that it has become too old to serve.
    pub fn set_synced(&self, synced: bool) {
        self.0
            .synced
            .send_if_modified(|known| std::mem::replace(known, synced) != synced);
    }

    /// Whether the index can be served from.
    pub fn synced(&self) -> watch::Receiver<bool> {
        self.0.synced.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The index has no invariant that a panic in a reader could break.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a workspace is there. Before all were listed it may be.
fn lives(index: &Index, id: &str) -> bool {
    !index.is_listed() || index.by_id(id).is_some()
}

#[cfg(test)]
mod tests;
