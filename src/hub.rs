//! The index behind one short mutex, and the updates that its changes make.
//!
//! The lock is never held across an await, so nothing slow can delay the watch. Updates are published while it is held:
//! they enter the log in the order in which the index changed, so positions never run backwards, and a subscription has
//! neither gap nor repeat. The locks are taken in this order only: the hub's, then that of [`Updates`], under which
//! nothing reaches the hub.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::decision::{Decision, Together};
use crate::index::ended::Ended;
use crate::index::input::Input;
use crate::index::noun::Group;
use crate::index::noun::Noun;
use crate::index::observer::{Decided, Observer, Seen};
use crate::index::{Changes, Index};
use crate::updates::{Update, Updates};

/// Shared by everything that writes to or reads from the index of a noun.
#[derive(Debug)]
pub struct Hub<N: Noun>(Arc<Shared<N>>);

impl<N: Noun> Clone for Hub<N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Shared<N: Noun> {
    state: Mutex<State<N>>,
    updates: Updates<N::Update>,
    clock: Clock,
    observers: Vec<Arc<dyn Observer<N>>>,
    dirty: Notify,
    noun_changed: Notify,
    synced: watch::Sender<bool>,
    unannounced: AtomicU64,
}

#[derive(Debug)]
struct State<N: Noun> {
    index: Index<N>,
    dirty: HashSet<Arc<str>>,
    /// What groups share may have changed since it was decided on.
    shared: bool,
    /// [`Hub::dirty`] returns for what groups share.
    woken_for_all: bool,
    noun: N,
    ended: Ended<N::Update>,
}

impl<N: Noun> Hub<N> {
    /// Returns a hub over an index, by the system's clock.
    pub fn new(index: Index<N>) -> Self {
        Self::with_clock(index, Clock::system())
    }

    /// Returns a hub over an index that notes by a clock when groups end.
    pub fn with_clock(index: Index<N>, clock: Clock) -> Self {
        Self::observed(index, clock, Vec::new())
    }

