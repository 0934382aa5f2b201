//! Delete: preconditions, grace periods, finalizers, propagation; one object or a collection.

use std::sync::Arc;

use serde_json::{Value, json};

use super::clock;
use super::request::{Query, Target};
use super::resources::{NAMESPACES, PODS};
use super::selectors::Selector;
use super::status::{self, Cause, Status};
use super::store::{Object, State, Store, uid};
use super::validate::text;
use crate::garbage::Propagation;

/// `metav1.DeleteOptions`, from the body or the query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) grace: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) dry_run: bool,
    /// Stop before the object is removed.
    pub(crate) halfway: bool,
}

/// The response of a deletion: the object as it is now, or as it was last.
pub(crate) struct Deleted {
    pub(crate) object: Arc<Object>,
    pub(crate) gone: bool,
}

impl Options {
    pub(crate) fn parse(body: &[u8], query: &Query) -> Result<Self, Status> {
        let options: Value = match body.trim_ascii() {
            [] => json!({}),
            body => serde_json::from_slice(body).map_err(|error| {
                Status::bad_request(format!(
                    "couldn't get version/kind; json parse error: {error}"
                ))
            })?,
        };
        if !options.is_object() {
            return Err(Status::bad_request(
                "the object provided is unrecognized (must be of type DeleteOptions)",
            ));
        }
        let wrong = |field: &str| {
            Status::bad_request(format!(
                "json: cannot unmarshal field DeleteOptions.{field}"
            ))
        };
        let field = |name: &str| Some(&options[name]).filter(|value| !value.is_null());
        let grace = match field("gracePeriodSeconds") {
            Some(value) => Some(value.as_i64().ok_or_else(|| wrong("gracePeriodSeconds"))?),
            None => query.number("gracePeriodSeconds")?,
        };
        let preconditions = field("preconditions");
        let precondition = |name: &str| match preconditions.map(|all| &all[name]) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong("preconditions")),
        };
        let propagation = match field("propagationPolicy") {
            Some(value) => value.as_str().ok_or_else(|| wrong("propagationPolicy"))?,
            None => query.get("propagationPolicy"),
        };
        let orphan = match field("orphanDependents") {
            Some(value) => value.as_bool(),
            None => Some(query.get("orphanDependents"))
                .filter(|text| !text.is_empty())
                .map(|text| text == "true"),
        };
        let invalid = |cause| {
            Err(Status::invalid(
                "meta.k8s.io",
                "DeleteOptions",
                "",
                &[cause],
            ))
        };
        let propagation = match (propagation, orphan) {
            ("", Some(true)) | ("Orphan", None) => Some(Propagation::Orphan),
            ("", Some(false)) | ("Background", None) => Some(Propagation::Background),
            ("Foreground", None) => Some(Propagation::Foreground),
            ("", None) => None,
            (_, Some(_)) => {
                let detail = "orphanDependents and deletionPropagation cannot be both set";
                return invalid(Cause::invalid_kind(
                    "propagationPolicy",
                    &format!("{propagation:?}"),
                    detail,
                ));
            }
            (other, None) => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                return invalid(Cause::unsupported("propagationPolicy", other, &known));
            }
        };
        let dry_run = match field("dryRun") {
            None => query.dry_run()?,
            Some(values) if *values == json!(["All"]) => true,
            Some(values) if *values == json!([]) => false,
            Some(values) => return invalid(Cause::unsupported("dryRun", values.clone(), &["All"])),
        };
        let (uid, resource_version) = (precondition("uid")?, precondition("resourceVersion")?);
        Ok(Self {
            grace,
            uid,
            resource_version,
            propagation,
            dry_run,
            halfway: false,
        })
    }
}

/// Deletes one object and answers as the original does: pods and objects that remain are returned completely, of others
/// only kind, name and uid.
pub(crate) fn one(store: &Store, target: &Target, options: &Options) -> Result<Value, Status> {
    let deleted = store.with(|state| delete(state, target, options))?;
    if deleted.gone && !returns_object(target) {
        return Ok(status::deleted(
            target.resource,
            &target.name,
            uid(&deleted.object.value),
        ));
    }
    Ok(deleted.object.value.clone())
}

