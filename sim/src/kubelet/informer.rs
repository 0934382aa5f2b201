//! A watch that never loses a deletion: an object that is missing from a re-list is reported as deleted.
//!
//! A watch that ends is resumed from the last version, at once after a clean end; a compacted version (410) leads to a
//! new list; everything else to a backoff first.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::api::{ListParams, WatchParams};
use kube::core::WatchEvent;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

/// Timeout of one watch: shorter than the time after which a client closes a silent connection.
const WATCH_SECONDS: u32 = 30;
/// A request that is silent for longer than this is dead.
const IDLE_LIMIT: Duration = Duration::from_secs(35);
/// Objects in a page of a list.
const PAGE: u32 = 500;
/// A watch that ends this soon without an event counts as a failure, so that it does not loop.
const TOO_SOON: Duration = Duration::from_secs(1);
/// The first backoff after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A change of one object, or of the whole list.
#[derive(Debug)]
pub(crate) enum Change<K: Object> {
    /// The object is new or different.
    Apply(K),
    /// The object is gone; its last state is unknown if a re-list shows that.
    Delete(ObjectRef<K>),
    /// Every object of a (re-)list was reported.
    Synced,
}

/// A kind that can be followed.
pub(crate) trait Object:
    Resource<DynamicType: Kind> + Clone + Debug + DeserializeOwned + Send + 'static
{
}

impl<K> Object for K where
    K: Resource<DynamicType: Kind> + Clone + Debug + DeserializeOwned + Send + 'static
{
}

/// The kind of an object, which its type does not have.
pub(crate) trait Kind: Clone + Debug + Eq + Hash + Send + Sync + 'static {}

impl<T> Kind for T where T: Clone + Debug + Eq + Hash + Send + Sync + 'static {}

/// Watches for ever; errors are logged and retried with a growing delay.
pub(crate) fn watch<K>(api: Api<K>) -> impl Stream<Item = Change<K>> + Send
where
    K: Object + Resource<DynamicType = ()>,
{
    watch_with(api, ())
}

/// Watches objects of a kind that is known only at run time.
pub(crate) fn watch_with<K: Object>(
    api: Api<K>,
    kind: K::DynamicType,
) -> impl Stream<Item = Change<K>> + Send {
    let state = Informer {
        api,
        kind,
        known: HashSet::new(),
        phase: Phase::List,
        pause: PAUSES.0,
    };
    stream::unfold(state, |mut state| async move {
        let changes = state.step().await;
        Some((stream::iter(changes), state))
    })
    .flatten()
}

struct Informer<K: Object> {
    api: Api<K>,
    kind: K::DynamicType,
    /// Keys that the consumer holds.
    known: HashSet<ObjectRef<K>>,
    phase: Phase<K>,
    /// The backoff after the next failure.
    pause: Duration,
}

/// The next step.
enum Phase<K> {
    List,
    /// Open a watch from this version on.
    Open(String),
    Follow(Follow<K>),
}

/// An open watch.
struct Follow<K> {
    version: String,
    events: stream::BoxStream<'static, kube::Result<WatchEvent<K>>>,
    opened: Instant,
    received: bool,
}

impl<K: Object> Informer<K> {
    fn key(&self, object: &K) -> ObjectRef<K> {
        ObjectRef::from_obj_with(object, self.kind.clone())
    }

    async fn step(&mut self) -> Vec<Change<K>> {
        match std::mem::replace(&mut self.phase, Phase::List) {
            Phase::List => match list(&self.api, &self.kind).await {
                Ok((listed, version)) => {
                    self.phase = Phase::Open(version);
                    swap(&mut self.known, listed)
                }
                Err(error) => {
                    self.back_off(&error).await;
                    Vec::new()
                }
            },
            Phase::Open(version) => {
                let params = WatchParams::default().timeout(WATCH_SECONDS);
                let opening = timeout(IDLE_LIMIT, self.api.watch(&params, &version));
                match opening.await.unwrap_or_else(|_| Err(silent())) {
                    Ok(events) => {
                        self.phase = Phase::Follow(Follow {
                            version,
                            events: events.boxed(),
                            opened: Instant::now(),
                            received: false,
                        });
                    }
                    Err(error) => self.resume(version, &error).await,
                }
                Vec::new()
            }
            Phase::Follow(watch) => self.follow(watch).await,
        }
    }

