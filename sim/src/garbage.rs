//! Garbage collection as a rule: what happens to an object by the state of its owners and of its dependants.
//!
//! The embedded API server applies it to its store, the simulation over HTTP to a server without a collector.

use serde_json::Value;

/// What happens to the dependants of a deleted owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// Keeps an object until its dependants have lost their reference to it.
pub(crate) const ORPHAN: &str = "orphan";
/// Keeps an object until its dependants are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

/// The state of a referenced owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It exists, or its kind is unknown.
    Solid,
    /// It waits for its dependants.
    Waiting,
    /// It is gone.
    Absent,
}

/// The next step for an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Keep,
    /// Remove the references to the owners with these uids.
    Disown(Vec<String>),
    Delete(Propagation),
    /// It is in a circle of objects that wait for each other: it no longer blocks its owners, and is deleted after
    /// its dependants.
    Unblock,
    /// Remove the references to it in its dependants, then its finalizer `orphan`.
    Orphan,
    /// Check its dependants first.
    Await,
    /// Nothing blocks it any more: remove the finalizer `foregroundDeletion`.
    Release,
}

/// The consequence of the deletion of the owner with this metadata for a reference to `uid`.
pub(crate) fn fate(owner: Option<&Value>, uid: &str) -> Fate {
    match owner {
        Some(metadata) if metadata["uid"] == uid && waits(metadata) => Fate::Waiting,
        Some(metadata) if metadata["uid"] == uid => Fate::Solid,
        _ => Fate::Absent,
    }
}

/// The next step for an object that is being deleted, from its metadata and that of its dependants.
pub(crate) fn deleting(metadata: &Value, owned: &[&Value]) -> Step {
    if has(metadata, ORPHAN) {
        return Step::Orphan;
    }
    if !has(metadata, FOREGROUND) {
        return Step::Keep;
    }
    let blocks = |one: &&Value| {
        references(one)
            .iter()
            .any(|owner| owner["uid"] == metadata["uid"] && owner["blockOwnerDeletion"] == true)
    };
    match owned.iter().any(blocks) {
        true => Step::Await,
        false => Step::Release,
    }
}

/// The next step for an object that is not being deleted; `fates` are those of its references, in order.
pub(crate) fn living(metadata: &Value, fates: &[Fate], owned: &[&Value]) -> Step {
    let references = references(metadata);
    if references.is_empty() {
        return Step::Keep;
    }
    if fates.contains(&Fate::Solid) {
        let stale = references.iter().zip(fates);
        let stale: Vec<_> = stale
            .filter(|(_, fate)| **fate != Fate::Solid)
            .filter_map(|(owner, _)| owner["uid"].as_str().map(str::to_owned))
            .collect();
        return match stale.is_empty() {
            true => Step::Keep,
            false => Step::Disown(stale),
        };
    }
    if fates.contains(&Fate::Waiting) && !owned.is_empty() {
        let circle = owned.iter().any(|one| waits(one));
        let blocks = references
            .iter()
            .any(|owner| owner["blockOwnerDeletion"] == true);
        return match circle && blocks {
            true => Step::Unblock,
            false => Step::Delete(Propagation::Foreground),
        };
    }
    Step::Delete(match () {
        () if has(metadata, ORPHAN) => Propagation::Orphan,
        () if has(metadata, FOREGROUND) => Propagation::Foreground,
        () => Propagation::Background,
    })
}

/// Whether the object is being deleted.
pub(crate) fn is_deleted(metadata: &Value) -> bool {
    !metadata["deletionTimestamp"].is_null()
}

/// The references to the object's owners.
pub(crate) fn references(metadata: &Value) -> &[Value] {
    list(metadata, "ownerReferences")
}

/// The references without those to the owners with these uids.
pub(crate) fn without_owners(metadata: &Value, uids: &[String]) -> Vec<Value> {
    let named = |owner: &Value| uids.iter().any(|uid| owner["uid"] == uid.as_str());
    let kept = references(metadata).iter().filter(|owner| !named(owner));
    kept.cloned().collect()
}