/// Deletes every selected object of the collection; returns the list of them.
pub(crate) fn collection(
    store: &Store,
    target: &Target,
    query: &Query,
    options: &Options,
) -> Result<Value, Status> {
    let selector = Selector::parse(
        target.index,
        query.get("labelSelector"),
        query.get("fieldSelector"),
    )?;
    let (names, revision) = store.with(|state| {
        let prefix = target.prefix();
        let found = state
            .range(target.index, &prefix, "")
            .filter(|(_, one)| selector.matches(target.index, &one.value));
        let names = found.map(|(_, one)| {
            let metadata = &one.value["metadata"];
            (
                text(metadata, "namespace").to_owned(),
                text(metadata, "name").to_owned(),
            )
        });
        (names.collect::<Vec<_>>(), state.revision())
    });
    let mut items = Vec::new();
    for (namespace, name) in names {
        let target = Target {
            namespace,
            name,
            ..target.clone()
        };
        match store.with(|state| delete(state, &target, options)) {
            Ok(deleted) => items.push(deleted.object.value.clone()),
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let kind = format!("{}List", target.resource.kind);
    let metadata = json!({"resourceVersion": revision.to_string()});
    Ok(
        json!({"kind": kind, "apiVersion": target.resource.api_version(), "metadata": metadata, "items": items}),
    )
}

/// The deletion itself, under the store's lock.
pub(crate) fn delete(
    state: &mut State,
    target: &Target,
    options: &Options,
) -> Result<Deleted, Status> {
    let (index, key) = (target.index, target.key());
    let old = state.get(index, &key).cloned();
    let old = old.ok_or_else(|| Status::not_found(target.resource, &target.name))?;
    check_preconditions(target, &old, options)?;
    let mut object = old.value.clone();
    if index == NAMESPACES {
        return Ok(terminate_namespace(state, target, &old, options));
    }
    let metadata = &object["metadata"];
    let deleting = !metadata["deletionTimestamp"].is_null();
    let left = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let graceful = index == PODS && (!deleting || left > 0);
    let mut grace = 0;
    if graceful {
        let period = options.grace;
        if deleting && period.is_none_or(|period| period >= left) {
            // Already being deleted, and never given more time than before.
            return Ok(Deleted {
                object: old,
                gone: false,
            });
        }
        let start = match metadata["deletionTimestamp"]
            .as_str()
            .and_then(|text| text.parse().ok())
        {
            Some(end) => clock::plus(end, -left),
            None => clock::now(),
        };
        grace = if deleting {
            period.unwrap_or(0).max(0)
        } else {
            grace_period(&object, period)
        };
        let metadata = &mut object["metadata"];
        metadata["deletionTimestamp"] = clock::text(clock::plus(start, grace)).into();
        metadata["deletionGracePeriodSeconds"] = grace.into();
        if !deleting && let Some(generation) = metadata["generation"].as_i64() {
            metadata["generation"] = (generation + 1).into();
        }
    }
    let held = add_finalizers(&mut object["metadata"], options.propagation);
    if held && !graceful {
        let metadata = &mut object["metadata"];
        if !deleting {
            metadata["deletionTimestamp"] = clock::text(clock::now()).into();
        }
        metadata["deletionGracePeriodSeconds"] = 0.into();
    }
    if options.dry_run {
        return Ok(Deleted {
            object: old,
            gone: !held && grace == 0,
        });
    }
    let changed = object != old.value;
    let stored = if changed && (held || graceful) {
        state.put(index, &key, object)
    } else {
        old
    };
    if held || grace > 0 || options.halfway {
        return Ok(Deleted {
            object: stored,
            gone: false,
        });
    }
    state.remove(index, &key);
    Ok(Deleted {
        object: stored,
        gone: true,
    })
}

fn check_preconditions(target: &Target, old: &Object, options: &Options) -> Result<(), Status> {
    let held = uid(&old.value);
    if let Some(asked) = options.uid.as_deref().filter(|asked| *asked != held) {
        let why = format!(
            "the UID in the precondition ({asked}) does not match the UID in record ({held}). The object might have \
             been deleted and then recreated"
        );
        return Err(Status::conflict_of_kind(
            target.resource,
            &target.name,
            &why,
        ));
    }
    let held = old.revision.to_string();
    if let Some(asked) = options
        .resource_version
        .as_deref()
        .filter(|asked| *asked != held)
    {
        let why = format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({held}). \
             The object might have been modified"
        );
        return Err(Status::conflict_of_kind(
            target.resource,
            &target.name,
            &why,
        ));
    }
    Ok(())
}

/// The grace period of a pod: zero if nothing of it can be running.
fn grace_period(pod: &Value, asked: Option<i64>) -> i64 {
    let own = pod["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .unwrap_or(0);
    let over = matches!(text(&pod["status"], "phase"), "Succeeded" | "Failed");
    match asked.unwrap_or(own) {
        _ if over || text(&pod["spec"], "nodeName").is_empty() => 0,
        negative if negative < 0 => 1,
        period => period,
    }
}

/// Adds the propagation policy as a finalizer for the garbage collector. True if the object has any finalizer.
fn add_finalizers(metadata: &mut Value, propagation: Option<Propagation>) -> bool {
    let mut finalizers: Vec<Value> = metadata["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if let Some(propagation) = propagation {
        finalizers.retain(|finalizer| finalizer != "orphan" && finalizer != "foregroundDeletion");
        match propagation {
            Propagation::Background => {}
            Propagation::Foreground => finalizers.push("foregroundDeletion".into()),
            Propagation::Orphan => finalizers.push("orphan".into()),
        }
    }
    let held = !finalizers.is_empty();
    if held {
        metadata["finalizers"] = finalizers.into();
    } else if let Some(fields) = metadata.as_object_mut() {
        fields.remove("finalizers");
    }
    if let Some(fields) = metadata.as_object_mut() {
        // Reading an absent field by index leaves nothing behind, writing may: keep the form canonical.
        fields.retain(|_, value| !value.is_null());
    }
    held
}

/// A namespace stays, Terminating, until the garbage collector has emptied it.
fn terminate_namespace(
    state: &mut State,
    target: &Target,
    old: &Arc<Object>,
    options: &Options,
) -> Deleted {
    if options.dry_run || !old.value["metadata"]["deletionTimestamp"].is_null() {
        return Deleted {
            object: old.clone(),
            gone: false,
        };
    }
    let mut object = old.value.clone();
    object["metadata"]["deletionTimestamp"] = clock::text(clock::now()).into();
    object["status"]["phase"] = "Terminating".into();
    Deleted {
        object: state.put(target.index, &target.key(), object),
        gone: false,
    }
}

/// Kinds whose storage returns the deleted object itself.
fn returns_object(target: &Target) -> bool {
    matches!(
        target.resource.kind,
        "Pod" | "Service" | "ServiceAccount" | "PersistentVolumeClaim"
    )
}
