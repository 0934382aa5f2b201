//! PersistentVolumeClaims: their validation, and their protection finalizer. No volume is ever bound.

use serde_json::{Value, json};

use super::resources::{CLAIMS, PODS};
use super::spec::{choice, is_empty_list};
use super::status::Cause;
use super::store::{Place, State};
use super::validate::{self, text};

/// Keeps a claim while a pod uses it.
pub(crate) const PROTECTION: &str = "kubernetes.io/pvc-protection";
const MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];
const IMMUTABLE: &str = "spec is immutable after creation except resources.requests and \
    volumeAttributesClassName for bound claims";

/// The defaults of a new claim.
pub(crate) fn created(claim: &mut Value) {
    claim["status"] = json!({"phase": "Pending"});
    let mut finalizers = claim["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if !finalizers.iter().any(|one| one == PROTECTION) {
        finalizers.push(PROTECTION.into());
    }
    claim["metadata"]["finalizers"] = finalizers.into();
}

/// Checks the spec of a claim.
pub(crate) fn check(spec: &Value, causes: &mut Vec<Cause>) {
    let modes = &spec["accessModes"];
    if is_empty_list(modes) {
        let detail = "at least 1 access mode is required";
        causes.push(Cause::required("spec.accessModes", detail));
    }
    let modes: Vec<_> = modes.as_array().into_iter().flatten().collect();
    for mode in &modes {
        if !MODES.iter().any(|known| *mode == known) {
            let mode = (*mode).clone();
            causes.push(Cause::unsupported("spec.accessModes", mode, &MODES));
        }
    }
    if modes.len() > 1 && modes.iter().any(|mode| *mode == "ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        causes.push(Cause::forbidden("spec.accessModes", detail));
    }
    let field = "spec.resources[storage]";
    match spec["resources"]["requests"]["storage"].as_str() {
        None => causes.push(Cause::required(field, "")),
        Some(size) if size == "0" || size.starts_with('-') => {
            causes.push(Cause::invalid(field, size, "must be greater than zero"));
        }
        Some(_) => {}
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        let why = validate::subdomain(class);
        causes.extend(why.map(|why| Cause::invalid("spec.storageClassName", class, &why)));
    }
    choice(spec, "spec", "volumeMode", &["Block", "Filesystem"], causes);
}

/// Checks the changes of an update of the spec.
pub(crate) fn check_update(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    if new["spec"] != old["spec"] {
        causes.push(Cause::forbidden("spec", IMMUTABLE));
    }
}

/// Whether a scheduled pod uses the claim.
pub(crate) fn is_used(state: &State, namespace: &str, name: &str) -> bool {
    let prefix = format!("{namespace}/");
    state.range(PODS, &prefix, "").any(|(_, pod)| {
        !text(&pod.value["spec"], "nodeName").is_empty()
            && of_pod(&pod.value).any(|claim| claim == name)
    })
}

/// The keys of the claims that the pod uses.
pub(crate) fn places(pod: &Value) -> impl Iterator<Item = Place> {
    let namespace = text(&pod["metadata"], "namespace");
    of_pod(pod).map(move |name| (CLAIMS, format!("{namespace}/{name}")))
}

fn of_pod(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
}
