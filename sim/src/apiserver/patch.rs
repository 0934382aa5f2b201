//! The three kinds of patch: JSON patch, merge patch, and strategic merge patch.

use serde_json::{Map, Value};

use super::status::Status;

/// The kind of patch, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own: lists of objects are merged by key.
    Strategic,
}

impl Kind {
    pub(crate) fn of(media_type: &str) -> Result<Self, Status> {
        match media_type {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            _ => Err(unsupported()),
        }
    }
}

/// The answer to a patch of another kind than the object has.
pub(crate) fn unsupported() -> Status {
    Status {
        details: Some(Value::Object(Map::new())),
        ..Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
    }
}

/// Applies the patch to the object.
pub(crate) fn apply(kind: Kind, body: &[u8], object: &mut Value) -> Result<(), Status> {
    let refused = || {
        let message = "the server rejected our request due to an error in our request";
        Status {
            details: Some(Value::Object(Map::new())),
            ..Status::new(422, "Invalid", message)
        }
    };
    match kind {
        Kind::Json => {
            let operations: Vec<Value> = parse(body)?;
            let patch: json_patch::Patch =
                serde_json::from_value(operations.into()).map_err(|_| refused())?;
            json_patch::patch(object, &patch).map_err(|_| refused())
        }
        Kind::Merge => {
            json_patch::merge(object, &Value::Object(parse(body)?));
            Ok(())
        }
        Kind::Strategic => {
            let patch: Map<String, Value> = parse(body)?;
            let Value::Object(fields) = object else {
                return Ok(());
            };
            // The original has no better code for a patch that does not match the lists.
            merge(fields, &patch, "").map_err(|why| Status::new(500, "", why))
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
}

/// How a list is merged.
enum List {
    /// By the value of this field.
    Keyed(&'static str),
    /// As a set of plain values.
    Set,
    Atomic,
}

/// The merge rule of a list by its name and the name of the object it is in.
fn rule(parent: &str, list: &str) -> List {
    match (parent, list) {
        ("metadata", "finalizers") | ("spec", "podCIDRs") => List::Set,
        ("metadata", "ownerReferences") => List::Keyed("uid"),
        (
            _,
            "containers"
            | "initContainers"
            | "ephemeralContainers"
            | "volumes"
            | "imagePullSecrets"
            | "env",
        )
        | ("spec", "schedulingGates" | "resourceClaims")
        | ("status", "resourceClaimStatuses")
        | ("", "secrets") => List::Keyed("name"),
        (_, "conditions") | ("status", "addresses") => List::Keyed("type"),
        ("status", "podIPs" | "hostIPs") | ("spec", "hostAliases") => List::Keyed("ip"),
        ("spec", "topologySpreadConstraints") => List::Keyed("topologyKey"),
        ("spec", "ports") => List::Keyed("port"),
        ("containers" | "initContainers" | "ephemeralContainers", "ports") => {
            List::Keyed("containerPort")
        }
        (_, "volumeMounts") => List::Keyed("mountPath"),
        (_, "volumeDevices") => List::Keyed("devicePath"),
        _ => List::Atomic,
    }
}

fn merge(
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    name: &str,
) -> Result<(), String> {
    match patch.get("$patch").map(Value::as_str) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => {
            *object = patch
                .iter()
                .filter(|(key, _)| *key != "$patch")
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            return Ok(());
        }
        Some(Some("delete")) => {
            object.clear();
            return Ok(());
        }
        Some(other) => return Err(format!("Unknown patch type: {}", other.unwrap_or_default())),
    }
    if let Some(Value::Array(kept)) = patch.get("$retainKeys") {
        object.retain(|key, _| kept.iter().any(|kept| kept == key));
    }
    // An explicit order is applied at the end, but needs the list as it was before.
    let orders: Vec<_> = patch
        .iter()
        .filter_map(|(key, order)| {
            Some((key.strip_prefix("$setElementOrder/")?, order.as_array()?))
        })
        .map(|(list, order)| {
            (
                list,
                order,
                object
                    .get(list)
                    .and_then(Value::as_array)
                    .cloned()
                    .unwrap_or_default(),
            )
        })
        .collect();
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().ok_or("invalid $deleteFromPrimitiveList")?;
            if let Some(Value::Array(items)) = object.get_mut(list) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        match value {
            _ if key.starts_with('$') => {}
            Value::Null => drop(object.remove(key)),
            Value::Object(patch) => match object.get_mut(key) {
                Some(Value::Object(fields)) => merge(fields, patch, key)?,
                _ => {
                    let mut fields = Map::new();
                    merge(&mut fields, patch, key)?;
                    object.insert(key.clone(), fields.into());
                }
            },
            Value::Array(patch) => {
                let items = object
                    .entry(key.clone())
                    .or_insert_with(|| Value::Array(Vec::new()));
                if !items.is_array() {
                    *items = Value::Array(Vec::new());
                }
                if let Value::Array(items) = items {
                    merge_list(items, patch, name, key)?;
                }
            }
            plain => drop(object.insert(key.clone(), plain.clone())),
        }
    }
    for (list, order, before) in orders {
        if let Some(Value::Array(items)) = object.get_mut(list) {
            arrange(items, order, &before, &rule(name, list));
        }
    }
    Ok(())
}

fn merge_list(
    items: &mut Vec<Value>,
    patch: &[Value],
    parent: &str,
    name: &str,
) -> Result<(), String> {
    let before = items.clone();
    let rule = rule(parent, name);
    let key = match rule {
        List::Atomic => {
            *items = patch.to_vec();
            return Ok(());
        }
        List::Set => {
            for value in patch {
                if !items.contains(value) {
                    items.push(value.clone());
                }
            }
            arrange(items, patch, &before, &rule);
            return Ok(());
        }
        List::Keyed(key) => key,
    };
    if patch.iter().any(|item| item["$patch"] == "replace") {
        *items = patch
            .iter()
            .filter(|item| item["$patch"] != "replace")
            .cloned()
            .collect();
        return Ok(());
    }
    for item in patch {
        let Value::Object(fields) = item else {
            return Err(format!("expected an object in list {name}"));
        };
        let id = fields
            .get(key)
            .ok_or_else(|| format!("map: {item} does not contain declared merge key: {key}"))?;
        let found = items.iter().position(|old| old.get(key) == Some(id));
        match (found, fields.get("$patch").and_then(Value::as_str)) {
            (Some(at), Some("delete")) => drop(items.remove(at)),
            (None, Some("delete")) => {}
            (Some(at), _) => {
                if let Value::Object(old) = &mut items[at] {
                    merge(old, fields, name)?;
                }
            }
            (None, _) => {
                let mut new = Map::new();
                merge(&mut new, fields, name)?;
                items.push(new.into());
            }
        }
    }
    arrange(items, patch, &before, &rule);
    Ok(())
}

/// Brings the items in `order` into its order; the others keep theirs, each before the first named one that it preceded
/// in `before`.
fn arrange(items: &mut Vec<Value>, order: &[Value], before: &[Value], rule: &List) {
    let place = |list: &[Value], item: &Value| match rule {
        List::Keyed(key) => list
            .iter()
            .position(|other| other.get(key).is_some() && other.get(key) == item.get(key)),
        _ => list.iter().position(|other| other == item),
    };
    let (mut named, others): (Vec<_>, Vec<_>) = items
        .drain(..)
        .partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    let mut others = others.into_iter().peekable();
    for item in named {
        let here = place(before, &item);
        while let Some(other) = others
            .next_if(|other| matches!((place(before, other), here), (Some(a), Some(b)) if a < b))
        {
            items.push(other);
        }
        items.push(item);
    }
    items.extend(others);
}
