//! `Store`: objects under one global revision, with a bounded log of changes to watch from.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::clock;
use super::resources::{Index, RESOURCES};

/// The state of a cluster. It outlives a [`Server`](super::Server): a server stopped and
/// started on the same store is an API server that restarted with its history kept.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Wakes the garbage collector when [`State::dirty`] has gained an entry.
    collect: Notify,
}

/// One stored version of an object; encoded once, however many read it.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) revision: u64,
    pub(crate) value: Value,
    /// The object as JSON, beginning with kind and apiVersion.
    pub(crate) json: Bytes,
    /// Where the other fields start in `json`: items of a list go without their kind.
    body: usize,
}

/// One entry of a collection's log.
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) key: String,
    pub(crate) before: Option<Arc<Object>>,
    pub(crate) after: Option<Arc<Object>>,
    gone: OnceLock<Object>,
}

/// Everything behind the store's lock. Its methods are plain functions; callers hold the lock for
/// one read or one whole read-check-write, never over an await.
pub(crate) struct State {
    revision: u64,
    compacted: u64,
    history: usize,
    collections: Vec<Collection>,
    /// Which collection each log entry is in, oldest first: what compaction drops next.
    order: VecDeque<Index>,
    /// Where the object with this uid is.
    uids: HashMap<String, Place>,
    /// The objects that name this uid as an owner.
    dependents: HashMap<String, BTreeSet<Place>>,
    /// Objects that the garbage collector has yet to check.
    dirty: BTreeSet<Place>,
}

/// An object's collection, and its key there.
pub(crate) type Place = (Index, String);

struct Collection {
    objects: BTreeMap<String, Arc<Object>>,
    log: VecDeque<Arc<Change>>,
    changed: watch::Sender<u64>,
}

/// The requested history is compacted.
#[derive(Debug)]
pub(crate) struct Compacted;

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty cluster with its initial namespaces. Its revisions start above those of any earlier store, whose
    /// resourceVersions therefore get 410.
    pub fn new() -> Self {
        let start = clock::first_revision();
        let collection = || Collection {
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            changed: watch::Sender::new(start),
        };
        let state = State {
            revision: start,
            compacted: start,
            history: usize::MAX,
            collections: RESOURCES.iter().map(|_| collection()).collect(),
            order: VecDeque::new(),
            uids: HashMap::new(),
            dependents: HashMap::new(),
            dirty: BTreeSet::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            collect: Notify::new(),
        }))
    }

    /// Compacts all history: earlier watches and continue tokens get 410.
    pub fn compact(&self) {
        self.with(|state| {
            state.compacted = state.revision;
            state.order.clear();
            state
                .collections
                .iter_mut()
                .for_each(|collection| collection.log.clear());
        });
    }

    /// The revision of the latest write.
    pub fn revision(&self) -> u64 {
        self.with(|state| state.revision)
    }

    /// Runs one transaction.
    pub(crate) fn with<T>(&self, transaction: impl FnOnce(&mut State) -> T) -> T {
        // Transactions do not panic; if one did, the state is still consistent after each of its steps.
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = transaction(&mut state);
        if !state.dirty.is_empty() {
            self.0.collect.notify_one();
        }
        answer
    }

    /// Completes when there may be something to collect.
    pub(crate) async fn collectable(&self) {
        self.0.collect.notified().await;
    }
}

impl Object {
    /// Encodes the object; one at revision 0 was never stored, and shows no resourceVersion.
    pub(crate) fn new(index: Index, mut value: Value, revision: u64) -> Self {
        let resource = &RESOURCES[index];
        if revision > 0 {
            value["metadata"]["resourceVersion"] = revision.to_string().into();
        }
        let head = format!(
            r#"{{"kind":"{}","apiVersion":"{}","#,
            resource.kind,
            resource.api_version()
        );
        let mut json = head.clone().into_bytes();
        if let Value::Object(fields) = &mut value {
            fields.retain(|name, _| name != "kind" && name != "apiVersion");
            let rest = value.to_string();
            json.extend_from_slice(&rest.as_bytes()[1..]);
        }
        value["kind"] = resource.kind.into();
        value["apiVersion"] = resource.api_version().into();
        Self {
            revision,
            value,
            json: json.into(),
            body: head.len(),
        }
    }

    /// The fields after kind and apiVersion, up to and with the closing brace.
    pub(crate) fn body(&self) -> &[u8] {
        &self.json[self.body..]
    }
}

impl Change {
    /// The object as a DELETED event shows it: its last state, at the revision of the change.
    pub(crate) fn gone(&self, index: Index) -> &Object {
        self.gone.get_or_init(|| {
            let last = self
                .before
                .as_ref()
                .map_or_else(|| json!({}), |before| before.value.clone());
            Object::new(index, last, self.revision)
        })
    }
}

impl State {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn keep_history(&mut self, events: usize) {
        self.history = events.max(1);
        self.trim();
    }

    pub(crate) fn get(&self, index: Index, key: &str) -> Option<&Arc<Object>> {
        self.collections[index].objects.get(key)
    }