/// The references, none of which blocks an owner's deletion.
pub(crate) fn unblocking(metadata: &Value) -> Vec<Value> {
    let mut all = references(metadata).to_vec();
    for owner in &mut all {
        owner["blockOwnerDeletion"] = false.into();
    }
    all
}

/// The finalizers without this one.
pub(crate) fn without_finalizer(metadata: &Value, name: &str) -> Vec<Value> {
    let all = list(metadata, "finalizers").iter();
    all.filter(|finalizer| *finalizer != name)
        .cloned()
        .collect()
}

/// Whether the object is being deleted after its dependants.
fn waits(metadata: &Value) -> bool {
    is_deleted(metadata) && has(metadata, FOREGROUND)
}

fn has(metadata: &Value, finalizer: &str) -> bool {
    list(metadata, "finalizers")
        .iter()
        .any(|one| one == finalizer)
}

fn list<'a>(metadata: &'a Value, field: &str) -> &'a [Value] {
    metadata[field]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned_by(uids: &[&str], block: bool) -> Value {
        let owner = |uid: &&str| json!({"uid": uid, "blockOwnerDeletion": block});
        json!({"uid": "x", "ownerReferences": uids.iter().map(owner).collect::<Vec<_>>()})
    }

    #[test]
    fn an_object_stays_while_one_of_its_owners_does() {
        use Fate::{Absent, Solid, Waiting};
        let object = owned_by(&["a", "b"], false);
        assert_eq!(living(&json!({}), &[], &[]), Step::Keep);
        assert_eq!(living(&object, &[Solid, Solid], &[]), Step::Keep);
        let disowned = |uid: &str| Step::Disown(vec![uid.to_owned()]);
        assert_eq!(living(&object, &[Absent, Solid], &[]), disowned("a"));
        assert_eq!(living(&object, &[Solid, Waiting], &[]), disowned("b"));
        let gone = Step::Delete(Propagation::Background);
        assert_eq!(living(&object, &[Absent, Absent], &[]), gone);
        assert_eq!(living(&object, &[Absent, Waiting], &[]), gone);
    }

    #[test]
    fn what_owns_something_is_deleted_as_its_owner_is() {
        let object = owned_by(&["a"], true);
        let leaf = json!({"uid": "leaf"});
        let foreground = Step::Delete(Propagation::Foreground);
        assert_eq!(living(&object, &[Fate::Waiting], &[&leaf]), foreground);
        // A circle: its dependants wait for it.
        let waiting = json!({"uid": "leaf", "deletionTimestamp": "t", "finalizers": [FOREGROUND]});
        assert_eq!(
            living(&object, &[Fate::Waiting], &[&waiting]),
            Step::Unblock
        );
        let unblocked = json!({"uid": "x", "ownerReferences": unblocking(&object)});
        assert_eq!(
            living(&unblocked, &[Fate::Waiting], &[&waiting]),
            foreground
        );
        // Its own finalizers decide.
        let mut object = object;
        object["finalizers"] = json!([ORPHAN]);
        let orphan = Step::Delete(Propagation::Orphan);
        assert_eq!(living(&object, &[Fate::Absent], &[&leaf]), orphan);
    }

    #[test]
    fn a_foreground_deletion_waits_only_for_what_blocks_it() {
        let owner = json!({"uid": "a", "deletionTimestamp": "t", "finalizers": [FOREGROUND]});
        let (free, blocking) = (owned_by(&["a"], false), owned_by(&["a"], true));
        assert_eq!(deleting(&owner, &[&free, &blocking]), Step::Await);
        assert_eq!(deleting(&owner, &[&free]), Step::Release);
        let orphaning = json!({"uid": "a", "deletionTimestamp": "t", "finalizers": [ORPHAN]});
        assert_eq!(deleting(&orphaning, &[&blocking]), Step::Orphan);
        assert_eq!(fate(Some(&owner), "a"), Fate::Waiting);
        assert_eq!(fate(Some(&owner), "earlier"), Fate::Absent);
        assert_eq!(fate(None, "a"), Fate::Absent);
    }
}