    /// The next event of the watch, or its end.
    async fn follow(&mut self, mut watch: Follow<K>) -> Vec<Change<K>> {
        let next = timeout(IDLE_LIMIT, watch.events.next()).await;
        let event = match next.unwrap_or_else(|_| Some(Err(silent()))) {
            Some(event) => event,
            None if watch.received || watch.opened.elapsed() >= TOO_SOON => {
                self.pause = PAUSES.0;
                self.phase = Phase::Open(watch.version);
                return Vec::new();
            }
            None => Err(kube::Error::ReadEvents(std::io::Error::other(
                "the watch ended at once",
            ))),
        };
        let (object, gone) = match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => (object, false),
            Ok(WatchEvent::Deleted(object)) => (object, true),
            Ok(WatchEvent::Bookmark(bookmark)) => {
                watch.version = bookmark.metadata.resource_version;
                self.phase = Phase::Follow(watch);
                return Vec::new();
            }
            Ok(WatchEvent::Error(status)) => {
                self.resume(watch.version, &kube::Error::Api(status)).await;
                return Vec::new();
            }
            Err(error) => {
                self.resume(watch.version, &error).await;
                return Vec::new();
            }
        };
        watch.received = true;
        if let Some(version) = &object.meta().resource_version {
            watch.version.clone_from(version);
        }
        self.phase = Phase::Follow(watch);
        let key = self.key(&object);
        if gone {
            self.known.remove(&key);
            vec![Change::Delete(key)]
        } else {
            self.known.insert(key);
            vec![Change::Apply(object)]
        }
    }

    /// Continues after a failed watch: with a list if the version is compacted, otherwise from the last version.
    async fn resume(&mut self, version: String, error: &kube::Error) {
        if matches!(error, kube::Error::Api(status) if status.code == 410) {
            tracing::debug!(kind = %K::kind(&self.kind), version, "history is gone, listing again");
            return;
        }
        self.phase = Phase::Open(version);
        self.back_off(error).await;
    }

    async fn back_off(&mut self, error: &kube::Error) {
        tracing::debug!(%error, kind = %K::kind(&self.kind), "cannot follow the API server");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
    }
}

/// Every object and the version of the list. An interrupted list changes nothing.
async fn list<K: Object>(
    api: &Api<K>,
    kind: &K::DynamicType,
) -> kube::Result<(HashMap<ObjectRef<K>, K>, String)> {
    let (mut listed, mut version) = (HashMap::new(), None);
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = timeout(IDLE_LIMIT, api.list(&params)).await;
        let page = page.map_err(|_| silent())??;
        let objects = page.items.into_iter();
        listed.extend(
            objects.map(|object| (ObjectRef::from_obj_with(&object, kind.clone()), object)),
        );
        // All pages have the version of the first.
        let version = version.get_or_insert(page.metadata.resource_version);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok((listed, version.take().unwrap_or_default())),
        }
    }
}

fn silent() -> kube::Error {
    let why = "no answer in time";
    kube::Error::ReadEvents(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
}

/// A complete list replaces what was known; what is missing from it was deleted unseen.
fn swap<K: Object>(
    known: &mut HashSet<ObjectRef<K>>,
    listed: HashMap<ObjectRef<K>, K>,
) -> Vec<Change<K>> {
    let found: HashSet<_> = listed.keys().cloned().collect();
    let gone = known.difference(&found).cloned();
    let mut changes: Vec<_> = gone.map(Change::Delete).collect();
    changes.extend(listed.into_values().map(Change::Apply));
    changes.push(Change::Synced);
    *known = found;
    changes
}

#[cfg(test)]
mod tests;
