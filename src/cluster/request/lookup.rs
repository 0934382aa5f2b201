//! Whether a write of unknown outcome succeeded, by its object as read afterwards. No IO.

use serde_json::{Map, Value};

use super::{Request, STRATEGIC};

/// The outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It succeeded: the object is its response.
    Done,
    /// The object to create exists, by this write or another's.
    Exists,
    /// The object to change or to delete is gone.
    Gone,
    /// It did not succeed, or that is unknown; its preconditions make a second one harmless.
    Repeat,
}

/// Returns the path of the object that a request writes; none for a read.
pub(super) fn target(request: &Request<'_>) -> Option<String> {
    match request.method.as_str() {
        "PATCH" | "DELETE" => Some(request.path.to_owned()),
        "POST" => {
            let body = body(request);
            let name = body["metadata"]["name"].as_str()?;
            Some(format!("{}/{name}", request.path))
        }
        _ => None,
    }
}

/// Compares a write with its object.
pub(super) fn outcome(request: &Request<'_>, found: Option<&Value>) -> Outcome {
    let done = match (request.method.as_str(), found) {
        ("POST", Some(_)) => return Outcome::Exists,
        ("POST", None) => false,
        (_, None) => return Outcome::Gone,
        ("DELETE", Some(found)) => is_being_deleted(&body(request), &found["metadata"]),
        ("PATCH", Some(found)) => {
            let mut patch = body(request);
            // A precondition, which the write itself changes.
            if let Some(meta) = patch["metadata"].as_object_mut() {
                meta.remove("resourceVersion");
            }
            let strategic = request.content_type == STRATEGIC;
            patch
                .as_object()
                .is_some_and(|patch| holds(patch, found, strategic))
        }
        _ => false,
    };
    match done {
        true => Outcome::Done,
        false => Outcome::Repeat,
    }
}

fn body(request: &Request<'_>) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

/// Whether a deletion with these options has started. If the options have a version, another client may have started
/// it.
fn is_being_deleted(options: &Value, found: &Value) -> bool {
    let meant = &options["preconditions"];
    let grace = found["deletionGracePeriodSeconds"].as_u64().unwrap_or(0);
    let asked = options["gracePeriodSeconds"].as_u64();
    let finalizers = found["finalizers"].as_array();
    // An object without a grace period and finalizers was deleted incompletely; a second deletion removes it.
    let held = grace > 0 || finalizers.is_some_and(|finalizers| !finalizers.is_empty());
    meant["resourceVersion"].is_null()
        && meant["uid"] == found["uid"]
        && found["deletionTimestamp"].is_string()
        && asked.is_none_or(|asked| grace <= asked)
        && held
}

/// Whether a patch would change nothing.
fn holds(patch: &Map<String, Value>, found: &Value, strategic: bool) -> bool {
    patch.iter().all(|(key, wanted)| {
        let there = &found[key.as_str()];
        match wanted {
            Value::Null => there.is_null(),
            Value::Object(wanted) => holds(wanted, there, strategic),
            Value::Array(wanted) if strategic => holds_all(key, wanted, found),
            wanted => wanted == there,
        }
    })
}

/// Whether the entries of a list in a strategic merge patch change nothing: owners are keyed by uid, and single
/// finalizers are removed.
fn holds_all(key: &str, wanted: &[Value], found: &Value) -> bool {
    let list = |name: &str| found[name].as_array().map_or(&[][..], Vec::as_slice);
    if let Some(name) = key.strip_prefix("$deleteFromPrimitiveList/") {
        return !list(name).iter().any(|there| wanted.contains(there));
    }
    key == "ownerReferences"
        && wanted.iter().all(|wanted| {
            let there = list(key).iter().find(|there| there["uid"] == wanted["uid"]);
            match (wanted["$patch"].as_str(), there, wanted.as_object()) {
                (Some("delete"), there, _) => there.is_none(),
                (None, Some(there), Some(wanted)) => holds(wanted, there, true),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests;
