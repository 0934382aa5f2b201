//! Create, update and patch: one transaction each, from the body to the stored object.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::patch;
use super::request::Target;
use super::resources::{Index, NAMESPACES, PODS, Resource, SERVICES};
use super::status::{Cause, Status};
use super::store::{Object, State, Store};
use super::validate::text;
use super::{clock, defaults, quantity, spec, validate};

const OTHER_NAMESPACE: &str =
    "the namespace of the provided object does not match the namespace sent on the request";

/// The object of a write's response, and its HTTP code.
pub(crate) type Written = (u16, Arc<Object>);

/// Stores a new object.
pub(crate) fn create(
    store: &Store,
    target: &Target,
    body: &[u8],
    dry_run: bool,
) -> Result<Written, Status> {
    let mut object = decode(target, body)?;
    let metadata = &mut object["metadata"];
    // Absent counts as a match; the body is checked against the path.
    if text(metadata, "name").is_empty() && !text(metadata, "generateName").is_empty() {
        let stem: String = text(metadata, "generateName").chars().take(58).collect();
        metadata["name"] = format!("{stem}{}", suffix()).into();
    }
    if !text(metadata, "resourceVersion").is_empty() {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Status::new(500, "", message));
    }
    store.with(|state| {
        check_namespace(state, target, text(&object["metadata"], "name"))?;
        insert(state, target, object, dry_run)
    })
}

/// Replaces an object; the body is all of it.
pub(crate) fn update(
    store: &Store,
    target: &Target,
    body: &[u8],
    dry_run: bool,
) -> Result<Written, Status> {
    let object = decode(target, body)?;
    let name = text(&object["metadata"], "name");
    if name != target.name {
        let message = if name.is_empty() {
            "name must be provided".into()
        } else {
            format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            )
        };
        return Err(Status::bad_request(message));
    }
    store.with(
        |state| match state.get(target.index, &target.key()).cloned() {
            Some(old) => {
                check_uid(target, &old, &object)?;
                Ok((200, replace(state, target, &old, object, dry_run)?))
            }
            None if target.resource.create_on_update && target.subresource.is_empty() => {
                check_namespace(state, target, &target.name)?;
                insert(state, target, object, dry_run)
            }
            None => Err(Status::not_found(target.resource, &target.name)),
        },
    )
}

/// Changes an object by a patch; nothing is stored if the patch changes nothing.
pub(crate) fn patch(
    store: &Store,
    target: &Target,
    kind: patch::Kind,
    body: &[u8],
    dry_run: bool,
) -> Result<Written, Status> {
    store.with(|state| {
        let old = state.get(target.index, &target.key()).cloned();
        let old = old.ok_or_else(|| Status::not_found(target.resource, &target.name))?;
        let mut object = old.value.clone();
        patch::apply(kind, body, &mut object)?;
        let object = canonical(target, object).map_err(|error| unfit(&old, &error))?;
        let name = text(&object["metadata"], "name");
        if name != target.name {
            let message = format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            );
            return Err(Status::bad_request(message));
        }
        if object["metadata"]["namespace"] != old.value["metadata"]["namespace"] {
            return Err(Status::bad_request(OTHER_NAMESPACE));
        }
        Ok((200, replace(state, target, &old, object, dry_run)?))
    })
}

