//! Garbage collection: the consequences of a deletion for dependants and for a namespace's content.
//!
//! In a real cluster these are the garbage collector and the namespace controller, which are clients of the API server;
//! here they work on the store. [`garbage`] has the rules.

use serde_json::Value;

use super::claims;
use super::delete::{Options, delete};
use super::request::Target;
use super::resources::{self, CLAIMS, NAMESPACES, RESOURCES};
use super::store::{Place, State, Store, uid};
use super::validate::text;
use super::write;
use crate::garbage::{self, Fate, Propagation, Step};

/// Collects for as long as it is polled.
pub(crate) async fn run(store: Store) {
    loop {
        // One object at a time, so that requests get the lock in between.
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
    let metadata = &object.value["metadata"];
    if garbage::is_deleted(metadata) && place.0 == NAMESPACES {
        return empty_namespace(state, place);
    }
    if garbage::is_deleted(metadata) && place.0 == CLAIMS {
        let (namespace, name) = (text(metadata, "namespace"), text(metadata, "name"));
        let rest = garbage::without_finalizer(metadata, claims::PROTECTION);
        if rest.len() < finalizers(metadata) && !claims::is_used(state, namespace, name) {
            return change(state, place, "finalizers", rest);
        }
    }
    let dependants = state.dependents_of(uid(&object.value));
    let owned: Vec<_> = dependants
        .iter()
        .filter_map(|place| state.get(place.0, &place.1).cloned())
        .collect();
    let owned: Vec<_> = owned.iter().map(|one| &one.value["metadata"]).collect();
    let step = match garbage::is_deleted(metadata) {
        true => garbage::deleting(metadata, &owned),
        false => {
            let fates = garbage::references(metadata)
                .iter()
                .map(|owner| fate(state, owner, metadata));
            garbage::living(metadata, &fates.collect::<Vec<_>>(), &owned)
        }
    };
    match step {
        Step::Keep => {}
        Step::Disown(uids) => disown(state, place, &uids),
        Step::Delete(propagation) => remove(state, place, propagation),
        Step::Unblock => {
            let references = garbage::unblocking(metadata);
            change(state, place, "ownerReferences", references);
            remove(state, place, Propagation::Foreground);
        }
        Step::Orphan => {
            let owner = [uid(&object.value).to_owned()];
            for dependant in &dependants {
                disown(state, dependant, &owner);
            }
            let rest = garbage::without_finalizer(metadata, garbage::ORPHAN);
            change(state, place, "finalizers", rest);
        }
        Step::Await => {
            let living = dependants.iter().filter(|place| {
                let dependant = state.get(place.0, &place.1);
                dependant.is_some_and(|one| !garbage::is_deleted(&one.value["metadata"]))
            });
            let living: Vec<_> = living.cloned().collect();
            living.iter().for_each(|place| visit(state, place));
        }
        Step::Release => {
            let rest = garbage::without_finalizer(metadata, garbage::FOREGROUND);
            change(state, place, "finalizers", rest);
        }
    }
}

/// The state of the owner that the object with this metadata references.
fn fate(state: &State, owner: &Value, metadata: &Value) -> Fate {
    // An owner of a kind that is not served here cannot be read, so nothing is concluded.
    let Some((index, resource)) =
        resources::by_kind(text(owner, "apiVersion"), text(owner, "kind"))
    else {
        return Fate::Solid;
    };
    let namespace = text(metadata, "namespace");
    if resource.namespaced && namespace.is_empty() {
        // Such a reference is invalid: it has no namespace.
        return Fate::Solid;
    }
    let key = resource.key(namespace, text(owner, "name"));
    let found = state.get(index, &key).map(|found| &found.value["metadata"]);
    garbage::fate(found, text(owner, "uid"))
}

fn remove(state: &mut State, place: &Place, propagation: Propagation) {
    let options = Options {
        propagation: Some(propagation),
        ..Options::default()
    };
    // The object is there: the lock has been held since it was read.
    let _ = delete(state, &target(place), &options);
}

/// Removes the references to the owners with these uids.
fn disown(state: &mut State, place: &Place, uids: &[String]) {
    let Some(object) = state.get(place.0, &place.1).cloned() else {
        return;
    };
    let rest = garbage::without_owners(&object.value["metadata"], uids);
    change(state, place, "ownerReferences", rest);
}

/// Replaces a list in the metadata by `items`, which may remove the object.
fn change(state: &mut State, place: &Place, list: &str, items: Vec<Value>) {
    let Some(old) = state.get(place.0, &place.1).cloned() else {
        return;
    };
    let mut object = old.value.clone();
    let Some(metadata) = object["metadata"].as_object_mut() else {
        return;
    };
    match items.is_empty() {
        true => metadata.remove(list),
        false => metadata.insert(list.into(), items.into()),
    };
    if let Err(error) = write::replace(state, &target(place), &old, object, false) {
        tracing::debug!(object = place.1, error = error.message, "not collected");
    }
}

/// Deletes the content of the namespace; once it is empty, the namespace itself.
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

fn finalizers(metadata: &Value) -> usize {
    metadata["finalizers"].as_array().map_or(0, Vec::len)
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