    /// The objects whose key starts with `prefix`, in order, from `start` on.
    pub(crate) fn range<'a>(
        &'a self,
        index: Index,
        prefix: &'a str,
        start: &str,
    ) -> impl Iterator<Item = (&'a String, &'a Arc<Object>)> {
        let from = prefix.max(start).to_owned();
        let objects = &self.collections[index].objects;
        objects
            .range(from..)
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The collection as it was at `revision`, for lists that continue at their first page's state.
    pub(crate) fn at(
        &self,
        index: Index,
        prefix: &str,
        revision: u64,
    ) -> Result<BTreeMap<String, Arc<Object>>, Compacted> {
        if revision < self.compacted {
            return Err(Compacted);
        }
        let mut objects: BTreeMap<_, _> = self
            .range(index, prefix, "")
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        let later = self.collections[index]
            .log
            .iter()
            .rev()
            .take_while(|change| change.revision > revision);
        for change in later.filter(|change| change.key.starts_with(prefix)) {
            match &change.before {
                Some(before) => objects.insert(change.key.clone(), before.clone()),
                None => objects.remove(&change.key),
            };
        }
        Ok(objects)
    }

    /// Stores a new version of the object and logs the change.
    pub(crate) fn put(&mut self, index: Index, key: &str, value: Value) -> Arc<Object> {
        let object = Arc::new(Object::new(index, value, self.revision + 1));
        let place = (index, key.to_owned());
        let before = self.collections[index]
            .objects
            .insert(key.into(), object.clone());
        if let Some(before) = &before {
            self.unlink(&place, before);
            self.dirty_owners(before);
        }
        self.uids.insert(uid(&object.value).into(), place.clone());
        for owner in owners(&object.value) {
            self.dependents
                .entry(owner.into())
                .or_default()
                .insert(place.clone());
        }
        if concerns_collector(&object.value) {
            self.dirty.insert(place);
        }
        self.log(index, key, before, Some(object.clone()));
        object
    }

    /// Removes the object and logs the change.
    pub(crate) fn remove(&mut self, index: Index, key: &str) -> Option<Arc<Object>> {
        let before = self.collections[index].objects.remove(key)?;
        let place = (index, key.to_owned());
        self.unlink(&place, &before);
        self.dirty.extend(
            self.dependents
                .get(uid(&before.value))
                .into_iter()
                .flatten()
                .cloned(),
        );
        self.dirty_owners(&before);
        if index == super::resources::PODS {
            self.dirty.extend(super::claims::places(&before.value));
        }
        if let Some((namespace, _)) = key.split_once('/') {
            self.dirty
                .insert((super::resources::NAMESPACES, namespace.into()));
        }
        self.log(index, key, Some(before.clone()), None);
        Some(before)
    }

    /// The log after `revision`: at most `limit` changes. The second value is the revision up to
    /// which the collection has now been read.
    pub(crate) fn since(
        &self,
        index: Index,
        revision: u64,
        limit: usize,
    ) -> Result<(Vec<Arc<Change>>, u64), Compacted> {
        if revision < self.compacted {
            return Err(Compacted);
        }
        let log = &self.collections[index].log;
        let from = log.partition_point(|change| change.revision <= revision);
        let changes: Vec<_> = log.iter().skip(from).take(limit).cloned().collect();
        let read = if changes.len() < limit {
            self.revision
        } else {
            changes[limit - 1].revision
        };
        Ok((changes, read.max(revision)))
    }

    /// Notifies of each change to the collection.
    pub(crate) fn subscribe(&self, index: Index) -> watch::Receiver<u64> {
        self.collections[index].changed.subscribe()
    }

    /// The revision after which history is complete.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(crate) fn dependents_of(&self, uid: &str) -> Vec<Place> {
        self.dependents
            .get(uid)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    pub(crate) fn take_dirty(&mut self) -> Option<Place> {
        self.dirty.pop_first()
    }

    /// The owners of an object that changed or is gone may have waited for that.
    fn dirty_owners(&mut self, before: &Object) {
        let touched: Vec<_> = owners(&before.value)
            .filter_map(|owner| self.uids.get(owner).cloned())
            .collect();
        self.dirty.extend(touched);
    }

    fn unlink(&mut self, place: &Place, before: &Object) {
        self.uids.remove(uid(&before.value));
        for owner in owners(&before.value) {
            if let Some(places) = self.dependents.get_mut(owner) {
                places.remove(place);
                if places.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
    }

    fn log(
        &mut self,
        index: Index,
        key: &str,
        before: Option<Arc<Object>>,
        after: Option<Arc<Object>>,
    ) {
        self.revision += 1;
        let change = Change {
            revision: self.revision,
            key: key.into(),
            before,
            after,
            gone: OnceLock::new(),
        };
        self.collections[index].log.push_back(Arc::new(change));
        self.order.push_back(index);
        self.trim();
        self.collections[index].changed.send_replace(self.revision);
    }

    fn trim(&mut self) {
        while self.order.len() > self.history {
            let oldest = self
                .order
                .pop_front()
                .and_then(|index| self.collections[index].log.pop_front());
            self.compacted = oldest.map_or(self.revision, |change| change.revision);
        }
    }
}

/// The object's uid, empty if it has none.
pub(crate) fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

fn owners(object: &Value) -> impl Iterator<Item = &str> {
    let references = object["metadata"]["ownerReferences"].as_array();
    references
        .into_iter()
        .flatten()
        .filter_map(|owner| owner["uid"].as_str())
}

fn concerns_collector(object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata.get("ownerReferences").is_some() || metadata.get("deletionTimestamp").is_some()
}