/// Stores `object` instead of `old` by the rules of an update.
pub(crate) fn replace(
    state: &mut State,
    target: &Target,
    old: &Arc<Object>,
    mut object: Value,
    dry_run: bool,
) -> Result<Arc<Object>, Status> {
    let (index, resource, name) = (target.index, target.resource, &target.name);
    let asked = text(&object["metadata"], "resourceVersion");
    if !asked.is_empty() && asked != old.revision.to_string() {
        return Err(Status::modified(resource, name));
    }
    if asked.is_empty() && !resource.unconditional_update {
        let cause = Cause::invalid(
            "metadata.resourceVersion",
            0,
            "must be specified for an update",
        );
        return Err(Status::invalid(
            resource.group,
            resource.plural,
            name,
            &[cause],
        ));
    }
    keep(&mut object["metadata"], &old.value["metadata"]);
    let status_write = target.subresource == "status";
    if status_write {
        let status = object["status"].take();
        let metadata = object["metadata"].take();
        object = old.value.clone();
        object["status"] = status;
        object["metadata"] = metadata;
        if index == PODS {
            set(
                &mut object["metadata"],
                "ownerReferences",
                &old.value["metadata"]["ownerReferences"],
            );
        }
        defaults::status(index, &mut object, &old.value);
        prune(&mut object, "status");
    } else {
        if resource.has_status {
            set(&mut object, "status", &old.value["status"]);
        }
        if index == SERVICES {
            spec::keep_address(&mut object["spec"], &old.value["spec"]);
        }
        if index == NAMESPACES {
            set(&mut object, "spec", &old.value["spec"]);
        }
        defaults::apply(index, &mut object);
    }
    let mut causes = validate::metadata(index, &object);
    causes.extend(validate::metadata_update(&object, &old.value));
    if !status_write {
        causes.extend(spec::check(index, &object));
        causes.extend(spec::check_update(index, &object, &old.value));
    }
    validate::report(index, &object, &causes)?;
    validate::size(&object)?;
    let counted = index == PODS || resource.is_custom();
    if counted && object["spec"] != old.value["spec"] {
        let generation = old.value["metadata"]["generation"].as_i64().unwrap_or(0);
        object["metadata"]["generation"] = (generation + 1).into();
    }
    if object == old.value {
        return Ok(old.clone());
    }
    if dry_run {
        return Ok(trial(index, object, old.revision));
    }
    let metadata = &object["metadata"];
    let held = metadata["finalizers"]
        .as_array()
        .is_some_and(|finalizers| !finalizers.is_empty());
    let ends = !metadata["deletionTimestamp"].is_null()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    let namespace_held = index == NAMESPACES && !spec::is_empty_list(&object["spec"]["finalizers"]);
    if ends && !held && !namespace_held {
        state.remove(index, &target.key());
        return Ok(trial(index, object, state.revision()));
    }
    Ok(state.put(index, &target.key(), object))
}

/// The body as a complete object of the target's kind: unknown fields dropped, types checked.
pub(crate) fn decode(target: &Target, body: &[u8]) -> Result<Value, Status> {
    let kind = target.resource.kind;
    let unreadable = |why: String| {
        let message = format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; {why}"
        );
        Status::bad_request(message)
    };
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| unreadable(format!("json parse error: {error}")))?;
    let object = match value {
        Value::Object(_) => value,
        Value::Null => json!({}),
        _ => {
            return Err(unreadable(
                "json parse error: json: cannot unmarshal value into an object".into(),
            ));
        }
    };
    let mut object = canonical(target, object)?;
    let namespace = text(&object["metadata"], "namespace");
    if !namespace.is_empty() && namespace != target.namespace {
        return Err(Status::bad_request(OTHER_NAMESPACE));
    }
    if target.resource.namespaced {
        object["metadata"]["namespace"] = target.namespace.clone().into();
    }
    Ok(object)
}

/// The error for a patch whose result is no object of the kind.
fn unfit(old: &Object, error: &Status) -> Status {
    let shown = String::from_utf8_lossy(&old.json);
    Status::invalid(
        "",
        "",
        "",
        &[Cause::invalid("patch", shown.as_ref(), &error.message)],
    )
}

/// The response of a dry run.
fn trial(index: Index, object: Value, revision: u64) -> Arc<Object> {
    Arc::new(Object::new(index, object, revision))
}

fn canonical(target: &Target, mut object: Value) -> Result<Value, Status> {
    let resource = target.resource;
    let (version, kind) = (resource.api_version(), resource.kind);
    for (field, default) in [("apiVersion", version.as_str()), ("kind", kind)] {
        if object[field].is_null() || object[field] == "" {
            object[field] = default.into();
        }
    }
    let refused = |why: &str| {
        Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {why}",
            Resource::VERSION
        ))
    };
    if object["kind"] != kind || object["apiVersion"] != version.as_str() {
        let (other, in_version) = (text(&object, "kind"), text(&object, "apiVersion"));
        let message = format!(
            "{other} in version {in_version:?} cannot be handled as a {kind}: unknown conversion"
        );
        return Err(Status::bad_request(message));
    }
    for section in ["metadata", "spec", "status"] {
        if object[section].is_null()
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove(section);
        }
    }
    let mut object = (resource.canonical)(object).map_err(|why| refused(&why))?;
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        // Field ownership is not tracked here, and empty collections are omitted.
        metadata.remove("managedFields");
        metadata.remove("selfLink");
        metadata.retain(|_, value| !is_void(value));
    }
    quantity::canonicalize(&mut object).map_err(|text| {
        let why = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        tracing::debug!(text, "not a quantity");
        refused(why)
    })?;
    Ok(object)
}

