//! The validation of an object's metadata: names, labels, annotations, owners, finalizers, sizes.

use serde_json::Value;

use super::resources::{Index, NAMESPACES, RESOURCES, SERVICES};
use super::status::{Cause, Status};

/// Most bytes of all annotations of an object.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;
/// Most bytes of a request that etcd accepts.
const OBJECT_LIMIT: usize = 1536 * 1024;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
    must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
    validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const KEY_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
    with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const QUALIFIED: &str = "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start \
    and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. \
    'example.com/MyName')";

/// Checks the metadata of a new version of an object.
pub(crate) fn metadata(index: Index, object: &Value) -> Vec<Cause> {
    let metadata = &object["metadata"];
    let mut causes = Vec::new();
    let name = text(metadata, "name");
    let generate = text(metadata, "generateName");
    // A generated name gets a suffix, so its prefix may end in a dash. The original masks two characters.
    let stem = generate.strip_suffix('-').map(|stem| {
        let mut kept = stem.chars();
        kept.next_back();
        format!("{}a", kept.as_str())
    });
    causes.extend(object_name(
        index,
        stem.as_deref().unwrap_or(generate),
        "metadata.generateName",
        generate,
    ));
    match name {
        "" => causes.push(Cause::required(
            "metadata.name",
            "name or generateName is required",
        )),
        name => causes.extend(object_name(index, name, "metadata.name", name)),
    }
    labels(&metadata["labels"], "metadata.labels", &mut causes);
    annotations(&metadata["annotations"], &mut causes);
    owners(&metadata["ownerReferences"], &mut causes);
    finalizers(&metadata["finalizers"], &mut causes);
    causes
}

/// Checks the immutable fields of the metadata.
pub(crate) fn metadata_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (new, old) = (&new["metadata"], &old["metadata"]);
    if !new["deletionTimestamp"].is_null() || !old["deletionTimestamp"].is_null() {
        let list = |metadata: &Value| {
            metadata["finalizers"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        };
        let held = list(old);
        let added: Vec<_> = list(new)
            .into_iter()
            .filter(|finalizer| !held.contains(finalizer))
            .collect();
        if !added.is_empty() && !old["deletionTimestamp"].is_null() {
            let shown: Vec<_> = added.iter().map(Value::to_string).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                shown.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &detail));
        }
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if new[field] != old[field] {
            causes.push(Cause::invalid(
                format!("metadata.{field}"),
                new[field].clone(),
                "field is immutable",
            ));
        }
    }
    causes
}

/// Rejects what etcd rejects.
pub(crate) fn size(object: &Value) -> Result<(), Status> {
    if object.to_string().len() > OBJECT_LIMIT {
        return Err(Status::new(500, "", "etcdserver: request is too large"));
    }
    Ok(())
}

/// What is wrong with a label value, if anything.
pub(crate) fn label_value(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some("must be no more than 63 bytes".into());
    }
    (!value.is_empty() && !is_name_part(value)).then(|| VALUE.into())
}

/// What is wrong with a label key, if anything.
pub(crate) fn label_key(key: &str) -> Option<String> {
    qualified_name(key).into_iter().next()
}

/// What is wrong with an RFC 1123 label (container and volume names), if anything.
pub(crate) fn label(name: &str) -> Option<String> {
    if name.len() > 63 {
        return Some("must be no more than 63 bytes".into());
    }
    (!is_label(name)).then(|| {
        if is_subdomain(name) {
            "must not contain dots"
        } else {
            LABEL
        }
        .into()
    })
}

/// What is wrong with an RFC 1123 subdomain, if anything.
pub(crate) fn subdomain(name: &str) -> Option<String> {
    if name.len() > 253 {
        return Some("must be no more than 253 bytes".into());
    }
    (!is_subdomain(name)).then(|| SUBDOMAIN.into())
}

/// Labels, or a selector of the same form.
pub(crate) fn labels(labels: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        causes.extend(
            qualified_name(key)
                .iter()
                .map(|why| Cause::invalid(field, key.as_str(), why)),
        );
        let value = value.as_str().unwrap_or_default();
        causes.extend(label_value(value).map(|why| Cause::invalid(field, value, &why)));
    }
}

