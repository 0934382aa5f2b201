//! A garbage collector for API servers without one: it follows every kind of object that the server serves.
//!
//! [`rule`] decides the next step for an object; this file reads what that depends on, and does it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
    PropagationPolicy,
};
use kube::core::PartialObjectMeta;
use kube::discovery::{ApiCapabilities, Discovery, Scope, verbs};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::informer::{Change, watch_with};
use crate::garbage::{self as rule, Fate, Propagation, Step};

/// Interval of retries after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Quiet time after a change before objects are checked: each kind has its own watch, and one may show an owner's end
/// before another shows its dependants.
const QUIET: Duration = Duration::from_millis(30);
/// Longest wait while objects change all the time.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

type Meta = PartialObjectMeta<DynamicObject>;
type Key = ObjectRef<Meta>;

/// Collects, in one namespace or in all, for ever.
pub(crate) async fn run(client: Client, namespace: Option<&str>) {
    let kinds = loop {
        match kinds(&client, namespace).await {
            Ok(kinds) => break kinds,
            Err(error) => tracing::debug!(%error, "what the API server serves is not known"),
        }
        tokio::time::sleep(RETRY).await;
    };
    let mut changes: SelectAll<BoxStream<'_, (usize, Change<Meta>)>> = kinds
        .iter()
        .enumerate()
        .map(|(at, kind)| {
            let changes = watch_with::<Meta>(kind.all(&client, namespace), kind.resource.clone());
            changes.map(move |change| (at, change)).boxed()
        })
        .collect();
    let mut graph = Graph::new(client, kinds);
    loop {
        tokio::select! {
            Some((kind, change)) = changes.next() => graph.note(kind, change),
            () = tokio::time::sleep(RETRY), if !graph.failed.is_empty() => {
                graph.dirty.append(&mut graph.failed);
            }
            // No kind may be read: there is nothing to do.
            else => std::future::pending().await,
        }
        let end = tokio::time::Instant::now() + LONGEST_WAIT;
        while tokio::time::Instant::now() < end
            && let Ok(Some((kind, change))) = tokio::time::timeout(QUIET, changes.next()).await
        {
            graph.note(kind, change);
        }
        if graph.listed.len() == graph.kinds.len() {
            graph.visit_all().await;
        }
    }
}

/// A kind of object that can be followed and deleted.
struct Kind {
    resource: ApiResource,
    namespaced: bool,
}

impl Kind {
    fn all(&self, client: &Client, namespace: Option<&str>) -> Api<Meta> {
        match namespace {
            Some(namespace) if self.namespaced => {
                Api::namespaced_with(client.clone(), namespace, &self.resource)
            }
            _ => Api::all_with(client.clone(), &self.resource),
        }
    }

    fn beside(&self, client: &Client, metadata: &Value) -> Api<DynamicObject> {
        match metadata["namespace"].as_str() {
            Some(namespace) if self.namespaced => {
                Api::namespaced_with(client.clone(), namespace, &self.resource)
            }
            _ => Api::all_with(client.clone(), &self.resource),
        }
    }
}

