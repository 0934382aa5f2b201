//! A watch that never loses a deletion: what a re-list no longer names is reported as deleted.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

use futures::{Stream, StreamExt, stream};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, reflector::ObjectRef};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// What happened to one object, or to the list as a whole.
#[derive(Debug)]
pub(crate) enum Change<K: Resource<DynamicType = ()>> {
    /// The object is new or different.
    Apply(K),
    /// The object is gone; its last state is not known when a re-list shows it.
    Delete(ObjectRef<K>),
    /// Everything that a (re-)list found was reported.
    Synced,
}

/// Watches for ever; errors are logged and retried with a growing delay.
pub(crate) fn watch<K>(api: Api<K>) -> impl Stream<Item = Change<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let state = State {
        known: HashSet::new(),
        listed: HashMap::new(),
        events: open(&api),
        api,
    };
    stream::unfold(state, |mut state| async move {
        let changes = state.step().await;
        Some((stream::iter(changes), state))
    })
    .flatten()
}

type Events<K> = stream::BoxStream<'static, watcher::Result<Event<K>>>;

struct State<K: Resource<DynamicType = ()>> {
    api: Api<K>,
    events: Events<K>,
    /// Keys that the consumer holds.
    known: HashSet<ObjectRef<K>>,
    /// Objects of a list that is not complete yet: an interrupted one changes nothing.
    listed: HashMap<ObjectRef<K>, K>,
}

fn open<K>(api: &Api<K>) -> Events<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    // A short watch notices a connection that died silently within about a minute.
    let config = watcher::Config::default().timeout(60);
    watcher(api.clone(), config).default_backoff().boxed()
}

impl<K> State<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    async fn step(&mut self) -> Vec<Change<K>> {
        match self.events.next().await {
            Some(Ok(Event::Apply(object))) => {
                self.known.insert(ObjectRef::from_obj(&object));
                vec![Change::Apply(object)]
            }
            Some(Ok(Event::Delete(object))) => {
                let key = ObjectRef::from_obj(&object);
                self.known.remove(&key);
                vec![Change::Delete(key)]
            }
            Some(Ok(Event::Init)) => {
                self.listed.clear();
                Vec::new()
            }
            Some(Ok(Event::InitApply(object))) => {
                self.listed.insert(ObjectRef::from_obj(&object), object);
                Vec::new()
            }
            Some(Ok(Event::InitDone)) => swap(&mut self.known, std::mem::take(&mut self.listed)),
            Some(Err(error)) => {
                tracing::debug!(%error, kind = %K::kind(&()), "watch");
                // The watcher would repeat a start refused with 410 at the same version for ever.
                if matches!(&error, watcher::Error::WatchStartFailed(kube::Error::Api(s)) if s.code == 410)
                {
                    self.events = open(&self.api);
                }
                Vec::new()
            }
            None => {
                self.events = open(&self.api);
                Vec::new()
            }
        }
    }
}

/// A complete list takes the place of what was known; what it does not name was deleted unseen.
fn swap<K>(known: &mut HashSet<ObjectRef<K>>, listed: HashMap<ObjectRef<K>, K>) -> Vec<Change<K>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let found: HashSet<_> = listed.keys().cloned().collect();
    let gone = known.difference(&found).cloned();
    let mut changes: Vec<_> = gone.map(Change::Delete).collect();
    changes.extend(listed.into_values().map(Change::Apply));
    changes.push(Change::Synced);
    *known = found;
    changes
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn keyed(name: &str) -> (ObjectRef<Pod>, Pod) {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.to_owned());
        (ObjectRef::from_obj(&pod), pod)
    }

    #[test]
    fn a_relist_shows_what_was_deleted_unseen() {
        let mut known = ["kept", "lost"].map(|name| keyed(name).0).into();
        let listed = ["kept", "new"].map(keyed).into();
        let said = swap(&mut known, listed)
            .into_iter()
            .map(|change| match change {
                Change::Apply(pod) => format!("apply {}", pod.metadata.name.unwrap()),
                Change::Delete(key) => format!("delete {}", key.name),
                Change::Synced => "synced".to_owned(),
            });
        let mut said: Vec<_> = said.collect();
        said[1..3].sort();
        assert_eq!(said, ["delete lost", "apply kept", "apply new", "synced"]);
        assert_eq!(known, ["kept", "new"].map(|name| keyed(name).0).into());
    }
}
