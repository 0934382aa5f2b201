//! Garbage collection: what follows from a deletion for dependants and for a namespace's content.
//!
//! In a real cluster these are the garbage collector and the namespace controller, which are clients
//! of the API server; here they work on the store, by the same rules.

use serde_json::Value;

use super::delete::{Options, Propagation, delete};
use super::request::Target;
use super::resources::{self, NAMESPACES, RESOURCES};
use super::store::{Place, State, Store, uid};
use super::validate::text;
use super::write;

/// Collects for as long as it is polled.
pub(crate) async fn run(store: Store) {
    loop {
        // One object at a time, so that requests get their turn at the lock.
        while let Some(()) =
            store.with(|state| state.take_dirty().map(|place| visit(state, &place)))
        {}
        store.collectable().await;
    }
}

fn visit(state: &mut State, place: &Place) {
    let Some(object) = state.get(place.0, &place.1).cloned() else {
        return;
    };
    let object = &object.value;
    let deleting = !object["metadata"]["deletionTimestamp"].is_null();
    if deleting && place.0 == NAMESPACES {
        empty_namespace(state, place);
    } else if deleting && has_finalizer(object, "orphan") {
        for dependent in state.dependents_of(uid(object)) {
            disown(state, &dependent, &|owner| owner == uid(object));
        }
        release(state, place, "orphan");
    } else if deleting && has_finalizer(object, "foregroundDeletion") {
        let dependents = state.dependents_of(uid(object));
        let blocked = dependents
            .iter()
            .any(|dependent| blocks(state, dependent, uid(object)));
        if blocked {
            dependents
                .iter()
                .for_each(|dependent| collect(state, dependent));
        } else {
            release(state, place, "foregroundDeletion");
        }
    } else if !deleting {
        collect(state, place);
    }
}

/// Deletes the object if none of its owners remains; otherwise strikes those that do not.
fn collect(state: &mut State, place: &Place) {
    let Some(object) = state.get(place.0, &place.1).cloned() else {
        return;
    };
    let object = &object.value;
    let owners = object["metadata"]["ownerReferences"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if owners.is_empty() || !object["metadata"]["deletionTimestamp"].is_null() {
        return;
    }
    let namespace = text(&object["metadata"], "namespace");
    let fates: Vec<_> = owners
        .iter()
        .map(|owner| (text(owner, "uid").to_owned(), fate(state, owner, namespace)))
        .collect();
    if fates.iter().any(|(_, fate)| *fate == Fate::Solid) {
        let stale = |uid: &str| {
            fates
                .iter()
                .any(|(owner, fate)| owner == uid && *fate != Fate::Solid)
        };
        return disown(state, place, &stale);
    }
    let waiting = fates.iter().any(|(_, fate)| *fate == Fate::Waiting);
    let propagation = if waiting && !state.dependents_of(uid(object)).is_empty() {
        Some(Propagation::Foreground)
    } else if has_finalizer(object, "orphan") || has_finalizer(object, "foregroundDeletion") {
        None
    } else {
        Some(Propagation::Background)
    };
    let options = Options {
        propagation,
        ..Options::default()
    };
    // The object is there: the lock has been held since it was read.
    let _ = delete(state, &target(place), &options);
}

#[derive(PartialEq)]
enum Fate {
    /// The owner exists.
    Solid,
    /// The owner is waiting for its dependants to go.
    Waiting,
    /// There is no such owner.
    Absent,
}

fn fate(state: &State, owner: &Value, namespace: &str) -> Fate {
    // An owner of a kind that is not served here cannot be looked up, so nothing is concluded.
    let Some((index, resource)) =
        resources::by_kind(text(owner, "apiVersion"), text(owner, "kind"))
    else {
        return Fate::Solid;
    };
    let key = resource.key(namespace, text(owner, "name"));
    match state.get(index, &key) {
        Some(found) if uid(&found.value) == text(owner, "uid") => {
            let deleting = !found.value["metadata"]["deletionTimestamp"].is_null();
            let waits = deleting && has_finalizer(&found.value, "foregroundDeletion");
            if waits { Fate::Waiting } else { Fate::Solid }
        }
        _ => Fate::Absent,
    }
}

/// Whether the dependant keeps its owner from going in a foreground deletion.
fn blocks(state: &State, dependent: &Place, owner: &str) -> bool {
    let Some(object) = state.get(dependent.0, &dependent.1) else {
        return false;
    };
    let owners = object.value["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten();
    owners
        .filter(|one| text(one, "uid") == owner)
        .any(|one| one["blockOwnerDeletion"] == true)
}

/// Removes the owner references whose uid is `stale`.
fn disown(state: &mut State, place: &Place, stale: &dyn Fn(&str) -> bool) {
    change(state, place, "ownerReferences", &|owner| {
        !stale(text(owner, "uid"))
    });
}

/// Removes the finalizer, and thereby perhaps the object.
fn release(state: &mut State, place: &Place, finalizer: &str) {
    change(state, place, "finalizers", &|one| one != finalizer);
}

fn change(state: &mut State, place: &Place, list: &str, keep: &dyn Fn(&Value) -> bool) {
    let Some(old) = state.get(place.0, &place.1).cloned() else {
        return;
    };
    let mut object = old.value.clone();
    let Some(items) = object["metadata"][list].as_array_mut() else {
        return;
    };
    items.retain(keep);
    if items.is_empty()
        && let Some(metadata) = object["metadata"].as_object_mut()
    {
        metadata.remove(list);
    }
    if let Err(error) = write::replace(state, &target(place), &old, object, false) {
        tracing::debug!(object = place.1, error = error.message, "not collected");
    }
}

/// Deletes what is in the namespace; once nothing is left, the namespace itself.
fn empty_namespace(state: &mut State, place: &Place) {
    let prefix = format!("{}/", place.1);
    let mut left = false;
    for (index, _) in RESOURCES
        .iter()
        .enumerate()
        .filter(|(_, resource)| resource.namespaced)
    {
        let keys: Vec<_> = state
            .range(index, &prefix, "")
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            let options = Options {
                propagation: Some(Propagation::Background),
                ..Options::default()
            };
            let deleted = delete(state, &target(&(index, key)), &options);
            left |= deleted.is_ok_and(|deleted| !deleted.gone);
        }
    }
    if !left {
        state.remove(place.0, &place.1);
    }
}

fn has_finalizer(object: &Value, name: &str) -> bool {
    object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|finalizer| finalizer == name)
}

fn target(place: &Place) -> Target {
    let (namespace, name) = place.1.split_once('/').unwrap_or(("", &place.1));
    Target {
        index: place.0,
        resource: &RESOURCES[place.0],
        namespace: namespace.into(),
        name: name.into(),
        subresource: String::new(),
        watch: false,
    }
}