/// The kinds that the server serves and permits to read. Events are omitted: they have neither owners nor dependants.
async fn kinds(client: &Client, namespace: Option<&str>) -> kube::Result<Vec<Kind>> {
    let discovery = Discovery::new(client.clone()).run().await?;
    let needs = [verbs::LIST, verbs::WATCH, verbs::DELETE, verbs::PATCH];
    let fits = |resource: &ApiResource, can: &ApiCapabilities| {
        resource.kind != "Event" && needs.iter().all(|verb| can.supports_operation(verb))
    };
    let mut kinds = Vec::new();
    for (resource, can) in discovery
        .groups()
        .flat_map(|group| group.recommended_resources())
        .filter(|(resource, can)| fits(resource, can))
    {
        let kind = Kind {
            resource,
            namespaced: can.scope == Scope::Namespaced,
        };
        let list = kind.all(client, namespace);
        match list.list(&ListParams::default().limit(1)).await {
            Ok(_) => kinds.push(kind),
            Err(kube::Error::Api(status)) if (400..429).contains(&status.code) => {
                let (kind, why) = (kind.resource.kind, status.message);
                tracing::warn!(kind, why, "objects of this kind are not collected");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(kinds)
}

/// What is known of all objects, and which of them must be checked.
struct Graph {
    client: Client,
    kinds: Vec<Kind>,
    /// Kinds whose objects are all known.
    listed: BTreeSet<usize>,
    uids: HashMap<Key, String>,
    nodes: HashMap<String, Node>,
    /// By the uid of an owner, which may not exist, the uids of its dependants.
    owned: HashMap<String, BTreeSet<String>>,
    dirty: BTreeSet<String>,
    failed: BTreeSet<String>,
}

struct Node {
    kind: usize,
    metadata: Value,
}

impl Graph {
    fn new(client: Client, kinds: Vec<Kind>) -> Self {
        Self {
            client,
            kinds,
            listed: BTreeSet::new(),
            uids: HashMap::new(),
            nodes: HashMap::new(),
            owned: HashMap::new(),
            dirty: BTreeSet::new(),
            failed: BTreeSet::new(),
        }
    }

    fn note(&mut self, kind: usize, change: Change<Meta>) {
        match change {
            Change::Apply(object) => {
                let key = ObjectRef::from_obj_with(&object, self.kinds[kind].resource.clone());
                let uid = object.uid().unwrap_or_default();
                if self.uids.get(&key).is_some_and(|known| *known != uid) {
                    self.forget(&key);
                }
                let metadata = serde_json::to_value(&object.metadata).unwrap_or_default();
                self.unlink(&uid);
                for owner in owners(&metadata) {
                    let owned = self.owned.entry(owner.to_owned()).or_default();
                    owned.insert(uid.clone());
                }
                if !rule::references(&metadata).is_empty() || rule::is_deleted(&metadata) {
                    self.dirty.insert(uid.clone());
                }
                self.nodes.insert(uid.clone(), Node { kind, metadata });
                self.uids.insert(key, uid);
            }
            Change::Delete(key) => self.forget(&key),
            Change::Synced => {
                self.listed.insert(kind);
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        let Some(uid) = self.uids.remove(key) else {
            return;
        };
        self.unlink(&uid);
        self.nodes.remove(&uid);
        let owned = self.owned.get(&uid).into_iter().flatten().cloned();
        self.dirty.extend(owned);
    }

    /// Removes the object's references; its owners may have waited for that.
    fn unlink(&mut self, uid: &str) {
        let Some(node) = self.nodes.get(uid) else {
            return;
        };
        for owner in owners(&node.metadata) {
            if let Some(owned) = self.owned.get_mut(owner) {
                owned.remove(uid);
                if owned.is_empty() {
                    self.owned.remove(owner);
                }
            }
            self.dirty.insert(owner.to_owned());
        }
    }

    async fn visit_all(&mut self) {
        while let Some(uid) = self.dirty.pop_first() {
            if let Err(error) = self.visit(&uid).await {
                tracing::debug!(%error, uid, "not collected for now");
                self.failed.insert(uid);
            }
        }
    }

    async fn visit(&mut self, uid: &str) -> kube::Result<()> {
        let Some(node) = self.nodes.get(uid) else {
            return Ok(());
        };
        let metadata = &node.metadata;
        let dependants: Vec<_> = self.owned.get(uid).into_iter().flatten().collect();
        let dependants: Vec<_> = dependants
            .into_iter()
            .filter_map(|uid| self.nodes.get(uid))
            .collect();
        let owned: Vec<_> = dependants.iter().map(|one| &one.metadata).collect();
        let step = match rule::is_deleted(metadata) {
            true => rule::deleting(metadata, &owned),
            false => {
                let mut fates = Vec::new();
                for owner in rule::references(metadata) {
                    fates.push(self.fate(owner, metadata).await?);
                }
                rule::living(metadata, &fates, &owned)
            }
        };
        match step {
            Step::Keep => {}
            Step::Disown(uids) => self.disown(node, &uids).await?,
            Step::Delete(propagation) => self.delete(node, propagation).await?,
            Step::Unblock => {
                let all = rule::unblocking(metadata);
                self.change(node, "ownerReferences", all).await?;
            }
            Step::Orphan => {
                for dependant in dependants {
                    self.disown(dependant, &[uid.to_owned()]).await?;
                }
                let rest = rule::without_finalizer(metadata, rule::ORPHAN);
                self.change(node, "finalizers", rest).await?;
            }
            Step::Await => {
                let living = owned.iter().filter(|one| !rule::is_deleted(one));
                let living = living.filter_map(|one| one["uid"].as_str().map(str::to_owned));
                let living: Vec<_> = living.collect();
                self.dirty.extend(living);
            }
            Step::Release => {
                let rest = rule::without_finalizer(metadata, rule::FOREGROUND);
                self.change(node, "finalizers", rest).await?;
            }
        }
        Ok(())
    }

    /// The state of a referenced owner: the API server is asked about an unknown one.
    async fn fate(&self, owner: &Value, metadata: &Value) -> kube::Result<Fate> {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let (uid, version) = (text("uid"), text("apiVersion"));
        if let Some(known) = self.nodes.get(uid) {
            return Ok(rule::fate(Some(&known.metadata), uid));
        }
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let kind = self
            .kinds
            .iter()
            .find(|kind| kind.resource.group == group && kind.resource.kind == owner["kind"]);
        let Some(kind) = kind else {
            return Ok(Fate::Solid);
        };
        if kind.namespaced && metadata["namespace"].is_null() {
            // Such a reference is invalid: it has no namespace.
            return Ok(Fate::Solid);
        }
        let owners = kind.beside(&self.client, metadata);
        let found = owners.get_metadata_opt(text("name")).await?;
        let found = found.map(|found| serde_json::to_value(found.metadata).unwrap_or_default());
        Ok(rule::fate(found.as_ref(), uid))
    }

    async fn disown(&self, node: &Node, uids: &[String]) -> kube::Result<()> {
        let rest = rule::without_owners(&node.metadata, uids);
        self.change(node, "ownerReferences", rest).await
    }

    /// Replaces a list in the metadata by `items`, if the object is unchanged.
    async fn change(&self, node: &Node, list: &str, items: Vec<Value>) -> kube::Result<()> {
        let items = match items.is_empty() {
            true => Value::Null,
            false => items.into(),
        };
        let mut patch = json!({list: items});
        for field in ["uid", "resourceVersion"] {
            patch[field] = node.metadata[field].clone();
        }
        let patch = Patch::Merge(json!({"metadata": patch}));
        let objects = self.objects(node);
        unless_gone(
            objects
                .patch(name(node), &PatchParams::default(), &patch)
                .await,
        )
    }

    async fn delete(&self, node: &Node, propagation: Propagation) -> kube::Result<()> {
        let text = |field: &str| node.metadata[field].as_str().map(str::to_owned);
        let params = DeleteParams {
            propagation_policy: Some(match propagation {
                Propagation::Background => PropagationPolicy::Background,
                Propagation::Foreground => PropagationPolicy::Foreground,
                Propagation::Orphan => PropagationPolicy::Orphan,
            }),
            preconditions: Some(Preconditions {
                uid: text("uid"),
                resource_version: text("resourceVersion"),
            }),
            ..DeleteParams::default()
        };
        unless_gone(self.objects(node).delete(name(node), &params).await)
    }

    fn objects(&self, node: &Node) -> Api<DynamicObject> {
        self.kinds[node.kind].beside(&self.client, &node.metadata)
    }
}

fn owners(metadata: &Value) -> impl Iterator<Item = &str> {
    let references = rule::references(metadata).iter();
    references.filter_map(|owner| owner["uid"].as_str())
}

fn name(node: &Node) -> &str {
    node.metadata["name"].as_str().unwrap_or_default()
}

/// Another client may have been faster.
fn unless_gone<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