/// A string field, empty if it is absent.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn object_name(index: Index, name: &str, field: &str, shown: &str) -> Option<Cause> {
    if name.is_empty() {
        return None;
    }
    let why = match index {
        NAMESPACES | SERVICES => label(name),
        _ => subdomain(name),
    };
    why.map(|why| Cause::invalid(field, shown, &why))
}

fn annotations(annotations: &Value, causes: &mut Vec<Cause>) {
    let mut total = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        let lower = key.to_lowercase();
        let why = qualified_name(&lower);
        causes.extend(
            why.iter()
                .map(|why| Cause::invalid("metadata.annotations", key.as_str(), why)),
        );
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > ANNOTATIONS_LIMIT {
        causes.push(Cause::too_long("metadata.annotations", ANNOTATIONS_LIMIT));
    }
}

fn owners(owners: &Value, causes: &mut Vec<Cause>) {
    let mut controllers = Vec::new();
    for owner in owners.as_array().into_iter().flatten() {
        let field = "metadata.ownerReferences";
        let version = text(owner, "apiVersion");
        if version.is_empty() || version.ends_with('/') {
            causes.push(Cause::invalid(
                format!("{field}.apiVersion"),
                version,
                "version must not be empty",
            ));
        }
        for name in ["kind", "name", "uid"] {
            if text(owner, name).is_empty() {
                causes.push(Cause::invalid(
                    format!("{field}.{name}"),
                    "",
                    "must not be empty",
                ));
            }
        }
        if version == "v1" && text(owner, "kind") == "Event" {
            causes.push(Cause::invalid(
                field,
                version,
                "is disallowed from being an owner",
            ));
        }
        if owner["controller"] == true {
            controllers.push(text(owner, "kind"));
        }
    }
    if controllers.len() > 1 {
        let detail =
            "Only one reference can have Controller set to true. Found \"true\" in references for ";
        let detail = format!("{detail}{} and {}", controllers[0], controllers[1]);
        causes.push(Cause::invalid_kind(
            "metadata.ownerReferences",
            "[]",
            &detail,
        ));
    }
}

fn finalizers(finalizers: &Value, causes: &mut Vec<Cause>) {
    for (at, finalizer) in finalizers.as_array().into_iter().flatten().enumerate() {
        let field = format!("metadata.finalizers[{at}]");
        let name = finalizer.as_str().unwrap_or_default();
        let why = qualified_name(name);
        causes.extend(
            why.iter()
                .map(|why| Cause::invalid("metadata.finalizers", name, why)),
        );
        let standard = matches!(name, "kubernetes" | "orphan" | "foregroundDeletion");
        if why.is_empty() && !name.contains('/') && !standard {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(field, name, detail));
        }
    }
}

/// What is wrong with a name that may have a prefix.
pub(crate) fn qualified_name(key: &str) -> Vec<String> {
    let mut why = Vec::new();
    let name = match key.split_once('/') {
        None => key,
        Some((_, rest)) if rest.contains('/') => return vec![QUALIFIED.into()],
        Some((prefix, name)) => {
            if prefix.is_empty() {
                why.push("prefix part must be non-empty".into());
            } else if let Some(prefix) = subdomain(prefix) {
                why.push(format!("prefix part {prefix}"));
            }
            name
        }
    };
    if name.is_empty() {
        why.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        why.push("name part must be no more than 63 bytes".into());
    }
    if !is_name_part(name) {
        why.push(KEY_NAME.into());
    }
    why
}

fn is_label(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    edge(name.chars().next()) && edge(name.chars().last()) && name.chars().all(inner)
}

fn is_subdomain(name: &str) -> bool {
    name.split('.').all(is_label)
}

fn is_name_part(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    edge(name.chars().next()) && edge(name.chars().last()) && name.chars().all(inner)
}

/// The kind and name under which an invalid object is reported.
pub(crate) fn report(index: Index, object: &Value, causes: &[Cause]) -> Result<(), Status> {
    if causes.is_empty() {
        return Ok(());
    }
    let resource = &RESOURCES[index];
    Err(Status::invalid(
        resource.group,
        resource.kind,
        text(&object["metadata"], "name"),
        causes,
    ))
}