fn insert(
    state: &mut State,
    target: &Target,
    mut object: Value,
    dry_run: bool,
) -> Result<Written, Status> {
    let index = target.index;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "resourceVersion",
        ] {
            metadata.remove(field);
        }
        metadata.insert("uid".into(), uid().into());
        metadata.insert("creationTimestamp".into(), clock::text(clock::now()).into());
    }
    defaults::apply(index, &mut object);
    defaults::created(index, &mut object);
    let mut causes = validate::metadata(index, &object);
    causes.extend(spec::check(index, &object));
    causes.extend(spec::check_new(index, &object));
    validate::report(index, &object, &causes)?;
    let name = text(&object["metadata"], "name").to_owned();
    if index == SERVICES {
        spec::check_address(state, &object)?;
        defaults::allocate_address(state, &mut object);
    }
    validate::size(&object)?;
    let key = target.resource.key(&target.namespace, &name);
    if state.get(index, &key).is_some() {
        return Err(Status::already_exists(target.resource, &name));
    }
    if dry_run {
        return Ok((201, trial(index, object, 0)));
    }
    Ok((201, state.put(index, &key, object)))
}

/// Stores an object of the server itself.
pub(crate) fn install(state: &mut State, index: Index, object: Value) {
    let resource = &super::resources::RESOURCES[index];
    let (namespace, name, subresource) = (String::new(), String::new(), String::new());
    let target = Target {
        index,
        resource,
        namespace,
        name,
        subresource,
        watch: false,
    };
    if let Err(error) = insert(state, &target, object, false) {
        tracing::error!(error = error.message, "embedded API server: bootstrap");
    }
}

fn check_uid(target: &Target, old: &Object, object: &Value) -> Result<(), Status> {
    let (uid, held) = (
        text(&object["metadata"], "uid"),
        super::store::uid(&old.value),
    );
    if uid.is_empty() || uid == held {
        return Ok(());
    }
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: UID in precondition: {uid}, UID in object meta: {held}",
        target.resource.plural,
        target.key()
    );
    Err(Status::conflict(target.resource, &target.name, &why))
}

fn check_namespace(state: &State, target: &Target, name: &str) -> Result<(), Status> {
    if !target.resource.namespaced {
        return Ok(());
    }
    let namespaces = &super::resources::RESOURCES[NAMESPACES];
    let namespace = state.get(NAMESPACES, &target.namespace);
    let namespace = namespace.ok_or_else(|| Status::not_found(namespaces, &target.namespace))?;
    if namespace.value["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {} because it is being terminated",
        target.namespace
    );
    let mut status = Status::forbidden(target.resource, name, &why);
    if let Some(details) = &mut status.details {
        let message = format!("namespace {} is being terminated", target.namespace);
        details["causes"] = json!([{"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}]);
    }
    Err(status)
}

/// Restores the fields of the server that the author omitted.
fn keep(metadata: &mut Value, old: &Value) {
    set(metadata, "resourceVersion", &old["resourceVersion"]);
    set(metadata, "generation", &old["generation"]);
    set(metadata, "creationTimestamp", &old["creationTimestamp"]);
    for field in ["uid", "namespace"] {
        if metadata[field].is_null() || metadata[field] == "" {
            set(metadata, field, &old[field]);
        }
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if !old[field].is_null() {
            set(metadata, field, &old[field]);
        }
    }
    prune(metadata, "");
}

fn set(object: &mut Value, field: &str, value: &Value) {
    let Value::Object(fields) = object else {
        return;
    };
    if value.is_null() {
        fields.remove(field);
    } else {
        fields.insert(field.into(), value.clone());
    }
}

/// Removes nulls from indexing, and the named field if it is null.
fn prune(object: &mut Value, field: &str) {
    if let Value::Object(fields) = object {
        fields.retain(|name, value| !value.is_null() && (name != field || !value.is_null()));
    }
}

fn is_void(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => Map::is_empty(fields),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// A random (version 4) uid.
fn uid() -> String {
    let uid = uuid::Builder::from_random_bytes(random()).into_uuid();
    uid.to_string()
}

/// The five letters of a generated name, from Kubernetes' alphabet.
fn suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    random::<5>()
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        // Without a random source ids must still differ: take the clock's finest digits.
        let seed = clock::first_revision().to_le_bytes();
        bytes
            .iter_mut()
            .zip(seed.iter().cycle())
            .for_each(|(byte, seed)| *byte = *seed);
    }
    bytes
}
