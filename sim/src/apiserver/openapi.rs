//! OpenAPI: the schemas of the served kinds, for `kubectl explain` and `kubectl apply`, and to find unknown fields.
//!
//! `openapi.json` has the names and types of the fields of these kinds, as of Kubernetes 1.36, without their texts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::resources::{Index, RESOURCES, Resource};

type Schemas = BTreeMap<String, Value>;

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    // A test reads it whole.
    serde_json::from_str(include_str!("openapi.json")).unwrap_or_default()
});

const REF: &str = "#/components/schemas/";

/// The document at `path`, if it is one of OpenAPI.
pub(crate) fn document(path: &str) -> Option<Value> {
    let rest = path.strip_prefix("/openapi/v3")?;
    let rest = rest.trim_matches('/');
    let groups: BTreeSet<_> = RESOURCES.iter().map(prefix).collect();
    if rest.is_empty() {
        let url = |group: &String| {
            let url = format!("/openapi/v3/{group}?hash={}", env!("CARGO_PKG_VERSION"));
            (group.clone(), json!({"serverRelativeURL": url}))
        };
        let paths: Map<_, _> = groups.iter().map(url).collect();
        return Some(json!({"paths": paths}));
    }
    groups.contains(rest).then(|| group(rest))
}

/// `api/v1` or `apis/GROUP/v1`.
fn prefix(resource: &Resource) -> String {
    match resource.group {
        "" => format!("api/{}", Resource::VERSION),
        group => format!("apis/{group}/{}", Resource::VERSION),
    }
}

fn group(name: &str) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for resource in RESOURCES.iter().filter(|one| prefix(one) == name) {
        let kind =
            json!({"group": resource.group, "version": Resource::VERSION, "kind": resource.kind});
        let verb = |parameter: &[&str]| {
            let parameter = parameter
                .iter()
                .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}));
            json!({
                "x-kubernetes-group-version-kind": kind,
                "parameters": parameter.collect::<Vec<_>>(),
                "responses": {"200": {"description": "OK"}},
            })
        };
        let write = ["dryRun", "fieldManager", "fieldValidation"];
        let place = if resource.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let collection = format!("/{name}/{place}{}", resource.plural);
        let one = format!("{collection}/{{name}}");
        paths.insert(
            collection,
            json!({"get": verb(&[]), "post": verb(&write), "delete": verb(&["dryRun"])}),
        );
        paths.insert(
            one,
            json!({"get": verb(&[]), "put": verb(&write), "patch": verb(&write), "delete": verb(&["dryRun"])}),
        );
        if let Some((root, _)) = of(resource) {
            gather(root, &mut schemas);
        }
    }
    let info = json!({"title": "Kubernetes", "version": crate::KUBERNETES});
    json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}})
}

/// The schema of a kind, with its name.
fn of(resource: &Resource) -> Option<(&'static str, &'static Value)> {
    let is = |kind: &Value| {
        kind["group"] == resource.group
            && kind["kind"] == resource.kind
            && kind["version"] == Resource::VERSION
    };
    let found = SCHEMAS.iter().find(|(_, schema)| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(is))
    });
    found.map(|(name, schema)| (name.as_str(), schema))
}

/// Adds the schema and all schemas in it.
fn gather(name: &str, schemas: &mut Map<String, Value>) {
    let Some(schema) = SCHEMAS.get(name).filter(|_| !schemas.contains_key(name)) else {
        return;
    };
    schemas.insert(name.into(), schema.clone());
    let mut names = Vec::new();
    references(schema, &mut names);
    for name in names {
        gather(name, schemas);
    }
}

fn references<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("$ref", Value::String(to)) => found.extend(to.strip_prefix(REF)),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// The fields of an object, or of a patch of one, that its kind does not have.
pub(crate) fn unknown_fields(index: Index, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some((_, schema)) = of(&RESOURCES[index]) {
        look(schema, object, "", &mut found);
    }
    found
}

fn look(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let refers = schema["$ref"]
        .as_str()
        .or_else(|| schema["allOf"][0]["$ref"].as_str());
    if let Some(name) = refers.and_then(|to| to.strip_prefix(REF)) {
        if let Some(schema) = SCHEMAS.get(name) {
            look(schema, value, path, found);
        }
        return;
    }
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    match value {
        Value::Object(fields) => {
            let known = schema["properties"].as_object();
            for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with('$')) {
                match known.map(|known| known.get(name)) {
                    Some(Some(schema)) => look(schema, value, &below(name), found),
                    Some(None) => found.push(below(name)),
                    None => look(&schema["additionalProperties"], value, &below(name), found),
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                look(&schema["items"], item, &format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::resources::PODS;
    use super::*;

    #[test]
    fn every_kind_has_a_schema() {
        for resource in RESOURCES {
            assert!(of(resource).is_some(), "{}", resource.kind);
        }
        let pods = document("/openapi/v3/api/v1").unwrap();
        let schemas = pods["components"]["schemas"].as_object().unwrap();
        let mut names = Vec::new();
        references(&pods, &mut names);
        assert!(names.len() > 200, "{} references", names.len());
        assert!(names.iter().all(|name| schemas.contains_key(*name)));
        assert!(document("/openapi/v3/apis/apps/v1").is_none());
    }

    #[test]
    fn unknown_fields_are_named_with_their_path() {
        let pod = json!({
            "kind": "Pod", "apiVersion": "v1", "bogus": 1,
            "metadata": {"name": "a", "labels": {"any": "thing"}},
            "spec": {
                "containers": [{"name": "c", "imag": "i", "resources": {"limits": {"cpu": "1"}}}],
                "$setElementOrder/containers": [],
                "nodeSelecter": {"a": "b"},
            },
        });
        let mut found = unknown_fields(PODS, &pod);
        found.sort();
        assert_eq!(
            found,
            ["bogus", "spec.containers[0].imag", "spec.nodeSelecter"]
        );
    }
}
