//! Discovery: which groups and kinds the server has, for clients that map names to paths.

use serde_json::{Value, json};

use super::resources::{PODS, RESOURCES, Resource};
use super::reviews::REVIEWS;
use super::rights::VERBS;
use crate::KUBERNETES;

/// The document at `path`, if it is one of discovery.
pub(crate) fn document(path: &str) -> Option<Value> {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["version"] => Some(version()),
        ["api"] => Some(
            json!({"kind": "APIVersions", "versions": [Resource::VERSION], "serverAddressByClientCIDRs": []}),
        ),
        ["apis"] => Some(
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups().map(group).collect::<Vec<_>>()}),
        ),
        ["api", Resource::VERSION] => Some(kinds("")),
        ["apis", name] => groups().find(|group| group == name).map(|name| {
            let mut group = group(name);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }),
        ["apis", name, Resource::VERSION] => groups().find(|group| group == name).map(kinds),
        _ => None,
    }
}

/// Whether the path is below a group and version that is served.
pub(crate) fn is_served(path: &str) -> bool {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api", Resource::VERSION, ..] => true,
        ["apis", name, Resource::VERSION, ..] => groups().any(|group| group == *name),
        _ => false,
    }
}

fn version() -> Value {
    let mut numbers = KUBERNETES.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next(), numbers.next());
    json!({
        "major": major, "minor": minor, "gitVersion": KUBERNETES, "gitCommit": "", "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "",
    })
}

fn groups() -> impl Iterator<Item = &'static str> {
    let objects = RESOURCES.iter().map(|resource| resource.group);
    let reviews = REVIEWS.iter().map(|review| review.group);
    let mut seen = vec![""];
    objects.chain(reviews).filter(move |group| {
        let new = !seen.contains(group);
        if new {
            seen.push(group);
        }
        new
    })
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/{}", Resource::VERSION), "version": Resource::VERSION});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn kinds(group: &str) -> Value {
    let mut kinds = Vec::new();
    for (index, resource) in RESOURCES
        .iter()
        .enumerate()
        .filter(|(_, resource)| resource.group == group)
    {
        let entry = |name: &str, kind: &str, verbs: &[&str]| json!({"name": name, "singularName": "", "namespaced": resource.namespaced, "kind": kind, "verbs": verbs});
        let mut main = entry(resource.plural, resource.kind, VERBS);
        main["singularName"] = resource.singular.into();
        if !resource.short.is_empty() {
            main["shortNames"] = resource.short.into();
        }
        if matches!(resource.kind, "Pod" | "Service") {
            main["categories"] = json!(["all"]);
        }
        kinds.push(main);
        if resource.has_status {
            kinds.push(entry(
                &format!("{}/status", resource.plural),
                resource.kind,
                &["get", "patch", "update"],
            ));
        }
        if index == PODS {
            kinds.push(entry("pods/binding", "Binding", &["create"]));
            let mut eviction = entry("pods/eviction", "Eviction", &["create"]);
            eviction["group"] = "policy".into();
            eviction["version"] = Resource::VERSION.into();
            kinds.push(eviction);
            kinds.push(entry("pods/log", "Pod", &["get"]));
        }
    }
    for review in REVIEWS.iter().filter(|review| review.group == group) {
        kinds.push(json!({
            "name": review.plural, "singularName": review.singular, "namespaced": false, "kind": review.kind,
            "verbs": ["create"],
        }));
    }
    let version = if group.is_empty() {
        Resource::VERSION.into()
    } else {
        format!("{group}/{}", Resource::VERSION)
    };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": kinds})
}
