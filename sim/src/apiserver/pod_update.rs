//! What may change in the spec of a pod.

use serde_json::{Value, json};

use super::status::Cause;
use super::validate::text;

const POD_UPDATE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Checks the changes of an update.
pub(crate) fn check(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    for list in ["containers", "initContainers"] {
        let count = |spec: &Value| spec[list].as_array().map_or(0, Vec::len);
        if count(new) != count(old) {
            let field = format!("spec.{list}");
            return causes.push(Cause::forbidden(
                field,
                "pod updates may not add or remove containers",
            ));
        }
    }
    gates(new, old, causes);
    deadline(new, old, causes);
    tolerations(new, old, causes);
    let mut same = new.clone();
    for list in ["containers", "initContainers"] {
        let images = items(&old[list]).map(|item| item["image"].clone());
        for (item, image) in same[list].as_array_mut().into_iter().flatten().zip(images) {
            item["image"] = image;
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        same[field] = old[field].clone();
    }
    if items(&old["schedulingGates"]).next().is_some() {
        narrowing(new, old, causes);
        same["nodeSelector"] = old["nodeSelector"].clone();
        same["affinity"] = with_node_affinity(&new["affinity"], &old["affinity"]);
    }
    if let Some(fields) = same.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    if same != *old {
        causes.push(Cause::forbidden("spec", POD_UPDATE));
    }
}

fn gates(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let held: Vec<_> = items(&old["schedulingGates"]).collect();
    for (at, gate) in items(&new["schedulingGates"]).enumerate() {
        if !held.contains(&gate) {
            let name = text(gate, "name");
            let detail =
                format!("only deletion is allowed, but found new scheduling gate '{name}'");
            let field = format!("spec.schedulingGates[{at}].name");
            causes.push(Cause::forbidden(field, &detail));
        }
    }
}

fn deadline(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let (new, old) = (&new["activeDeadlineSeconds"], &old["activeDeadlineSeconds"]);
    let detail = match (new.as_i64(), old.as_i64()) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            "must be between 0 and 2147483647, inclusive"
        }
        (Some(new), Some(old)) if new > old => "must be less than or equal to previous value",
        (None, Some(_)) => "must not update from a positive integer to nil value",
        _ => return,
    };
    causes.push(Cause::invalid(
        "spec.activeDeadlineSeconds",
        new.clone(),
        detail,
    ));
}

fn tolerations(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let has = |one: &Value| items(&new["tolerations"]).any(|other| other == one);
    if !items(&old["tolerations"]).all(has) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        causes.push(Cause::forbidden("spec.tolerations", detail));
    }
}

/// A gated pod may ask for less: more labels of its node.
fn narrowing(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let selector = &new["nodeSelector"];
    let labels = old["nodeSelector"].as_object();
    let kept = |(key, value): (&String, &Value)| selector.get(key) == Some(value);
    if !labels.into_iter().flatten().all(kept) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        causes.push(Cause::invalid(
            "spec.nodeSelector",
            selector.clone(),
            detail,
        ));
    }
    let list = |spec: &Value| {
        let terms = &spec["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"];
        items(terms).cloned().collect::<Vec<_>>()
    };
    let (terms, held) = (list(new), list(old));
    let field = format!("spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
    if !held.is_empty() && held.len() != terms.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return causes.push(Cause::invalid(field, terms, detail));
    }
    for (at, (term, held)) in terms.iter().zip(&held).enumerate() {
        let keeps = |list: &str| {
            let mut asked = items(&held[list]);
            asked.all(|one| items(&term[list]).any(|other| other == one))
        };
        if !keeps("matchExpressions") || !keeps("matchFields") {
            let detail = "only additions are allowed (no mutations or deletions)";
            let field = format!("{field}[{at}]");
            causes.push(Cause::invalid(field, term.clone(), detail));
        }
    }
}

/// The new affinity with the node affinity of the old one.
fn with_node_affinity(new: &Value, old: &Value) -> Value {
    let mut affinity = match new {
        Value::Object(_) => new.clone(),
        _ => json!({}),
    };
    if let Some(fields) = affinity.as_object_mut() {
        match old.get("nodeAffinity") {
            Some(held) => fields.insert("nodeAffinity".into(), held.clone()),
            None => fields.remove("nodeAffinity"),
        };
        if fields.is_empty() && !old.is_object() {
            return Value::Null;
        }
    }
    affinity
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