    /// Returns a hub whose observers see all that goes into the index, and the answers.
    pub fn observed(
        mut index: Index<N>,
        clock: Clock,
        observers: Vec<Arc<dyn Observer<N>>>,
    ) -> Self {
        if !observers.is_empty() {
            index.observe();
        }
        let state = State {
            index,
            dirty: HashSet::new(),
            shared: false,
            woken_for_all: false,
            noun: N::default(),
            ended: Ended::default(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            updates: Updates::default(),
            clock,
            observers,
            dirty: Notify::new(),
            noun_changed: Notify::new(),
            synced: watch::Sender::new(false),
            unannounced: AtomicU64::new(0),
        }))
    }

    /// Takes in what the API server sent and publishes the updates that it makes. Returns the pods that must be read
    /// again.
    pub fn take(&self, input: Input<'_>) -> Vec<Arc<str>> {
        self.change(|index| {
            // Under the lock, so that inputs and the answers to them are seen in their order.
            self.show(&Seen::Input(&input));
            index.take(input)
        })
    }

    /// Changes the index and publishes the updates that it makes. Returns the pods that must be read again.
    pub fn change(&self, change: impl FnOnce(&mut Index<N>) -> Changes<N>) -> Vec<Arc<str>> {
        let mut state = self.lock();
        let changes = change(&mut state.index);
        for folded in &changes.folded {
            self.show(&Seen::Status(folded));
        }
        let updates = changes.updates.iter().map(Arc::as_ref);
        for update in updates.filter(|update| update.is_last()) {
            state.noun.forget(update);
            state.ended.insert(update, self.0.clock.now());
            self.show(&Seen::Ended(update));
        }
        self.0.updates.publish(changes.updates, changes.floor);
        state.shared |= changes.shared;
        state.woken_for_all |= changes.shared;
        self.wake(state, changes.dirty);
        for (pod, what) in changes.unreadable {
            match &*what {
                "" => tracing::info!(%pod, "the marks of the pod are readable again"),
                what => tracing::warn!(%pod, what, "marks of the pod are missing or unreadable"),
            }
        }
        changes.reread
    }

    /// What was published, to subscribe to.
    pub fn updates(&self) -> &Updates<N::Update> {
        &self.0.updates
    }

    /// Reads the index. The closure must be short.
    pub fn read<T>(&self, read: impl FnOnce(&Index<N>) -> T) -> T {
        read(&self.lock().index)
    }

    /// Reads the index together with the groups that ended lately. The closure must be short.
    pub fn read_with_ended<T>(&self, read: impl FnOnce(&Index<N>, &Ended<N::Update>) -> T) -> T {
        let state = self.lock();
        read(&state.index, &state.ended)
    }

    /// Reads the index together with what the noun keeps beside it. The closure must be short.
    pub fn read_with_noun<T>(&self, read: impl FnOnce(&Index<N>, &N) -> T) -> T {
        let state = self.lock();
        read(&state.index, &state.noun)
    }

    /// Changes what the noun keeps beside the index. The closure must be short; it returns the keys of groups whose next
    /// decision may differ, and whether [`Hub::noun_changed`] is to return.
    pub fn change_noun(&self, change: impl FnOnce(&Index<N>, &mut N) -> (Vec<Arc<str>>, bool)) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let (dirty, has_work) = change(&state.index, &mut state.noun);
        self.wake(guard, dirty);
        if has_work {
            self.0.noun_changed.notify_one();
        }
    }

    /// Waits until a change of what the noun keeps has to be recorded.
    pub async fn noun_changed(&self) {
        self.0.noun_changed.notified().await;
    }

    /// Takes from what the noun keeps beside the index. The closure must be short.
    pub fn with_noun<T>(&self, take: impl FnOnce(&Index<N>, &mut N) -> T) -> T {
        let mut guard = self.lock();
        let state = &mut *guard;
        take(&state.index, &mut state.noun)
    }

    /// Decides what the group under a key needs, which has an anchor of the returned name; `None` if there is none, or if
    /// an answer showed more of it than the watch.
    pub fn decide(
        &self,
        key: &str,
        policy: &N::Policy,
        now: Timestamp,
    ) -> Option<(Arc<str>, Decision<N::Step>)> {
        let state = self.lock();
        let (index, noun) = (&state.index, &state.noun);
        if !self.0.observers.is_empty() {
            self.show(&Seen::Clock(now));
        }
        let group = index.group(key);
        if group.is_some_and(Group::is_ahead) {
            return None;
        }
        let decision = noun.decide(index, key, policy, now)?;
        let stray = || index.stray(key).map(|stray| stray.pod.name.as_str().into());
        let name = group.map(|group| Arc::clone(&group.name)).or_else(stray)?;
        if !self.0.observers.is_empty() {
            let members = group.into_iter().flat_map(|group| {
                let newest = Some(group.newest()).filter(|newest| newest.gone);
                group.living().chain(newest)
            });
            self.show(&Seen::Decision(&Decided {
                name: Arc::clone(&name),
                members: members
                    .filter_map(|member| member.objects.clone())
                    .collect(),
                case: noun.case(index, key, policy, now),
                decision: decision.clone(),
            }));
        }
        Some((name, decision))
    }

    /// Decides what groups need that share something.
    pub fn decide_together(&self, policy: &N::Policy, now: Timestamp) -> Together<N::Step> {
        let mut state = self.lock();
        state.shared = false;
        state.noun.decide_together(&state.index, policy, now)
    }

    /// Whether what groups share may have changed since [`Hub::decide_together`].
    pub fn shares(&self) -> bool {
        self.lock().shared
    }

    fn show(&self, seen: &Seen<'_, N>) {
        for observer in &self.0.observers {
            observer.see(seen);
        }
    }

    /// Has every group decided on again.
    pub fn decide_all_again(&self) {
        let mut state = self.lock();
        state.shared = true;
        let all = state.index.keys().cloned().collect();
        self.wake(state, all);
    }

    /// Waits for groups whose next decision may differ and returns their keys, each once; none if only what groups share
    /// may have changed.
    pub async fn dirty(&self) -> Vec<Arc<str>> {
        loop {
            let woken = self.0.dirty.notified();
            let (keys, woken_for_all) = {
                let mut state = self.lock();
                let keys: Vec<_> = state.dirty.drain().collect();
                (keys, std::mem::take(&mut state.woken_for_all))
            };
            if !keys.is_empty() || woken_for_all {
                return keys;
            }
            woken.await;
        }
    }

    /// Counts a pod that was let go although the message bus had not confirmed the last update of its group.
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

    /// Lets go of the lock and has groups decided on.
    fn wake(&self, mut state: MutexGuard<'_, State<N>>, dirty: Vec<Arc<str>>) {
        let woken = !dirty.is_empty() || state.woken_for_all;
        state.dirty.extend(dirty);
        drop(state);
        if woken {
            self.0.dirty.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<N>> {
        // The index has no invariant that a panic in a reader could break.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
